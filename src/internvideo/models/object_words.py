"""Objects, named in any words: an image classifier whose classes are read by a sentence encoder.

    frames ──► image classifier ──► probability of each class ──► mean over the frames
                                                                       │ convex combination
    names of the classes ──► sentence encoder ──► a vector each ───────┘──► vector of the video
    a text               ──► sentence encoder ───────────────────────────► vector of the text

The video lies among the names of what is seen in it, so that any text can be compared with it
(ConSE, Norouzi et al. 2014, arXiv 1312.5650). Sentence vectors share a direction that says nothing,
so the mean over the classes is taken off both sides. Frames are looked at one by one: the model
knows objects and scenes, and nothing of motion.

Letters: b batch, t frames, k classes, e width of a sentence vector, l text length, d features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from internvideo.models.bert import BertConfig, BertFusionEncoder
from internvideo.models.contract import VideoEncoder, VideoFeatures, unit
from internvideo.models.wordpiece import WordPieceTokenizer

__all__ = ["SIZES", "ObjectWords", "ObjectWordsConfig", "SentenceEncoder"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectWordsConfig:
    """Shape of an `ObjectWords`.

    Attributes:
        backbone: an EfficientNet of timm.
        num_classes: of the image classifier.
        text: shape of the sentence encoder; none of its layers looks at a video.
        image_size: side of a frame in pixels; any will do.
        num_frames: frames of a clip; any number will do.
        context_length: the longest text in tokens.
        vocabulary: the word pieces, `[PAD]` first; None where the model came without them.
        sharpness: factor of the classifier's logits; below 1 a video is a mixture of more classes.
        temp_init: what cosines are divided by, at the start of a training.
    """

    backbone: str = "tf_efficientnet_lite0"
    num_classes: int = 1000
    text: BertConfig
    image_size: int = 224
    num_frames: int = 8
    context_length: int = 64
    vocabulary: tuple[str, ...] | None = None
    sharpness: float = 1.0
    temp_init: float = 0.2

    def __post_init__(self) -> None:
        if self.text.fusion_layer != self.text.depth or self.text.masked_lm:
            raise ValueError("text: a sentence encoder has fusion_layer = depth and no masked_lm")
        if self.context_length > self.text.max_positions:
            raise ValueError(
                f"context_length {self.context_length} exceeds text.max_positions "
                f"{self.text.max_positions}"
            )


class SentenceEncoder(BertFusionEncoder):
    """A plain BERT; a text is the mean over its tokens (Reimers and Gurevych 2019)."""

    def forward(self, ids: Int[Tensor, "b l"]) -> Float[Tensor, "b e"]:  # type: ignore[override]
        """Return a float32 vector for each text; id 0 is padding."""
        shown = ids != 0
        tokens = self.encode(ids, shown).float()
        return (tokens * shown[..., None]).sum(dim=1) / shown.sum(dim=1, keepdim=True)


class ObjectWords(VideoEncoder, nn.Module):
    """An image classifier and a sentence encoder that meet in the space of the sentences.

    Its state is both networks, the temperature, and `class_vectors`, the unit vectors of the names
    of the classes.

    Example:
        >>> model = ObjectWords(SIZES["lite0-minilm"])
        >>> video = torch.randn(1, 3, 8, 224, 224)
        >>> model.class_probabilities(video)  # "1 1000"
        >>> model.encode_text(model.tokenizer(["a dog in the snow"])) @ model.encode_video(video).T
    """

    capabilities = frozenset({"features", "embed", "text"})
    class_vectors: Tensor

    def __init__(self, config: ObjectWordsConfig) -> None:
        super().__init__()
        import timm  # takes a second

        self.config = config
        self.image_encoder: Any = timm.create_model(config.backbone, num_classes=config.num_classes)
        self.text_encoder = SentenceEncoder(config.text)
        self.temp = nn.Parameter(torch.full((), config.temp_init))
        self.register_buffer("class_vectors", torch.empty(config.num_classes, config.text.width))
        self.tokenizer = WordPieceTokenizer(
            config.vocabulary, config.context_length, vocab_size=config.text.vocab_size
        )
        self._reset_space()

    @torch.no_grad()
    def _reset_space(self) -> None:
        nn.init.constant_(self.temp, self.config.temp_init)
        nn.init.normal_(self.class_vectors)
        self.class_vectors.copy_(F.normalize(self.class_vectors, dim=-1))

    def reset_parameters(self) -> None:
        """Draw all weights anew; the classes then have random vectors."""
        from timm.models._efficientnet_builder import efficientnet_init_weights

        for module in self.image_encoder.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
        efficientnet_init_weights(self.image_encoder)
        self.text_encoder.reset_parameters()
        self._reset_space()

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the layers of the sentence encoder; the image classifier is too small to shard."""
        yield from self.text_encoder.block_modules()

    def temperature(self) -> Float[Tensor, ""]:
        """Return what cosines are divided by before a softmax over them."""
        return self.temp

    def forward_features(
        self, video: Float[Tensor, "b c t y x"], *, layers: Sequence[int] = ()
    ) -> VideoFeatures:
        """Encode clips of any number of frames, each frame alone.

        Args:
            video: normalised pixels.
            layers: blocks of the image encoder whose outputs are wanted, counted over its stages;
                each has a width and a grid of its own.

        Raises:
            IndexError: a block that there is not.
        """
        frames = rearrange(video, "b c t y x -> (b t) c y x")
        blocks = [block for stage in self.image_encoder.blocks for block in stage]
        wanted = [range(len(blocks))[number] for number in layers]
        x, found = self.image_encoder.bn1(self.image_encoder.conv_stem(frames)), {}
        for number, block in enumerate(blocks):
            x = block(x)
            if number in wanted:
                found[number] = rearrange(x, "(b t) d h w -> b (t h w) d", b=video.shape[0])
        x = self.image_encoder.bn2(self.image_encoder.conv_head(x))
        return VideoFeatures(
            tokens=rearrange(x, "(b t) d h w -> b (t h w) d", b=video.shape[0]),
            grid=(video.shape[2], *x.shape[2:]),  # type: ignore[arg-type]
            hidden=tuple(found[number] for number in wanted),
        )

    def class_probabilities(self, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b k"]:
        """Return the probability of each class of the images, the mean over the frames."""
        frames = self.forward_features(video).per_step()
        logits = self.image_encoder.classifier(frames).float()
        return (self.config.sharpness * logits).softmax(dim=-1).mean(dim=1)

    def encode_video(
        self, video: Float[Tensor, "b c t y x"], *, normalize: bool = True
    ) -> Float[Tensor, "b e"]:
        """Embed normalised clips among the names of what they show, in float32."""
        vectors = self.class_vectors.float()
        embedding = self.class_probabilities(video) @ (vectors - vectors.mean(dim=0))
        return unit(embedding) if normalize else embedding

    def encode_text(
        self, ids: Int[Tensor, "b l"], *, normalize: bool = True
    ) -> Float[Tensor, "b e"]:
        """Embed tokenized texts, in float32."""
        embedding = unit(self.text_encoder(ids)) - self.class_vectors.float().mean(dim=0)
        return unit(embedding) if normalize else embedding

    def embed(self, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b e"]:
        """Return a vector of unit length for each clip, in the space of the texts."""
        return self.encode_video(video)

    def example_inputs(self, batch: int = 2) -> tuple[Tensor, Tensor]:
        """Return random clips, and texts of random tokens as long as the context."""
        [video] = super().example_inputs(batch)
        shape = (batch, self.config.context_length)
        return video, torch.randint(1, self.config.text.vocab_size, shape)

    def forward(
        self, video: Float[Tensor, "b c t y x"], ids: Int[Tensor, "b l"]
    ) -> tuple[Float[Tensor, "b e"], Float[Tensor, "b e"]]:
        """Return the embeddings of a batch of pairs."""
        return self.encode_video(video), self.encode_text(ids)


SIZES: dict[str, ObjectWordsConfig] = {
    "lite0-minilm": ObjectWordsConfig(
        image_size=288,
        sharpness=0.67,
        text=BertConfig(
            width=384, depth=6, num_heads=12, mlp_hidden=1536, fusion_layer=6, masked_lm=False
        ),
    ),
}
"""EfficientNet-Lite0 of ImageNet's 1000 classes, and the BERT of all-MiniLM-L6-v2."""
