"""Stretches of a video whose windows have something in common: the way without training."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (NumPy leaves the types of many arrays open)

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from internvideo.data.features import FeatureSequence

__all__ = ["runs", "similar_stretches", "times_of_stretches"]


def runs(above: Bool[np.ndarray, " t"]) -> Int[np.ndarray, "n 2"]:
    """Return the first and the last place of every run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], above, [0]]).astype(np.int8)))
    return np.stack([edges[::2], edges[1::2] - 1], axis=1)


def similar_stretches(
    cosines: Float[Tensor, " t"], threshold: float
) -> list[tuple[int, int, float]]:
    """Return the stretches of rows whose cosine reaches a threshold, the best first.

    Args:
        cosines: of each row with a sentence.
        threshold: between the lowest (0) and the highest (1) of them.

    Returns:
        (first row, last row, sum of what is above the threshold); at least one.
    """
    values = cosines.float().cpu().numpy()
    low, high = float(values.min()), float(values.max())
    level = low + threshold * (high - low)
    stretches = [
        (int(first), int(last), float((values[first : last + 1] - level).sum()))
        for first, last in runs(values >= min(level, high))
    ]
    return sorted(stretches, key=lambda each: -each[2])


def times_of_stretches(
    stretches: Int[np.ndarray, "n 2"], features: FeatureSequence, end: float
) -> Float[np.ndarray, "n 2"]:
    """Return the seconds of stretches of rows, inside the video.

    A stretch reaches from the middle between its first window and the one before to the middle
    between its last and the one behind.
    """
    middle = (features.window - features.stride) / 2
    times = (stretches + np.array([0, 1])) * features.stride + middle
    return (features.start + times / features.fps).clip(0.0, end)
