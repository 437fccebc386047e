"""Spatio-temporal action detection: what is done inside of boxes, by a `VideoViT`.

    clip ──► VideoViT ──► mean over time ──► map ──► RoIAlign ──► max ──► head ──► logits a box
                                              └──────────── relations (ACAR) ───┘

The names of the weights are those of the fine-tuned VideoMAE files. The head is one linear layer,
or the relation head of ACAR-Net (Pan et al., 2021): the boxes of a clip attend to each other at
every place of the map.

Shapes: b batch, c channels, (t, y, x) frames, rows and columns of the clip; d width, (h, w) the
map; n boxes of all clips, k classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.models import vit
from internvideo.models.layers import init_module
from internvideo.models.vit import VideoViT, VideoViTConfig

__all__ = [
    "SIZES",
    "ActionDetector",
    "ActionDetectorConfig",
    "box_example",
    "roi_align",
    "time_mean",
]

_MAP_SHRINK = 3  # kernel of the relation head's second convolution, which has no padding


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionDetectorConfig(VideoViTConfig):
    """Shape of an `ActionDetector`: that of its encoder, and its head.

    Attributes:
        num_classes: outputs for each box.
        head: "linear", or "acar" with relations between the boxes of a clip.
        roi_size: bins of a box along each side, over which the maximum is taken.
        roi_stride: pixels of the clip for one place of the map. COMPAT: it is 16 with patches of
            14, too, so that boxes are read smaller there (fixture `stal-vit-p14`).
        head_drop_rate: dropout in the relation blocks.
    """

    num_classes: int = 80
    head: Literal["linear", "acar"] = "linear"
    roi_size: int = 7
    roi_stride: int = 16
    head_drop_rate: float = 0.2

    def __post_init__(self) -> None:
        VideoViTConfig.__post_init__(self)
        if self.head not in ("linear", "acar"):
            raise ValueError(f"head {self.head!r} is not one of 'linear', 'acar'")
        if not self.final_norm:
            raise ValueError("an action detector reads normalised tokens: final_norm must be True")
        for name in ("num_classes", "roi_size", "roi_stride"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")


def roi_align(
    maps: Float[Tensor, "b d h w"],
    rois: Float[Tensor, "n 5"],
    *,
    size: int,
    stride: int,
    aligned: bool = False,
) -> Float[Tensor, "n d s s"]:
    """Sample a grid of bins in each box.

    Args:
        maps: of the clips.
        rois: number of the clip, then left, top, right and bottom in pixels of the clip.
        size: bins along each side.
        stride: pixels for one place of a map.
        aligned: whether boxes are shifted by half a place, so that they lie on the pixels' centres.

    Source: `ROIAlign` of Mask R-CNN with adaptive sampling (fixture `stal-roialign`).
    """
    import torchvision.ops  # registers the operator; it is slow to import

    # Boxes stay in float32: in half precision coordinates above 256 would lose their fraction.
    align = torchvision.ops.roi_align  # pyright: ignore[reportUnknownMemberType]
    sampled = align(maps.float(), rois.float(), size, 1.0 / stride, -1, aligned)
    return sampled.to(maps.dtype)


def time_mean(encoder: VideoViT, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b d h w"]:
    """Return the tokens of whole clips, averaged over time; what no patch covers is cut off."""
    patch = encoder.config.patch_size
    rows, columns = (side // patch * patch for side in video.shape[-2:])
    volume = encoder.forward_features(video[..., :rows, :columns]).volume()
    return volume.mean(dim=1).permute(0, 3, 1, 2)


def box_example(encoder: VideoViT, batch: int) -> tuple[Tensor, Tensor]:
    """Return random clips, and as many boxes, two on each of the first clips."""
    (video,) = VideoViT.example_inputs(encoder, batch)
    rows, columns = encoder.config.frame_size
    corner = torch.rand(batch, 2) * 0.4
    ends = corner + 0.3 + 0.3 * torch.rand(batch, 2)
    sides = torch.cat([corner, ends], dim=1) * torch.tensor([columns, rows] * 2)
    clips = torch.arange(batch) // 2
    return video, torch.cat([clips[:, None].float(), sides], dim=1)


class RelationBlock(nn.Module):
    """At each place, every box of a clip attends to all boxes of the clip (HR2O of ACAR-Net)."""

    def __init__(self, width: int, drop_rate: float) -> None:
        super().__init__()
        conv = partial(nn.Conv2d, width, width, 3, padding=1, bias=False)
        self.conv_q, self.conv_k, self.conv_v = conv(), conv(), conv()
        self.conv = conv()
        self.norm = nn.GroupNorm(1, width)
        self.dropout = nn.Dropout(drop_rate)

    def forward(
        self, x: Float[Tensor, "n d h w"], same_clip: Float[Tensor, "n n 1 1"]
    ) -> Float[Tensor, "n d h w"]:
        """Add to each box what it sees in the others; `same_clip` is -inf between clips, else 0."""
        q, k, v = self.conv_q(x), self.conv_k(x), self.conv_v(x)
        logits = torch.einsum("ndhw,mdhw->nmhw", q, k) * x.shape[1] ** -0.5
        weights = (logits + same_clip.to(logits.dtype)).softmax(dim=1)
        seen = torch.einsum("nmhw,mdhw->ndhw", weights, v)
        return x + self.dropout(self.conv(F.relu(self.norm(seen))))


class RelationHead(nn.Module):
    """Classes of a box by its own feature and by its relations to the other boxes."""

    def __init__(self, width: int, num_classes: int, drop_rate: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2 * width, width, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, _MAP_SHRINK, bias=False)
        self.hr2o = nn.ModuleList(RelationBlock(width, drop_rate) for _ in range(2))
        self.fc1 = nn.Linear(width, width, bias=False)
        self.fc2 = nn.Linear(2 * width, num_classes, bias=False)

    def forward(
        self,
        boxes: Float[Tensor, "n d"],
        maps: Float[Tensor, "b d h w"],
        clips: Float[Tensor, " n"],
    ) -> Float[Tensor, "n k"]:
        """Return the logits; `clips` says which clip each box is in."""
        # conv1 sees [map, box at every place]: its two halves are applied before they are joined.
        of_map, of_box = self.conv1.weight.split(boxes.shape[1], dim=1)
        x = F.conv2d(maps, of_map)[clips.long()]
        x = x + F.linear(boxes, of_box[:, :, 0, 0])[:, :, None, None]
        x = F.relu(self.conv2(F.relu(x)))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        other = clips[:, None] != clips[None]
        same_clip = torch.zeros(other.shape, device=x.device).masked_fill(other, float("-inf"))
        for block in self.hr2o:
            x = block(x, same_clip[:, :, None, None])
        own = F.relu(self.fc1(boxes))
        return self.fc2(torch.cat([own, x.mean(dim=(2, 3))], dim=1))


class ActionDetector(VideoViT):
    """Tells what is done in boxes; call it with normalised clips and boxes.

    Example:
        >>> from dataclasses import replace
        >>> model = ActionDetector(replace(SIZES["S"], image_size=64))
        >>> boxes = torch.tensor([[0, 3.0, 4, 40, 60], [0, 20, 4, 60, 60]])
        >>> model(torch.randn(1, 3, 16, 64, 96), boxes).shape
        torch.Size([2, 80])
    """

    capabilities = frozenset({"features", "embed", "boxes"})
    config: ActionDetectorConfig
    linear_init = partial(nn.init.trunc_normal_, std=0.02)

    def __init__(self, config: ActionDetectorConfig) -> None:
        super().__init__(config)
        if config.head == "linear":
            self.head = nn.Linear(config.width, config.num_classes)
        else:
            self.head = RelationHead(config.width, config.num_classes, config.head_drop_rate)
        self.reset_head()

    def reset_parameters(self) -> None:
        """Draw all weights anew: truncated normal matrices, zero biases."""
        super().reset_parameters()
        self.reset_head()

    @torch.no_grad()
    def reset_head(self) -> None:
        """Draw the head anew, for a new set of classes on an old encoder."""
        for module in self.head.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, nn.GroupNorm):
                module.reset_parameters()
            else:
                init_module(module, linear=self.linear_init)

    def box_features(
        self, maps: Float[Tensor, "b d h w"], rois: Float[Tensor, "n 5"]
    ) -> Float[Tensor, "n d"]:
        """Return the maximum over the bins of each box; see `roi_align`."""
        size = self.config.roi_size
        bins = roi_align(maps, rois, size=size, stride=self.config.roi_stride)
        return F.max_pool2d(bins, size).flatten(1)

    def forward(  # type: ignore[override]
        self, video: Float[Tensor, "b c t y x"], rois: Float[Tensor, "n 5"]
    ) -> Float[Tensor, "n k"]:
        """Return the logits of each box.

        Args:
            video: normalised clips; a clip may have no boxes.
            rois: number of the clip, then left, top, right and bottom in its pixels.
        """
        maps = time_mean(self, video)
        boxes = self.box_features(maps, rois)
        if isinstance(self.head, RelationHead):
            return self.head(boxes, maps, rois[:, 0])
        return self.head(boxes)

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks of the encoder."""
        yield from self.blocks

    def example_inputs(self, batch: int = 2) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Return random clips, and as many boxes, two on each of the first clips."""
        return box_example(self, batch)


def _size(name: str, head: Literal["linear", "acar"] = "linear") -> ActionDetectorConfig:
    encoder = vit.SIZES[name]
    return ActionDetectorConfig(
        patch_size=encoder.patch_size,
        width=encoder.width,
        depth=encoder.depth,
        num_heads=encoder.num_heads,
        mlp_ratio=encoder.mlp_ratio,
        head=head,
    )


SIZES: dict[str, ActionDetectorConfig] = {
    **{name: _size(name) for name in ("S", "B", "L", "H", "g")},
    **{f"{name}-acar": _size(name, "acar") for name in ("B", "H")},
}
"""The published sizes, for the 80 classes of AVA; `dataclasses.replace` makes others."""
