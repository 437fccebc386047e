"""How often one of the first spans that a model names is the right one: recall at k, by IoU.

The definitions are those of the official evaluation of Ego4D's language queries (fixture
`nlq-eval`): the union of two spans is their hull, a hit has an IoU above the threshold, not equal
to it, and the mean IoU is that of the first spans alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

__all__ = [
    "CHALLENGE_THRESHOLDS",
    "THRESHOLDS",
    "TOP_K",
    "hits",
    "mean_iou",
    "recalls",
    "span_ious",
]

THRESHOLDS = (0.3, 0.5, 0.7)
CHALLENGE_THRESHOLDS = (0.3, 0.5)
"""Ego4D's challenge ranks by the mean over these of recall at 1; others ask for 0.7 too."""
TOP_K = (1, 5)


def span_ious(
    spans: Float[np.ndarray, "k 2"], truth: tuple[float, float]
) -> Float[np.ndarray, " k"]:
    """Return the IoU of each span with the true one; two empty ones at one place have none: 0."""
    table = np.reshape(np.asarray(spans, np.float64), (-1, 2))
    start, end = table[:, 0], table[:, 1]
    inside = np.maximum(0.0, np.minimum(end, truth[1]) - np.maximum(start, truth[0]))
    hull = np.maximum(0.0, np.maximum(end, truth[1]) - np.minimum(start, truth[0]))
    return np.divide(inside, hull, out=np.zeros_like(inside), where=hull > 0)


def recalls(
    ious: Sequence[Float[np.ndarray, " k"]],
    thresholds: Sequence[float] = THRESHOLDS,
    top_k: Sequence[int] = TOP_K,
) -> dict[tuple[int, float], float]:
    """Return the share of queries with a hit among the first k spans, by (k, threshold).

    Args:
        ious: those of the spans of each query, in their order; a query without spans is a miss.
        thresholds: an IoU above it is a hit.
        top_k: how many spans count.
    """
    table = hits(ious, thresholds, top_k)
    return {
        (k, threshold): float(row.mean()) if len(ious) else 0.0
        for threshold, rows in zip(thresholds, table, strict=True)
        for k, row in zip(top_k, rows, strict=True)
    }


def hits(
    ious: Sequence[Float[np.ndarray, " k"]], thresholds: Sequence[float], top_k: Sequence[int]
) -> Bool[np.ndarray, "t k q"]:
    """Return which queries have a hit among their first k spans, see `recalls`."""
    best = [[max(each[:k], default=0.0) for k in top_k] for each in ious]
    table = np.reshape(np.array(best, np.float64), (len(ious), len(top_k)))
    columns = [table[:, place] for place in range(len(top_k))]
    return np.stack([np.stack([column > each for column in columns]) for each in thresholds])


def mean_iou(ious: Sequence[Float[np.ndarray, " k"]]) -> float:
    """Return the mean over the queries of the IoU of the first span."""
    firsts = [float(each[0]) if len(each) else 0.0 for each in ious]
    return sum(firsts) / len(firsts) if firsts else 0.0
