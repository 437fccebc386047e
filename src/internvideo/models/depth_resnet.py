"""The depth encoder of a navigating agent: ResNet-50 with group norm (DD-PPO, Wijmans et al. 2020).

    depth ──► 2 x 2 mean ──► 7 x 7 convolution ──► maximum ──► four stages ──► compression ──► map

Names are those of the released files, `backbone.…` and `compression.…`.

Letters: b batch, (y, x) pixels, d channels and (h, w) places of the map.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.models.contract import Capability

__all__ = ["SIZES", "DepthResNet", "DepthResNetConfig"]

_BLOCKS = (3, 4, 6, 3)
_EXPANSION = 4
_SHRINK = 64  # mean 2, convolution 2, maximum 2, three stages 2 each
_FEATURES = 2048  # about as many numbers leave the compression


@dataclass(frozen=True, kw_only=True, slots=True)
class DepthResNetConfig:
    """Shape of a `DepthResNet`.

    Attributes:
        image_size: pixels of the square depth pictures.
        width: channels of the first stage.
        norm_groups: groups of every norm but the last.
    """

    image_size: int = 256
    width: int = 32
    norm_groups: int = 16

    def __post_init__(self) -> None:
        if self.width % self.norm_groups:
            raise ValueError(f"width {self.width} is no multiple of norm_groups {self.norm_groups}")
        if self.image_size < _SHRINK:
            raise ValueError(f"image_size {self.image_size} is below {_SHRINK}")

    @property
    def map_side(self) -> int:
        """Places of the map along each side."""
        return self.image_size // _SHRINK

    @property
    def channels(self) -> int:
        """Channels of the map."""
        return round(_FEATURES / self.map_side**2)


SIZES = {"resnet50": DepthResNetConfig()}


class _Bottleneck(nn.Module):
    def __init__(self, inputs: int, planes: int, stride: int, groups: int) -> None:
        super().__init__()
        outputs = _EXPANSION * planes
        self.convs = nn.Sequential(
            nn.Conv2d(inputs, planes, 1, bias=False),
            nn.GroupNorm(groups, planes),
            nn.ReLU(inplace=True),
            nn.Conv2d(planes, planes, 3, stride=stride, padding=1, bias=False),
            nn.GroupNorm(groups, planes),
            nn.ReLU(inplace=True),
            nn.Conv2d(planes, outputs, 1, bias=False),
            nn.GroupNorm(groups, outputs),
        )
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False),
                nn.GroupNorm(groups, outputs),
            )

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b e h2 w2"]:
        kept = x if self.downsample is None else self.downsample(x)
        return F.relu(self.convs(x) + kept)


class _Backbone(nn.Module):
    def __init__(self, config: DepthResNetConfig) -> None:
        super().__init__()
        width, groups = config.width, config.norm_groups
        self.conv1 = nn.Sequential(
            nn.Conv2d(1, width, 7, stride=2, padding=3, bias=False),
            nn.GroupNorm(groups, width),
            nn.ReLU(inplace=True),
        )
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inputs = width
        for stage, blocks in enumerate(_BLOCKS):
            planes = width << stage
            layers = []
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                layers.append(_Bottleneck(inputs, planes, stride, groups))
                inputs = _EXPANSION * planes
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))

    def forward(self, x: Float[Tensor, "b 1 y x"]) -> Float[Tensor, "b d h w"]:
        x = self.maxpool(self.conv1(x))
        for stage in range(len(_BLOCKS)):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        return x


class DepthResNet(nn.Module):
    """Encodes depth pictures; the agent looks at the map, and its waypoints are found in it.

    Example:
        >>> model = DepthResNet(DepthResNetConfig()).eval()
        >>> model(torch.rand(12, 256, 256, 1)).shape
        torch.Size([12, 128, 4, 4])
    """

    capabilities: frozenset[Capability] = frozenset({"navigation"})

    def __init__(self, config: DepthResNetConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = _Backbone(config)
        wide = _EXPANSION * config.width << (len(_BLOCKS) - 1)
        self.compression = nn.Sequential(
            nn.Conv2d(wide, config.channels, 3, padding=1, bias=False),
            nn.GroupNorm(1, config.channels),
            nn.ReLU(inplace=True),
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            elif isinstance(module, nn.GroupNorm):
                module.reset_parameters()

    def reset_buffers(self) -> None:
        """There are none."""

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks, the first one first."""
        for stage in range(len(_BLOCKS)):
            yield from self.backbone.get_submodule(f"layer{stage + 1}").children()

    def forward(self, depth: Float[Tensor, "b y x 1"]) -> Float[Tensor, "b d h w"]:
        """Encode pictures of distances, in [0, 1] of the farthest one."""
        return self.compression(self.backbone(F.avg_pool2d(depth.permute(0, 3, 1, 2), 2)))

    def example_inputs(self, batch: int = 2) -> tuple[Tensor]:
        """Return random arguments of `forward`."""
        side = self.config.image_size
        return (torch.rand(batch, side, side, 1),)
