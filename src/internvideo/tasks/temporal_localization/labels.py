"""Which candidate has to find which action: points of the pyramid, and what they are to predict.

Letters: p points of all levels, n actions of a video, k classes, r rows of features. Times are in
rows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = [
    "Points",
    "Targets",
    "assign",
    "data_ranges",
    "joined",
    "pyramid_points",
    "stride_ranges",
]

_EQUAL = 1e-3  # rows by which actions may differ in length and still share a point
_LONGEST = 1e4
_STRIDES = 2.0  # of a level, which the actions it finds reach at least


@dataclass(frozen=True, slots=True)
class Points:
    """The candidates of a pyramid, level by level.

    Attributes:
        times: where they are.
        lowest: least distance to the farther boundary that a point may predict, inclusive.
        highest: the largest, inclusive.
        strides: rows between points of the same level.
    """

    times: Float[Tensor, " p"]
    lowest: Float[Tensor, " p"]
    highest: Float[Tensor, " p"]
    strides: Float[Tensor, " p"]


@dataclass(frozen=True, slots=True)
class Targets:
    """What the points are to predict.

    Attributes:
        classes: 1 for each class of the shortest action that a point is responsible for.
        offsets: from the point back to its start and on to its end, in strides; only those of
            points with a class mean anything.
    """

    classes: Float[Tensor, "p k"]
    offsets: Float[Tensor, "p 2"]


def stride_ranges(strides: Sequence[int]) -> tuple[tuple[float, float], ...]:
    """Return the distances that each level finds: from two of its strides to two of the next's.

    >>> stride_ranges((1, 2, 4))
    ((0.0, 4.0), (4.0, 8.0), (8.0, 10000.0))
    """
    return _between([_STRIDES * stride for stride in strides[1:]])


def data_ranges(
    strides: Sequence[int], lengths: Float[np.ndarray, " n"]
) -> tuple[tuple[float, float], ...]:
    """Return ranges that let every level find its share of the actions of a data set.

    The half lengths between the 5th and the 95th percentile are cut into equal factors, one a
    level; no level starts below two of its strides, for it has too few points in shorter actions.

    Args:
        strides: of the levels.
        lengths: of the actions of the training set.
    """
    low, high = np.maximum(np.percentile(lengths / 2, [5, 95]), 1e-3)
    share = np.arange(1, len(strides)) / len(strides)
    wanted = low * (high / low) ** share
    floor = _STRIDES * np.array(strides[1:], np.float64)
    return _between(np.maximum(wanted, floor).tolist())


def _between(bounds: Sequence[float]) -> tuple[tuple[float, float], ...]:
    edges = [0.0, *map(float, bounds), _LONGEST]
    return tuple(itertools.pairwise(edges))


def pyramid_points(
    num_rows: int, strides: Sequence[int], ranges: Sequence[tuple[float, float]]
) -> tuple[Points, ...]:
    """Return the points of each level for so many rows."""
    levels: list[Points] = []
    for stride, (lowest, highest) in zip(strides, ranges, strict=True):
        times = torch.arange(0, num_rows, stride, dtype=torch.float32)
        same = [torch.full_like(times, value) for value in (lowest, highest, float(stride))]
        levels.append(Points(times, *same))
    return tuple(levels)


def joined(levels: Sequence[Points]) -> Points:
    """Return the points of all levels behind each other."""
    return Points(
        torch.cat([level.times for level in levels]),
        torch.cat([level.lowest for level in levels]),
        torch.cat([level.highest for level in levels]),
        torch.cat([level.strides for level in levels]),
    )


def assign(
    points: Points,
    segments: Float[Tensor, "n 2"],
    labels: Int[Tensor, " n"],
    num_classes: int,
    *,
    radius: float | None = 1.5,
) -> Targets:
    """Give each point the shortest action around it whose boundaries are in its range.

    Args:
        points: of all levels.
        segments: start and end of the actions.
        labels: their classes.
        num_classes: number of classes.
        radius: how many strides from the centre of an action, and within it, its points may be;
            None: anywhere within it.
    """
    times, strides = points.times[:, None], points.strides[:, None]
    if not len(segments):
        none = points.times.new_zeros(len(points.times), num_classes + 2)
        return Targets(none[:, :num_classes], none[:, num_classes:])
    starts, ends = segments[None, :, 0], segments[None, :, 1]
    offsets = torch.stack([times - starts, ends - times], dim=-1)  # p n 2
    if radius is None:
        inside = offsets.amin(dim=-1) > 0
    else:
        centres = 0.5 * (starts + ends)
        first = torch.maximum(centres - strides * radius, starts)
        last = torch.minimum(centres + strides * radius, ends)
        inside = torch.minimum(times - first, last - times) > 0
    farther = offsets.amax(dim=-1)
    in_range = (farther >= points.lowest[:, None]) & (farther <= points.highest[:, None])
    lengths = (ends - starts).expand(len(times), -1)
    lengths = lengths.masked_fill(~(inside & in_range), math.inf)
    shortest, chosen = lengths.min(dim=1)
    shared: Bool[Tensor, "p n"] = (lengths <= shortest[:, None] + _EQUAL) & lengths.isfinite()
    hot = F.one_hot(labels, num_classes).to(segments.dtype)
    return Targets(
        classes=(shared.to(hot.dtype) @ hot).clamp(0, 1),
        offsets=offsets[torch.arange(len(times)), chosen] / strides,
    )
