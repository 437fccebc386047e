"""The unmasked teacher that learned language: its second stage (Li et al., 2023, arXiv 2303.16058).

    clip ──► vision_encoder ──► tokens ──► mean of each frame ──► vision_proj ─┐
                                  │                                            ├─► cosine / temp
    text ──► lower BERT layers ───┼──────► first token ──────────► text_proj ──┘
                    │             ▼
                    └───► upper BERT layers, looking at the video ──┬─► itm_head: is it the text?
                                                                    └─► hidden words

Two towers for a fast comparison (`contract.DualEncoder`), and a fusion of both for a careful one.
Names are those of the released files.

Letters: b batch, c channels, (t, y, x) frames, rows and columns of the clip; n video tokens, d
their width; l text length, w text width; e joint dimension; s pooled steps, the frames;
v vocabulary; k aligned layers, f width of their targets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from internvideo.errors import ConfigError
from internvideo.models import bert, clip_teacher, unmasked_teacher
from internvideo.models.bert import BertConfig, BertFusionEncoder
from internvideo.models.clip_teacher import CLIPTeacher, CLIPTeacherConfig
from internvideo.models.contract import TextTokens, VideoEncoder, VideoFeatures, unit
from internvideo.models.umt_vision import UMTVision
from internvideo.models.unmasked_teacher import UnmaskedTeacherConfig
from internvideo.models.vit import VideoViTConfig
from internvideo.models.wordpiece import WordPieceTokenizer, read_vocabulary

__all__ = ["SIZES", "UMTMultimodal", "UMTMultimodalConfig", "UMTMultimodalOutput"]


@dataclass(frozen=True, kw_only=True, slots=True)
class UMTMultimodalConfig:
    """Shape of a `UMTMultimodal`.

    Attributes:
        vision: the video encoder, and the decoders of the alignment.
        text: the text and fusion tower.
        embed_dim: dimension of the joint space.
        alignment: whether the decoders are part of the model; a model for retrieval has none.
        teacher: the frozen CLIP, where it is stored with the model, as in the released files of
            pretraining.
        context_length: longest text in tokens.
        vocabulary: the word pieces in the order of their ids; None where they come from a file
            later, see `UMTMultimodal.use_vocabulary`.
        temp_init: start of the learnable temperature.
        temp_min: the temperature is kept at or above it.
        temp_max: the temperature is kept at or below it.
    """

    vision: UnmaskedTeacherConfig
    text: BertConfig
    embed_dim: int = 512
    alignment: bool = True
    teacher: CLIPTeacherConfig | None = None
    context_length: int = 32
    vocabulary: tuple[str, ...] | None = None
    temp_init: float = 0.07
    temp_min: float = 0.001
    temp_max: float = 0.5

    def __post_init__(self) -> None:
        if self.text.vision_width != self.encoder.width:
            raise ValueError(
                f"text.vision_width {self.text.vision_width} is not the width of the video tokens, "
                f"{self.encoder.width}"
            )
        if self.context_length > self.text.max_positions:
            raise ValueError(
                f"context_length {self.context_length} exceeds text.max_positions "
                f"{self.text.max_positions}"
            )
        if self.teacher is not None and self.teacher.embed_dim != self.vision.target_width:
            raise ValueError(
                f"teacher.embed_dim {self.teacher.embed_dim} is not vision.target_width "
                f"{self.vision.target_width}"
            )
        if self.vocabulary is not None and len(self.vocabulary) != self.text.vocab_size:
            raise ValueError(
                f"text.vocab_size {self.text.vocab_size} is not the number of pieces of the "
                f"vocabulary, {len(self.vocabulary)}"
            )
        if not 0 < self.temp_min <= self.temp_init <= self.temp_max:
            raise ValueError(
                f"need 0 < temp_min {self.temp_min} <= temp_init {self.temp_init} <= temp_max "
                f"{self.temp_max}"
            )

    @property
    def encoder(self) -> VideoViTConfig:
        """Shape of the video encoder."""
        return self.vision.encoder


@dataclass(frozen=True)
class UMTMultimodalOutput:
    """What the model says of a batch of pairs.

    Attributes:
        video: mean over the frames of their unit-norm float32 embeddings.
        text: unit-norm float32 embeddings.
        match: logits of "not its text" and "its text", see `UMTMultimodal.match_logits`.
        words: logits of the word at each place; None without a word predictor.
        answers: unit vectors of the aligned layers, see `UMTVision.answers`; None without decoders.
    """

    video: Float[Tensor, "b e"]
    text: Float[Tensor, "b e"]
    match: Float[Tensor, "b 2"]
    words: Float[Tensor, "b l v"] | None
    answers: Float[Tensor, "k b n f"] | None


class UMTMultimodal(VideoEncoder, nn.Module):
    """Two towers, their temperature, and the fusion tower on top.

    Example:
        >>> model = UMTMultimodal(SIZES["b16"]).eval()
        >>> model.use_vocabulary("vocab.txt")
        >>> video = torch.randn(1, 3, 4, 224, 224)
        >>> ids = model.tokenizer(["a dog plays in the snow"])
        >>> model.encode_text(ids) @ model.encode_video(video).T  # cosine
        >>> model.match(model.forward_features(video).tokens, model.read(ids))  # probability
    """

    capabilities = frozenset({"features", "embed", "text", "match"})
    matches_all = False
    # COMPAT: the temperature decays; the published rule spares vectors, and it is a number.
    undecayed_names: ClassVar[frozenset[str]] = frozenset({"pos_embed", "scale"})

    def __init__(self, config: UMTMultimodalConfig) -> None:
        super().__init__()
        self.config = config
        self.temp = nn.Parameter(torch.full((), config.temp_init))
        self.clip_teacher = CLIPTeacher(config.teacher) if config.teacher is not None else None
        self.vision_encoder = UMTVision(config.vision, alignment=config.alignment)
        self.text_encoder = BertFusionEncoder(config.text)
        self.vision_proj = nn.Linear(config.encoder.width, config.embed_dim)
        self.text_proj = nn.Linear(config.text.width, config.embed_dim)
        self.itm_head = nn.Linear(config.text.width, 2)
        self.tokenizer = _tokenizer(config)
        self._reset_heads()

    def _reset_heads(self) -> None:
        for head in (self.vision_proj, self.text_proj, self.itm_head):
            nn.init.normal_(head.weight, std=0.02)
            nn.init.zeros_(head.bias)
        nn.init.constant_(self.temp, self.config.temp_init)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.vision_encoder.reset_parameters()
        self.text_encoder.reset_parameters()
        if self.clip_teacher is not None:
            self.clip_teacher.reset_parameters()
        self._reset_heads()

    def reset_buffers(self) -> None:
        """Make the fixed position table, after building on the meta device."""
        self.vision_encoder.encoder.reset_buffers()

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks of both towers: the units to checkpoint, compile or shard."""
        yield from self.vision_encoder.encoder.block_modules()
        yield from self.text_encoder.block_modules()

    def drop_teacher(self) -> None:
        """Forget the teacher that a released file brought, a quarter of its numbers; in place."""
        self.clip_teacher = None
        self.config = dataclasses.replace(self.config, teacher=None)

    def drop_training_parts(self) -> None:
        """Forget teacher, decoders and word predictor, which retrieval does not need; in place."""
        self.drop_teacher()
        self.vision_encoder.clip_decoder = None
        self.text_encoder.drop_word_predictor()
        self.config = dataclasses.replace(
            self.config, text=self.text_encoder.config, alignment=False
        )

    def use_vocabulary(self, path: Path | str) -> None:
        """Take the word pieces of a `vocab.txt`; they are saved with the model from then on.

        Raises:
            DataError: the file cannot be read.
            ConfigError: it has another number of pieces than the model has word embeddings, or is
                no vocabulary of BERT.
        """
        vocabulary = read_vocabulary(path)
        tokenizer = WordPieceTokenizer(vocabulary, self.config.context_length)
        if len(vocabulary) != self.config.text.vocab_size:
            raise ConfigError(
                f"{path} has {len(vocabulary)} pieces, the model was trained with "
                f"{self.config.text.vocab_size}; take the vocabulary of its BERT"
            )
        self.config = dataclasses.replace(self.config, vocabulary=vocabulary)
        self.tokenizer = tokenizer

    def temperature(self) -> Float[Tensor, ""]:
        """Return the temperature after clamping it to its bounds IN PLACE, see `ViCLIP`."""
        with torch.no_grad():
            self.temp.clamp_(self.config.temp_min, self.config.temp_max)
        return self.temp

    def forward_features(
        self, video: Float[Tensor, "b c t y x"], *, layers: Sequence[int] = ()
    ) -> VideoFeatures:
        """Encode clips of any number of frames; `match` looks at the tokens."""
        return self.vision_encoder.encoder.forward_features(video, layers=layers)

    def embed(self, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b e"]:
        """Return a vector of unit length for each clip, in the space of the texts."""
        return unit(self.encode_video(video))

    def example_inputs(self, batch: int = 2) -> tuple[Tensor, Tensor]:
        """Return random clips, and texts of random tokens as long as the context."""
        ids = torch.randint(1, self.config.text.vocab_size, (batch, self.config.context_length))
        return (*self.vision_encoder.encoder.example_inputs(batch), ids)

    def forward(
        self, video: Float[Tensor, "b c t y x"], ids: Int[Tensor, "b l"]
    ) -> UMTMultimodalOutput:
        """Look at a batch of pairs with all that the model has; nothing is hidden from it."""
        features = self.vision_encoder(video, align=self.config.alignment)
        text, answers = self.read(ids), None
        fused = self.text_encoder.fuse(text.tokens, text.shown, features.tokens)
        if self.config.alignment:
            places = torch.arange(prod(features.grid), device=video.device)
            answers = self.vision_encoder.answers(features, places.expand(video.shape[0], -1))
        return UMTMultimodalOutput(
            video=self.project_video(self.vision_encoder.pool(features)).mean(dim=1),
            text=F.normalize(self.project_text(text).float(), dim=-1),
            match=self.itm_head(fused[:, 0]),
            words=self.text_encoder.predict_words(fused) if self.config.text.masked_lm else None,
            answers=answers,
        )

    def encode_frames(self, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b s e"]:
        """Embed every frame of clips, which see each other: unit vectors in float32.

        The published similarity of a clip and a text is the mean over frames of their cosines.
        """
        return self.project_video(self.vision_encoder.pool(self.vision_encoder(video)))

    def project_video(self, pooled: Float[Tensor, "b s d"]) -> Float[Tensor, "b s e"]:
        """Map pooled video tokens to unit vectors in float32."""
        return F.normalize(self.vision_proj(pooled).float(), dim=-1)

    def encode_video(
        self, video: Float[Tensor, "b c t y x"], *, normalize: bool = True
    ) -> Float[Tensor, "b e"]:
        """Embed clips as the mean of `encode_frames`.

        Args:
            video: normalised pixels.
            normalize: scale to unit length. Without it the product with a text's embedding is the
                published similarity, the mean of the frames' cosines.
        """
        embedding = self.encode_frames(video).mean(dim=1)
        return F.normalize(embedding, dim=-1) if normalize else embedding

    def read(self, ids: Int[Tensor, "b l"]) -> TextTokens:
        """Read texts without a video; id 0 is padding."""
        shown = ids != 0
        return TextTokens(self.text_encoder.encode(ids, shown), shown)

    def project_text(self, text: TextTokens) -> Float[Tensor, "b e"]:
        """Map the first token of texts into the joint space (not normalised)."""
        return self.text_proj(text.tokens[:, 0])

    def encode_text(
        self, ids: Int[Tensor, "b l"], *, normalize: bool = True
    ) -> Float[Tensor, "b e"]:
        """Embed tokenized texts; `normalize` scales to unit length, in float32.

        Raises:
            ValueError: a text has no end, because it was cut behind its largest id, as is right for
                CLIP alone.
        """
        self._refuse_cut_texts(ids)
        embedding = self.project_text(self.read(ids))
        return F.normalize(embedding.float(), dim=-1) if normalize else embedding

    def _refuse_cut_texts(self, ids: Int[Tensor, "b l"]) -> None:
        if self.tokenizer.vocabulary is None or torch.compiler.is_compiling():
            return
        if not (ids == self.tokenizer.special_id("[SEP]")).any(dim=1).all():
            raise ValueError(
                "a text without its [SEP]: pass whole rows of the tokenizer, cut at most where all "
                "ids are 0"
            )

    def match_logits(self, video: Float[Tensor, "b n d"], text: TextTokens) -> Float[Tensor, "b 2"]:
        """Return the logits of "not its text" and "its text" of pairs, row by row.

        Args:
            video: tokens of `forward_features`.
            text: from `read`; the upper layers alone run here, so a text that is compared with many
                videos is read once.
        """
        return self.itm_head(self.text_encoder.fuse(text.tokens, text.shown, video)[:, 0])

    def match(self, video: Float[Tensor, "b n d"], text: TextTokens) -> Float[Tensor, "b"]:
        """Return the probability that each text belongs to its video, see `match_logits`."""
        return self.match_logits(video, text).float().softmax(dim=-1)[:, 1]


def _tokenizer(config: UMTMultimodalConfig) -> WordPieceTokenizer:
    return WordPieceTokenizer(
        config.vocabulary, config.context_length, vocab_size=config.text.vocab_size
    )


def _size(student: str, teacher: str, text: BertConfig, embed_dim: int) -> UMTMultimodalConfig:
    vision = unmasked_teacher.SIZES[student]
    return UMTMultimodalConfig(
        vision=dataclasses.replace(
            vision,
            encoder=dataclasses.replace(vision.encoder, num_frames=4),
            decoder_norm_eps=1e-5,
        ),
        text=text,
        embed_dim=embed_dim,
        teacher=clip_teacher.SIZES[teacher],
    )


SIZES: dict[str, UMTMultimodalConfig] = {
    "b16": _size("b16", "b16", bert.SIZES["base"], 512),
    "l16": _size("l16", "l14", bert.SIZES["large"], 768),
}
"""The released models, for 4 frames of 224 pixels; with their teachers, as in pretraining."""
