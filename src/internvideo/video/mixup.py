"""Mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899) of a batch of clips.

One draw serves the whole batch and all frames; the partner of a clip is its mirror image in the
order of the batch.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from internvideo.errors import ConfigError
from internvideo.video.randomness import random_source
from internvideo.video.transforms import CropBox

__all__ = ["MixDraw", "draw_mixup", "mix_clips", "mix_labels"]

Random: TypeAlias = np.random.Generator | np.random.RandomState


class MixDraw(NamedTuple):
    """How a batch is mixed: `share` of each clip is its own, the rest is its partner's.

    With a `box`, the box is the partner's and `share` the area outside; without it pixels blend.
    Boxes have even sides before they are clipped, as in the timm 0.4.12 of the reference.
    """

    share: float = 1.0
    box: CropBox | None = None


def draw_mixup(
    height: int,
    width: int,
    *,
    mixup: float,
    cutmix: float,
    prob: float = 1.0,
    switch_prob: float = 0.5,
    rng: Random,
) -> MixDraw:
    """Draw how to mix one batch; a legacy numpy `RandomState` gives the reference's numbers.

    Args:
        height: of the frames.
        width: of the frames.
        mixup: alpha of the beta distribution of mixup; 0 is none.
        cutmix: alpha of cutmix; 0 is none.
        prob: share of the batches that are mixed.
        switch_prob: share of cutmix among these, where both are allowed.
        rng: up to five draws are taken.

    Raises:
        ConfigError: a negative alpha.

    Source: fixture `videomae-mixup`.
    """
    if min(mixup, cutmix) < 0:
        raise ConfigError(f"mixup is {mixup} and cutmix {cutmix}; expected 0 (none) or more")
    source = random_source(rng)
    if max(mixup, cutmix) == 0 or source.uniform(0, 1) >= prob:
        return MixDraw()
    cuts = cutmix > 0
    if mixup > 0 and cutmix > 0:
        cuts = source.uniform(0, 1) < switch_prob
    alpha = cutmix if cuts else mixup
    share = float(rng.beta(alpha, alpha))
    if not cuts:
        return MixDraw(share)
    side = (1 - share) ** 0.5
    reach_y, reach_x = int(height * side) // 2, int(width * side) // 2
    row, column = source.randint(0, height - 1), source.randint(0, width - 1)
    top, bottom = max(row - reach_y, 0), min(row + reach_y, height)
    left, right = max(column - reach_x, 0), min(column + reach_x, width)
    box = CropBox(top, left, bottom - top, right - left)
    return MixDraw(1 - box.height * box.width / (height * width), box)


def mix_clips(clips: Float[Tensor, "b *rest h w"], draw: MixDraw) -> Float[Tensor, "b *rest h w"]:
    """Return every clip mixed with its partner; `clips` itself where nothing is mixed."""
    if draw.share == 1:
        return clips
    if draw.box is None:
        return torch.lerp(clips.flip(0), clips, draw.share)
    top, left, height, width = draw.box
    rows, columns = slice(top, top + height), slice(left, left + width)
    mixed = clips.clone()
    mixed[..., rows, columns] = clips[..., rows, columns].flip(0)
    return mixed


def mix_labels(
    labels: Int[Tensor, " b"], num_classes: int, draw: MixDraw, *, smoothing: float = 0.0
) -> Float[Tensor, "b k"]:
    """Return the target distribution of every mixed clip.

    Args:
        labels: the class of every clip.
        num_classes: number of classes.
        draw: how the clips were mixed.
        smoothing: share of each target that is spread evenly over all classes.
    """
    own = F.one_hot(labels, num_classes).float()
    mixed = torch.lerp(own.flip(0), own, draw.share)
    return mixed * (1 - smoothing) + smoothing / num_classes
