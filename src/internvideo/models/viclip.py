"""ViCLIP: a video tower and a text tower that meet in one vector each (arXiv 2307.06942).

    clip ──► vision_encoder ──► project ──► "b e" ─┐
                                                   ├─► cosine / temp
    ids  ──► text_encoder   ──► project ──► "b e" ─┘

The video tower is one of two:

* `ViCLIPVision`, CLIP's image ViT grown in time: patches of all frames attend to each other, one
  class token a clip, a position table over space plus one over time. All released ViCLIP files.
* `PooledVideoViT`, any `VideoViT` whose tokens are pooled and projected: how a masked-pretrained
  encoder becomes a ViCLIP (`viclip-nano`).

`projection_norm="batch"` puts a BatchNorm without affine parameters in front of both projections. A
small model that starts from nothing has nearly parallel embeddings (nano shape, at the start: mean
cosine 0.85 between clips, 0.64 between captions; with the norm 0.0), and its loss stayed at ln B
for minutes where one with the norm had begun to learn. Models that start from CLIP do not need it
and have `"none"`.

Letters: b batch, c channels, (t, y, x) frames, rows and columns of the clip; n patch tokens, v of
them visible; d width, e joint dimension, l text length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from internvideo.config import ByKind
from internvideo.models.clip_text import CLIPTextConfig, CLIPTextEncoder
from internvideo.models.contract import VideoEncoder, VideoFeatures, unit
from internvideo.models.pooled_vit import Pool, PooledVideoViT
from internvideo.models.tokenizer import CLIPTokenizer, Tokenizer, WordTokenizer
from internvideo.models.tubelets import tubelet_grid
from internvideo.models.viclip_vision import ViCLIPVision, ViCLIPVisionConfig
from internvideo.models.vit import VideoViTConfig

__all__ = [
    "SIZES",
    "ViCLIP",
    "ViCLIPConfig",
    "ViCLIPOutput",
    "kept_tokens",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ViCLIPConfig:
    """Shape of a `ViCLIP`.

    Attributes:
        vision: the video tower: CLIP's ViT grown in time, or a `VideoViT` with a pooled projection.
        text: the text tower.
        embed_dim: dimension of the joint space; equal to that of the towers.
        vocabulary: the words of a word-level tokenizer; None is CLIP's byte-pair tokenizer.
        pool: how a `VideoViT`'s tokens become one vector (a `ViCLIPVision` has its class token).
        projection_norm: "batch" normalises in front of both projections (`VideoViT` only).
        temp_init: start of the learnable temperature.
        temp_min: the temperature is kept at or above it.
    """

    vision: Annotated[ViCLIPVisionConfig | VideoViTConfig, ByKind()]
    text: CLIPTextConfig
    embed_dim: int
    vocabulary: tuple[str, ...] | None = None
    pool: Pool = "mean+max"
    projection_norm: Literal["none", "batch"] = "none"
    temp_init: float = 0.01
    temp_min: float = 0.01

    def __post_init__(self) -> None:
        if self.text.embed_dim != self.embed_dim:
            raise ValueError(f"text.embed_dim {self.text.embed_dim} is not {self.embed_dim}")
        if isinstance(self.vision, ViCLIPVisionConfig):
            if self.vision.embed_dim != self.embed_dim:
                raise ValueError(
                    f"vision.embed_dim {self.vision.embed_dim} is not {self.embed_dim}"
                )
            if self.projection_norm != "none":
                raise ValueError("projection_norm 'batch' needs a VideoViT as the video tower")
        if self.pool not in ("mean", "max", "mean+max"):
            raise ValueError(f"pool {self.pool!r} is not one of 'mean', 'max', 'mean+max'")
        if self.projection_norm not in ("none", "batch"):
            raise ValueError(f"projection_norm {self.projection_norm!r} is not 'none' or 'batch'")
        if not 0 < self.temp_min <= self.temp_init:
            raise ValueError(f"need 0 < temp_min {self.temp_min} <= temp_init {self.temp_init}")
        if self.vocabulary is not None and len(self.vocabulary) + 4 != self.text.vocab_size:
            raise ValueError(
                f"text.vocab_size {self.text.vocab_size} must be {len(self.vocabulary) + 4}: "
                f"the {len(self.vocabulary)} words of the vocabulary and 4 special tokens"
            )

    def build_tokenizer(self) -> Tokenizer:
        """Return the tokenizer that the text tower was made for."""
        if self.vocabulary is None:
            return CLIPTokenizer(self.text.context_length)
        return WordTokenizer(self.vocabulary, self.text.context_length)


@dataclass(frozen=True)
class ViCLIPOutput:
    """Unit-norm float32 embeddings of a batch of pairs."""

    video: Float[Tensor, "b e"]
    text: Float[Tensor, "b e"]


def kept_tokens(
    noise: Float[Tensor, "b n"], mask_ratio: float, *, num_steps: int
) -> Int[Tensor, "b v"]:
    """Return which patches survive random token dropping.

    The `int(mask_ratio · n)` patches with the smallest noise are dropped.

    Args:
        noise: one number per patch.
        mask_ratio: share of the patches to drop.
        num_steps: time steps T of the clip.

    Returns:
        Increasing indices in the order time, row, column.
    """
    # COMPAT: the reference numbers noise place by place (place · T + step), our tokens are step by
    # step; pinned by golden `viclip-tiny`.
    by_step = rearrange(noise, "b (n t) -> b (t n)", t=num_steps)
    num_dropped = int(mask_ratio * noise.shape[1])
    return by_step.argsort(dim=1)[:, num_dropped:].sort(dim=1).values


class ViCLIP(VideoEncoder, nn.Module):
    """The two towers and their temperature; names are those of the official files.

    Example:
        >>> model = ViCLIP(SIZES["b16"]).eval()
        >>> ids = model.tokenizer(["a dog plays in the snow"])
        >>> model.encode_text(ids) @ model.encode_video(torch.randn(1, 3, 8, 224, 224)).T  # cosine
    """

    capabilities = frozenset({"features", "embed", "text"})

    def __init__(self, config: ViCLIPConfig) -> None:
        super().__init__()
        self.config = config
        self.vision_encoder: ViCLIPVision | PooledVideoViT = (
            ViCLIPVision(config.vision)
            if isinstance(config.vision, ViCLIPVisionConfig)
            else PooledVideoViT(
                config.vision,
                config.embed_dim,
                pool=config.pool,
                projection_norm=config.projection_norm,
            )
        )
        self.text_encoder = CLIPTextEncoder(config.text, projection_norm=config.projection_norm)
        self.temp = nn.Parameter(torch.full((), config.temp_init))
        self.tokenizer = config.build_tokenizer()

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.vision_encoder.reset_parameters()
        self.text_encoder.reset_parameters()
        nn.init.constant_(self.temp, self.config.temp_init)

    def reset_buffers(self) -> None:
        """Make the tables that are no part of the state, after building on the meta device."""
        self.vision_encoder.reset_buffers()

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks of both towers: the units to checkpoint, compile or shard."""
        yield from self.vision_encoder.block_modules()
        yield from self.text_encoder.block_modules()

    def temperature(self) -> Float[Tensor, ""]:
        """Return the temperature after raising it to `temp_min` IN PLACE if it was lower.

        In place, as in the reference, and not in the graph: pushed below the bound it comes back
        and goes on learning, where a clamp in the graph would cut its gradient for good.
        """
        with torch.no_grad():
            self.temp.clamp_(min=self.config.temp_min)
        return self.temp

    def forward_features(
        self, video: Float[Tensor, "b c t y x"], *, layers: Sequence[int] = ()
    ) -> VideoFeatures:
        """Encode a clip; see the `forward_features` of the video tower."""
        return self.vision_encoder.forward_features(video, layers=layers)

    def embed(self, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b e"]:
        """Return a vector of unit length for each clip, in the space of the texts."""
        return unit(self.encode_video(video))

    def example_inputs(self, batch: int = 2) -> tuple[Tensor, Tensor]:
        """Return random clips, and texts of random tokens as long as the context."""
        text = self.config.text
        ids = torch.randint(text.vocab_size, (batch, text.context_length))
        return (*self.vision_encoder.example_inputs(batch), ids)

    def encode_video(
        self,
        video: Float[Tensor, "b c t y x"],
        *,
        mask_ratio: float = 0.0,
        noise: Float[Tensor, "b n"] | None = None,
        normalize: bool = True,
    ) -> Float[Tensor, "b e"]:
        """Embed clips.

        Args:
            video: normalised pixels.
            mask_ratio: share of the patch tokens to drop at random (training only).
            noise: what decides which are dropped, see `kept_tokens`; None draws it.
            normalize: scale every embedding to unit length, in float32 whatever the model's dtype.
        """
        visible = None
        if mask_ratio > 0:
            config = self.config.vision
            t, h, w = tubelet_grid(
                video, tubelet_size=config.tubelet_size, patch_size=config.patch_size
            )
            if noise is None:
                noise = torch.rand(video.shape[0], t * h * w, device=video.device)
            visible = kept_tokens(noise, mask_ratio, num_steps=t)
        embedding = self.vision_encoder.project(self.vision_encoder(video, visible=visible))
        return F.normalize(embedding.float(), dim=-1) if normalize else embedding

    def encode_text(
        self, ids: Int[Tensor, "b l"], *, normalize: bool = True
    ) -> Float[Tensor, "b e"]:
        """Embed tokenized texts; `normalize` scales to unit length, in float32."""
        embedding = self.text_encoder(ids).embedding
        return F.normalize(embedding.float(), dim=-1) if normalize else embedding

    def forward(
        self,
        video: Float[Tensor, "b c t y x"],
        ids: Int[Tensor, "b l"],
        *,
        mask_ratio: float = 0.0,
        noise: Float[Tensor, "b n"] | None = None,
    ) -> ViCLIPOutput:
        """Embed a batch of pairs for the contrastive loss."""
        return ViCLIPOutput(
            video=self.encode_video(video, mask_ratio=mask_ratio, noise=noise),
            text=self.encode_text(ids),
        )


SIZES: dict[str, ViCLIPConfig] = {
    "b16": ViCLIPConfig(
        vision=ViCLIPVisionConfig(),
        text=CLIPTextConfig(context_length=32),
        embed_dim=512,
    ),
    "l14": ViCLIPConfig(
        vision=ViCLIPVisionConfig(patch_size=14, width=1024, depth=24, num_heads=16, embed_dim=768),
        text=CLIPTextConfig(context_length=32, width=768, num_heads=12, embed_dim=768),
        embed_dim=768,
    ),
}
"""The released sizes, for 8 frames of 224 pixels."""
