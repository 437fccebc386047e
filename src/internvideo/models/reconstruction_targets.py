"""What a masked autoencoder of video is to reconstruct: pixels, or what moves.

Targets are computed from the normalised clips that the model sees; no gradient flows through them.

Shapes: b batch, c channels, (t, y, x) frames, rows and columns of the clip, (t, h, w) those of the
shrunk clip; m tubelets of p frames, q rows and r columns; k values to predict a tubelet.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from internvideo.models.tubelets import cut_tubelets

__all__ = ["motion_target", "pixel_target", "split_motion"]


@torch.no_grad()
def pixel_target(
    video: Float[Tensor, "b c t y x"],
    *,
    tubelet_size: int,
    patch_size: int,
    normalize: bool,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    index: Int[Tensor, "b m"] | None = None,
) -> Float[Tensor, "b m k"]:
    """Return the pixels of tubelets as a regression target.

    The k values of a token are in the order frame, row, column, channel.

    Args:
        video: clips normalised with `mean` and `std`.
        tubelet_size: frames of a tubelet.
        patch_size: pixels of a tubelet along rows and columns.
        normalize: standardise each channel of each tubelet (unbiased deviation plus 1e-6, measured
            on pixels in [0, 1]); otherwise return these pixels.
        mean: of the pixels, a number a channel.
        std: of the pixels.
        index: the tokens wanted; None means all.
    """
    tubelets = cut_tubelets(video, tubelet_size=tubelet_size, patch_size=patch_size, index=index)
    pixels = tubelets.flatten(3).float()  # b m c (p q r)
    scale, shift = (pixels.new_tensor(values)[:, None] for values in (std, mean))
    if normalize:
        # x ↦ (x - mean) / (std + ε) undoes any affine map of x, except for the ε.
        centred = pixels - pixels.mean(dim=3, keepdim=True)
        norm = torch.linalg.vector_norm(centred, dim=3, keepdim=True)
        deviation = norm / math.sqrt(pixels.shape[3] - 1)
        pixels = centred.div_(deviation + 1e-6 / scale)
    else:
        pixels = pixels * scale + shift
    return rearrange(pixels, "b m c k -> b m (k c)")


@torch.no_grad()
def motion_target(
    video: Float[Tensor, "b c t y x"],
    *,
    tubelet_size: int,
    patch_size: int,
    shrink: int = 1,
    index: Int[Tensor, "b m"] | None = None,
) -> Float[Tensor, "b m k"]:
    """Return how each tubelet differs from the still background, in units of the batch's deviation.

    The background is the median over time of each pixel. Where it stands still nothing is left to
    predict, so a small model spends its effort on what moves.

    Args:
        video: normalised clips.
        tubelet_size: frames of a tubelet.
        patch_size: pixels of a tubelet along rows and columns.
        shrink: average this many pixels along rows and columns into one first.
        index: the tokens wanted; None means all.
    """
    moving, _ = split_motion(video, shrink=shrink)
    tubelets = cut_tubelets(
        moving / (moving.std() + 1e-6),
        tubelet_size=tubelet_size,
        patch_size=patch_size // shrink,
        index=index,
    )
    return rearrange(tubelets, "b m c p q r -> b m (p q r c)")


@torch.no_grad()
def split_motion(
    video: Float[Tensor, "b c t y x"], *, shrink: int = 1
) -> tuple[Float[Tensor, "b c t h w"], Float[Tensor, "b c 1 h w"]]:
    """Return what moves and the still background (the median over time), which add up to the clip.

    Args:
        video: normalised clips.
        shrink: average this many pixels along rows and columns into one first.
    """
    video = video.float()
    if shrink > 1:
        video = F.avg_pool3d(video, (1, shrink, shrink))
    ordered, middle = video.sort(dim=2).values, (video.shape[2] - 1) / 2
    median = ordered[:, :, int(middle) : int(middle + 0.5) + 1].mean(dim=2, keepdim=True)
    return video - median, median
