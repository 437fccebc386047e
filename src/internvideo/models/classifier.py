"""Action recognition with a video transformer: `VideoViT`, one pooled feature, a linear head.

    clip ──► VideoViT ──► mean of the tokens ──► LayerNorm ──► dropout ──► linear ──► logits

The names of the weights are those of the fine-tuned VideoMAE files, so the encoder's lie beside the
head's and not below a prefix.

Shapes: b batch, c channels, (t, y, x) frames, rows and columns of the clip; d width, k classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.models import vit
from internvideo.models.contract import VideoFeatures
from internvideo.models.layers import init_module
from internvideo.models.vit import VideoViT, VideoViTConfig

__all__ = ["SIZES", "VideoClassifier", "VideoClassifierConfig", "remap_head"]


Pooling = Literal["mean", "mean+max", "concat", "first"]


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoClassifierConfig(VideoViTConfig):
    """Shape of a `VideoClassifier`: that of its encoder, and its head.

    Attributes:
        positions: as in `VideoViTConfig`; "base-grid" is the rule of VideoMAE, "direct" that of V2,
            "umt" that of the unmasked teacher.
        final_norm: whether a LayerNorm follows the blocks: with "first" yes, else not.
        num_classes: outputs of the head; 0 is an encoder without one, whose output is the feature.
        pooling: "mean": LayerNorm of the mean token (all released models); "mean+max": LayerNorm of
            the sum of mean and maximum over the tokens, which keeps what happens only once;
            "concat": all tokens side by side after a LayerNorm, which keeps what happens when and
            where, for few tokens and clips of one size only;
            "first": the first token, an ordinary patch, after the LayerNorm.
        head_norm_eps: epsilon of the LayerNorm of the pooled feature; None is `norm_eps`.
        head_drop_rate: dropout before the head.
        init_scale: factor of the head's weights at the start.
    """

    positions: Literal["direct", "base-grid", "learnable", "umt"] = "base-grid"
    final_norm: bool = False
    num_classes: int
    pooling: Pooling = "mean"
    head_norm_eps: float | None = None
    head_drop_rate: float = 0.0
    init_scale: float = 0.001

    def __post_init__(self) -> None:
        VideoViTConfig.__post_init__(self)
        if self.pooling not in get_args(Pooling):
            known = ", ".join(map(repr, get_args(Pooling)))
            raise ValueError(f"pooling {self.pooling!r} is not one of {known}")
        if self.final_norm != (self.pooling == "first"):
            raise ValueError(
                f"pooling {self.pooling!r} needs final_norm={self.pooling == 'first'}: the "
                "LayerNorm comes after the mean, but before the choice of the first token"
            )
        if self.num_classes < 0:
            raise ValueError(f"num_classes {self.num_classes} must not be negative")

    @property
    def head_width(self) -> int:
        """Width of the feature that the head sees."""
        return self.width * prod(self.grid) if self.pooling == "concat" else self.width


class VideoClassifier(VideoViT):
    """Video classifier; call it with a normalised clip to get the logits of its classes.

    Example:
        >>> from dataclasses import replace
        >>> model = VideoClassifier(replace(SIZES["S"], num_classes=10))
        >>> model(torch.randn(1, 3, 16, 224, 224)).shape
        torch.Size([1, 10])
    """

    capabilities = frozenset({"features", "embed", "classes"})
    config: VideoClassifierConfig
    linear_init = partial(nn.init.trunc_normal_, std=0.02)

    def __init__(self, config: VideoClassifierConfig) -> None:
        super().__init__(config)
        if config.pooling != "first":
            eps = config.norm_eps if config.head_norm_eps is None else config.head_norm_eps
            self.fc_norm = nn.LayerNorm(config.width, eps=eps)
        self.head_drop = nn.Dropout(config.head_drop_rate)
        if config.num_classes:
            self.head = nn.Linear(config.head_width, config.num_classes)
        else:
            self.head = nn.Identity()
            self.capabilities = self.capabilities - {"classes"}
        self.reset_head()

    def reset_parameters(self) -> None:
        """Draw all weights anew: truncated normal matrices, zero biases, a nearly silent head."""
        super().reset_parameters()
        self.reset_head()

    @torch.no_grad()
    def reset_head(self) -> None:
        """Draw the head anew, for a new set of classes on an old encoder."""
        if isinstance(self.head, nn.Linear):
            init_module(self.head, linear=self.linear_init)
            self.head.weight.mul_(self.config.init_scale)

    def pool(self, features: VideoFeatures) -> Float[Tensor, "b d"]:
        """Return the one feature of each clip that the head sees; `d` is `config.head_width`.

        Raises:
            ValueError: pooling is "concat", and the clip has another size than the model's.
        """
        match self.config.pooling:
            case "first":
                return features.tokens[:, 0]
            case "concat":
                if features.grid != self.config.grid:
                    raise ValueError(
                        f"pooling 'concat' needs clips of {self.config.num_frames} frames of "
                        f"{self.config.image_size} pixels, got a grid of {features.grid} tokens"
                    )
                return self.fc_norm(features.tokens).flatten(1)
            case kind:
                return self.fc_norm(features.pool(kind))

    def pooled(self, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b d"]:
        """Return the feature in front of the head."""
        return self.pool(self.forward_features(video))

    def forward(self, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b k"]:  # type: ignore[override]
        """Return the logits, or without a head the pooled feature."""
        return self.head(self.head_drop(self.pool(self.forward_features(video))))


def remap_head(
    weight: Float[Tensor, "k d"], bias: Float[Tensor, " k"], rows: Sequence[int]
) -> tuple[Float[Tensor, "j d"], Float[Tensor, " j"]]:
    """Return the head for another set of classes, each of which the old head knows.

    Args:
        weight: of the old head.
        bias: of the old head.
        rows: for each new class its number among the old ones.

    Raises:
        ValueError: a row that the old head does not have.
    """
    index = torch.as_tensor(rows, dtype=torch.long, device=weight.device)
    if len(index) == 0 or index.min() < 0 or index.max() >= len(weight):
        raise ValueError(
            f"rows must name classes 0 to {len(weight) - 1} of the head, got {list(rows)[:5]}…"
        )
    return weight[index], bias[index]


def _size(name: str) -> VideoClassifierConfig:
    encoder = vit.SIZES[name]
    return VideoClassifierConfig(
        num_classes=400,
        patch_size=encoder.patch_size,
        width=encoder.width,
        depth=encoder.depth,
        num_heads=encoder.num_heads,
        mlp_ratio=encoder.mlp_ratio,
    )


SIZES: dict[str, VideoClassifierConfig] = {name: _size(name) for name in vit.SIZES}
"""The published sizes for the 400 classes of Kinetics-400; `dataclasses.replace` makes others."""
