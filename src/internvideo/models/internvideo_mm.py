"""InternVideo-MM: a video tower, a text tower and a decoder that writes about the video.

    clip ──► visual ──► visual_ln_post ──► visual_proj ──► "b e" ─┐
                │                                                 ├─► cosine · exp(logit_scale)
    ids ──► text_encoder ──► end token ──► text_projection ──► "b e" ─┘
                │        └─ all tokens ──┐
                └─ all tokens ──► caption_decoder ──► logits of the next token

One causal text tower serves both: its end token is compared with the clip, its tokens go into the
decoder (arXiv 2212.03191). Trained by contrast and captioning at once. All released files have a
`UniFormerV2` as video tower, started from CLIP; a small model may have any `VideoViT` with pooled
tokens (`PooledVideoViT`), as a small ViCLIP has.

Texts may be shorter than the context. Towers and decoder are causal, so with `trim_padding` (cut to
the longest end token of the batch) all numbers are the same and short texts cost less.

Letters: b batch, c channels, (t, y, x) frames, rows and columns of the clip; n video tokens, l text
positions, d width of the text, w width of the video, e joint dimension, v vocabulary.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from internvideo.config import ByKind
from internvideo.errors import ConfigError
from internvideo.models.caption_decoder import (
    CaptionDecoder,
    CaptionDecoderConfig,
    ClipMemory,
)
from internvideo.models.caption_writer import CaptionStrategy, complete_texts, write_captions
from internvideo.models.clip_layers import CLIPLayerNorm
from internvideo.models.clip_text import CLIPTextConfig, CLIPTextEncoder, TextFeatures
from internvideo.models.contract import VideoEncoder, VideoFeatures, unit
from internvideo.models.pooled_vit import PooledVideoViT
from internvideo.models.tokenizer import CLIPTokenizer, Tokenizer, WordTokenizer
from internvideo.models.uniformerv2 import SIZES as UNIFORMERV2_SIZES
from internvideo.models.uniformerv2 import UniFormerV2, UniFormerV2Config
from internvideo.models.vit import VideoViTConfig

__all__ = ["SIZES", "InternVideoMM", "InternVideoMMConfig", "InternVideoMMOutput"]

_MAX_LOGIT_SCALE = math.log(100)
_ANSWER_ROOM = 10  # tokens, the start and the end token of an answer among them


@dataclass(frozen=True, kw_only=True, slots=True)
class InternVideoMMConfig:
    """Shape of an `InternVideoMM`.

    Attributes:
        vision: the video tower: UniFormerV2, or a `VideoViT` with a pooled projection.
        text: the text tower; the decoder has its width and vocabulary.
        embed_dim: dimension of the joint space; equal to that of the text tower.
        decoder_depth: layers of the caption decoder; 0: there is none.
        decoder_queries: tokens that the decoder pools a clip to.
        decoder_heads: of its attention; None: as many as the text tower.
        vocabulary: the words of a word-level tokenizer; None is CLIP's byte-pair tokenizer.
        pool: how a `VideoViT`'s tokens become one vector (UniFormerV2 has its fused feature).
        projection_norm: "batch" normalises in front of both projections (`VideoViT` only), see
            `internvideo.models.viclip`.
        logit_scale_init: start of the logarithm of what cosines are multiplied by.
    """

    vision: Annotated[UniFormerV2Config | VideoViTConfig, ByKind()]
    text: CLIPTextConfig
    embed_dim: int
    decoder_depth: int = 4
    decoder_queries: int = 256
    decoder_heads: int | None = None
    vocabulary: tuple[str, ...] | None = None
    pool: Literal["mean", "max", "mean+max"] = "mean+max"
    projection_norm: Literal["none", "batch"] = "none"
    logit_scale_init: float = math.log(1 / 0.07)

    def __post_init__(self) -> None:
        if self.text.embed_dim != self.embed_dim:
            raise ValueError(f"text.embed_dim {self.text.embed_dim} is not {self.embed_dim}")
        if self.decoder_depth < 0:
            raise ValueError(f"decoder_depth must not be negative, it is {self.decoder_depth}")
        if self.pool not in ("mean", "max", "mean+max"):
            raise ValueError(f"pool {self.pool!r} is not one of 'mean', 'max', 'mean+max'")
        if self.projection_norm not in ("none", "batch"):
            raise ValueError(f"projection_norm {self.projection_norm!r} is not 'none' or 'batch'")
        if self.projection_norm != "none" and isinstance(self.vision, UniFormerV2Config):
            raise ValueError("projection_norm 'batch' needs a VideoViT as the video tower")
        if not 0 <= self.logit_scale_init <= _MAX_LOGIT_SCALE:
            raise ValueError(f"logit_scale_init {self.logit_scale_init} is not in 0 to ln 100")
        if self.vocabulary is not None and len(self.vocabulary) + 4 != self.text.vocab_size:
            raise ValueError(
                f"text.vocab_size {self.text.vocab_size} must be {len(self.vocabulary) + 4}: "
                f"the {len(self.vocabulary)} words of the vocabulary and 4 special tokens"
            )
        _ = self.decoder  # its shape is checked with the model's

    @property
    def decoder(self) -> CaptionDecoderConfig | None:
        """The shape of the caption decoder, or None."""
        if self.decoder_depth == 0:
            return None
        return CaptionDecoderConfig(
            width=self.text.width,
            num_heads=self.decoder_heads or self.text.num_heads,
            context_width=self.vision.width,
            vocab_size=self.text.vocab_size,
            depth=self.decoder_depth,
            num_queries=self.decoder_queries,
        )

    def build_tokenizer(self) -> Tokenizer:
        """Return the tokenizer that the text tower was made for."""
        if self.vocabulary is None:
            return CLIPTokenizer(self.text.context_length)
        return WordTokenizer(self.vocabulary, self.text.context_length)


@dataclass(frozen=True)
class InternVideoMMOutput:
    """What training needs of a batch of pairs.

    Attributes:
        video: unit-norm float32 embeddings.
        text: unit-norm float32 embeddings.
        caption_logits: logits of the token that follows each position of the texts but the last;
            None where captions were not asked for.
    """

    video: Float[Tensor, "b e"]
    text: Float[Tensor, "b e"]
    caption_logits: Float[Tensor, "b k v"] | None


class InternVideoMM(VideoEncoder, nn.Module):
    """The two towers, their scale, and the caption decoder.

    Video tower and decoder have the names of the official files below `clip.` and
    `caption_decoder.`; the text tower, which lies at the root of `clip.` there, is `text_encoder`.

    Example:
        >>> model = InternVideoMM(SIZES["b16"]).eval()
        >>> ids = model.tokenizer(["a dog plays in the snow"])
        >>> video = torch.randn(1, 3, 8, 224, 224)
        >>> model.encode_text(ids) @ model.encode_video(video).T  # cosine
        >>> model.caption(video, strategy="beam", num_beams=4)

    Args:
        config: the shape.
        outputs: False leaves out the projections into the joint space and the predictor of words,
            as question answering does, which reads what they would (`models.internvideo_qa`).
    """

    capabilities = frozenset({"features", "embed", "text", "captions"})
    # As in the released recipes: embedding tables do not decay, the decoder's queries do.
    undecayed_names: ClassVar[frozenset[str]] = frozenset(
        {
            "cls_token",
            "logit_scale",
            "mask_token",
            "pos_embed",
            "positional_embedding",
            "temporal_cls_token",
            "text_mask_embedding",
            "token_embedding.weight",
        }
    )

    def __init__(self, config: InternVideoMMConfig, *, outputs: bool = True) -> None:
        super().__init__()
        self.config = config
        self.visual: UniFormerV2 | PooledVideoViT
        self.visual_ln_post: CLIPLayerNorm | None = None
        self.visual_proj: nn.Parameter | None = None
        if isinstance(config.vision, UniFormerV2Config):
            self.visual = UniFormerV2(config.vision)
            self.visual_ln_post = CLIPLayerNorm(config.vision.width)
            if outputs:
                self.visual_proj = nn.Parameter(torch.empty(config.vision.width, config.embed_dim))
        else:
            self.visual = PooledVideoViT(
                config.vision,
                config.embed_dim,
                pool=config.pool,
                projection_norm=config.projection_norm,
                projection=outputs,
            )
        self.text_encoder = CLIPTextEncoder(
            config.text, projection_norm=config.projection_norm, projection=outputs
        )
        # Only masked language modelling trains it; a trainable tensor without a gradient would
        # stop data-parallel training.
        self.text_mask_embedding = nn.Parameter(
            torch.empty(1, 1, config.text.width), requires_grad=False
        )
        self.logit_scale = nn.Parameter(torch.full((), config.logit_scale_init))
        shape = config.decoder
        self.caption_decoder = (
            CaptionDecoder(dataclasses.replace(shape, writes=outputs)) if shape else None
        )
        if shape is None or not outputs:
            self.capabilities = self.capabilities - {"captions"}
        if not outputs:
            self.capabilities = self.capabilities - {"text"}
        self.tokenizer = config.build_tokenizer()
        self._reset_own()

    @torch.no_grad()
    def _reset_own(self) -> None:
        if self.visual_ln_post is not None:
            self.visual_ln_post.reset_parameters()
        if self.visual_proj is not None:
            nn.init.normal_(self.visual_proj, std=self.visual_proj.shape[0] ** -0.5)
        nn.init.normal_(self.text_mask_embedding, std=0.02)
        nn.init.constant_(self.logit_scale, self.config.logit_scale_init)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.visual.reset_parameters()
        self.text_encoder.reset_parameters()
        if self.caption_decoder is not None:
            self.caption_decoder.reset_parameters()
        self._reset_own()

    def reset_buffers(self) -> None:
        """Make the tables that are no part of the state, after building on the meta device."""
        self.visual.reset_buffers()

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks of towers and decoder: the units to checkpoint, compile or shard."""
        yield from self.visual.block_modules()
        yield from self.text_encoder.block_modules()
        if self.caption_decoder is not None:
            yield from self.caption_decoder.block_modules()

    # --- the two towers -----------------------------------------------------------------------

    def temperature(self) -> Float[Tensor, ""]:
        """Return `exp(-logit_scale)` after clamping the scale to [0, ln 100] IN PLACE.

        In place, as in the reference, and not in the graph: pushed over a bound it comes back and
        goes on learning, where a clamp in the graph would cut its gradient for good.
        """
        with torch.no_grad():
            self.logit_scale.clamp_(0, _MAX_LOGIT_SCALE)
        return torch.exp(-self.logit_scale)

    def forward_features(
        self, video: Float[Tensor, "b c t y x"], *, layers: Sequence[int] = ()
    ) -> VideoFeatures:
        """Encode clips; one frame (t = 1) is an image. See the video tower."""
        return self.visual.forward_features(video, layers=layers)

    def embed(self, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b e"]:
        """Return a vector of unit length for each clip, in the space of the texts."""
        return unit(self.encode_video(video))

    def example_inputs(self, batch: int = 2) -> tuple[Tensor, Tensor]:
        """Return random clips, and texts of random tokens as long as the context."""
        text = self.config.text
        ids = torch.randint(text.vocab_size, (batch, text.context_length))
        return (*self.visual.example_inputs(batch), ids)

    def project_video(self, features: VideoFeatures) -> Float[Tensor, "b e"]:
        """Map encoded clips into the joint space (not normalised); without outputs, pool only."""
        if isinstance(self.visual, PooledVideoViT):
            return self.visual.project(features)
        assert self.visual_ln_post is not None
        normed = self.visual_ln_post(features.cls)
        return normed if self.visual_proj is None else normed @ self.visual_proj

    def encode_video(
        self, video: Float[Tensor, "b c t y x"], *, normalize: bool = True
    ) -> Float[Tensor, "b e"]:
        """Embed clips.

        Args:
            video: normalised pixels; any number of frames.
            normalize: scale every embedding to unit length, in float32 whatever the model's dtype.
        """
        embedding = self.project_video(self.forward_features(video))
        return F.normalize(embedding.float(), dim=-1) if normalize else embedding

    def text_features(
        self, ids: Int[Tensor, "b l"], *, masked: Bool[Tensor, "b l"] | None = None
    ) -> TextFeatures:
        """Encode tokenized texts; words that are `masked` are hidden by `text_mask_embedding`."""
        return self.text_encoder(ids, masked=masked, mask_embedding=self.text_mask_embedding)

    def encode_text(
        self, ids: Int[Tensor, "b l"], *, normalize: bool = True
    ) -> Float[Tensor, "b e"]:
        """Embed tokenized texts; `normalize` scales to unit length, in float32."""
        embedding = self.text_features(ids).embedding
        return F.normalize(embedding.float(), dim=-1) if normalize else embedding

    def forward(
        self,
        video: Float[Tensor, "b c t y x"],
        ids: Int[Tensor, "b l"],
        *,
        caption: bool | None = None,
    ) -> InternVideoMMOutput:
        """Embed a batch of pairs for the contrastive loss and, if wanted, predict the captions.

        Args:
            video: normalised pixels.
            ids: one text a clip.
            caption: whether to predict the captions; None: where there is a decoder.

        Raises:
            ConfigError: captions are wanted of a model without a decoder.
        """
        if caption is None:
            caption = self.caption_decoder is not None
        clips, texts = self.forward_features(video), self.text_features(ids)
        return InternVideoMMOutput(
            video=F.normalize(self.project_video(clips).float(), dim=-1),
            text=F.normalize(texts.embedding.float(), dim=-1),
            caption_logits=self.next_tokens(clips, ids, text=texts) if caption else None,
        )

    # --- the decoder --------------------------------------------------------------------------

    def fuse(
        self,
        features: VideoFeatures,
        ids: Int[Tensor, "q l"],
        *,
        text: TextFeatures | None = None,
        rows: Int[Tensor, "q"] | None = None,
    ) -> Float[Tensor, "q d"]:
        """Return what the decoder knows at the end token of texts after reading the clips.

        The reference leaves the last position out and fails on a text whose end token is there; a
        causal decoder gives the same numbers with it.

        Args:
            features: of the clips, from `forward_features`.
            ids: the texts.
            text: the encoded texts, from `text_features`; None encodes them.
            rows: number of the clip that each text is about; None: one text a clip.
        """
        tokens = (self.text_features(ids) if text is None else text).tokens
        return self.text_encoder.pool(
            self._decoder().decode(tokens, self._memory(features, rows)), ids
        )

    def next_tokens(
        self,
        features: VideoFeatures,
        ids: Int[Tensor, "q l"],
        *,
        text: TextFeatures | None = None,
        rows: Int[Tensor, "q"] | None = None,
    ) -> Float[Tensor, "q k v"]:
        """Return the logits of the token behind each position of texts but the last; see `fuse`."""
        tokens = (self.text_features(ids) if text is None else text).tokens[:, :-1]
        decoder = self._decoder()
        return decoder.predictor(decoder.decode(tokens, self._memory(features, rows)))

    def _memory(self, features: VideoFeatures, rows: Int[Tensor, "q"] | None) -> ClipMemory:
        memory = self._decoder().read(context(features))
        return memory if rows is None else memory.reorder(rows)

    def prompt(self, question: str) -> list[int]:
        """Return the ids of a question that an answer shall follow, cut to leave room for one."""
        ids = [self.tokenizer.start_id, *self.tokenizer.encode(question)]
        return ids[: max(self.tokenizer.context_length - _ANSWER_ROOM, 1)]

    @torch.no_grad()
    def complete(
        self,
        features: VideoFeatures,
        questions: Sequence[str],
        *,
        rows: Int[Tensor, "q"] | None = None,
    ) -> list[str]:
        """Write an answer to each question about encoded clips, the likeliest word each time.

        It is an answer where the model was trained to answer (`tasks.question_answering`); any
        other captioner goes on with whatever it writes about clips.

        Args:
            features: of the clips, from `forward_features`.
            questions: any texts.
            rows: number of the clip that each question is about; None: one question a clip.
        """
        return complete_texts(
            self.text_encoder,
            self._decoder(),
            self.tokenizer,
            self._memory(features, rows),
            [self.prompt(question) for question in questions],
        )

    def projections(self) -> list[nn.Parameter]:
        """Return what only comparing needs: both projections and the scale."""
        head = self.visual.proj if isinstance(self.visual, PooledVideoViT) else None
        own = (self.visual_proj, self.text_encoder.text_projection, self.logit_scale)
        return [each for each in own if each is not None] + list(head.parameters() if head else ())

    @torch.no_grad()
    def caption(
        self,
        video: Float[Tensor, "b c t y x"],
        *,
        strategy: CaptionStrategy = "greedy",
        num_beams: int = 4,
        length_penalty: float = 0.0,
        top_p: float = 0.9,
        temperature: float = 1.0,
        max_length: int | None = None,
        generator: torch.Generator | None = None,
    ) -> list[str]:
        """Write a caption for each clip; the model should be in evaluation mode.

        Args:
            video: normalised pixels.
            strategy: "greedy" takes the most probable token each time, "beam" searches for a
                probable text, "top-p" draws.
            num_beams: for "beam", see `generation.beam_search`.
            length_penalty: for "beam".
            top_p: for "top-p", see `generation.nucleus`.
            temperature: for "top-p".
            max_length: longest caption in tokens, the end token included; None: the context.
            generator: source of randomness for "top-p", on the device of the model.

        Raises:
            ConfigError: no decoder, an unknown strategy, or a length that does not fit.
        """
        written = write_captions(
            self.text_encoder,
            self._decoder(),
            self.tokenizer,
            self._decoder().read(context(self.forward_features(video))),
            strategy=strategy,
            num_beams=num_beams,
            length_penalty=length_penalty,
            top_p=top_p,
            temperature=temperature,
            max_length=max_length,
            generator=generator,
        )
        return [self.tokenizer.decode(text.ids).strip() for text in written]

    def _decoder(self) -> CaptionDecoder:
        if self.caption_decoder is None:
            raise ConfigError(
                "this model has no caption decoder (decoder_depth 0): it compares, but cannot write"
            )
        return self.caption_decoder


def context(features: VideoFeatures) -> Float[Tensor, "b n w"]:
    """Return all tokens of the clips for the decoder, which does not care for their order."""
    if features.frame_cls is None:
        return features.tokens
    return torch.cat([features.frame_cls, features.tokens], dim=1)


SIZES: dict[str, InternVideoMMConfig] = {
    "b16": InternVideoMMConfig(
        vision=UNIFORMERV2_SIZES["b16"], text=CLIPTextConfig(), embed_dim=512
    ),
    "l14": InternVideoMMConfig(
        vision=UNIFORMERV2_SIZES["l14"],
        text=CLIPTextConfig(width=768, num_heads=12, embed_dim=768),
        embed_dim=768,
    ),
}
"""The released sizes, for 8 frames of 224 pixels."""
