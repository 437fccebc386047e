"""Action recognition with UniFormerV2: its fused feature, LayerNorm, dropout, linear.

Letters: b batch, c channels, (t, y, x) frames, rows and columns of the clip; d width, k classes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.models import uniformerv2
from internvideo.models.contract import VideoFeatures
from internvideo.models.uniformerv2 import UniFormerV2, UniFormerV2Config

__all__ = ["SIZES", "UniFormerV2Classifier", "UniFormerV2ClassifierConfig"]


@dataclass(frozen=True, kw_only=True, slots=True)
class UniFormerV2ClassifierConfig(UniFormerV2Config):
    """Shape of a `UniFormerV2Classifier`: that of its encoder, and its head.

    Attributes:
        num_classes: outputs of the head; 0 is an encoder without one, whose output is the feature.
        head_drop_rate: dropout before the head.
    """

    num_classes: int
    head_drop_rate: float = 0.5

    def __post_init__(self) -> None:
        UniFormerV2Config.__post_init__(self)
        if self.num_classes < 0:
            raise ValueError(f"num_classes {self.num_classes} must not be negative")


class UniFormerV2Classifier(UniFormerV2):
    """Video classifier; call it with a normalised clip to get the logits of its classes.

    Example:
        >>> from dataclasses import replace
        >>> model = UniFormerV2Classifier(replace(SIZES["b16"], num_classes=10))
        >>> model(torch.randn(1, 3, 8, 224, 224)).shape
        torch.Size([1, 10])
    """

    capabilities = frozenset({"features", "embed", "classes"})
    config: UniFormerV2ClassifierConfig

    def __init__(self, config: UniFormerV2ClassifierConfig) -> None:
        super().__init__(config)
        head = nn.Linear(config.width, config.num_classes) if config.num_classes else nn.Identity()
        self.transformer.proj = nn.Sequential(
            nn.LayerNorm(config.width), nn.Dropout(config.head_drop_rate), head
        )
        if not config.num_classes:
            self.capabilities = self.capabilities - {"classes"}

    @property
    def head(self) -> nn.Linear:
        """The linear layer whose outputs are the classes."""
        proj: Any = self.transformer.proj
        return proj[2]

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        super().reset_parameters()
        if hasattr(self.transformer, "proj"):  # not yet there when the encoder is built
            self.reset_head()

    @torch.no_grad()
    def reset_head(self) -> None:
        """Draw the head and its norm anew, for a new set of classes on an old encoder."""
        proj: Any = self.transformer.proj
        proj[0].reset_parameters()
        if isinstance(proj[2], nn.Linear):
            proj[2].reset_parameters()

    def pool(self, features: VideoFeatures) -> Float[Tensor, "b d"]:
        """Return the one feature of each clip that the head sees, after its norm."""
        proj: Any = self.transformer.proj
        return proj[0](features.cls)

    def forward(self, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b k"]:  # type: ignore[override]
        """Return the logits, or without a head the feature after its norm."""
        proj: Any = self.transformer.proj
        return proj[2](proj[1](self.pool(self.forward_features(video))))


def _size(encoder: UniFormerV2Config, num_classes: int) -> UniFormerV2ClassifierConfig:
    values = {field.name: getattr(encoder, field.name) for field in fields(encoder)}
    return UniFormerV2ClassifierConfig(**values, num_classes=num_classes)


SIZES: dict[str, UniFormerV2ClassifierConfig] = {
    name: _size(encoder, 174 if encoder.temporal_downsample else 400)
    for name, encoder in uniformerv2.SIZES.items()
}
"""The released sizes, for the classes of Kinetics-400 or Something-Something."""
