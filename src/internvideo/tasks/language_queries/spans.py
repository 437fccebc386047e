"""Between seconds and the rows of a feature table: reducing rows, labelling them, finding spans.

    rows of a clip   0 ──────────────────────── T     at most `max_rows` after `reduce_rows`
    a span (i, j)          i ────── j                 from the start of row i to the end of row j

The rules, and how ties fall, are those of the VSLNet baseline of Ego4D (fixture `nlq-data-utils`),
which compares every span with every query; here the work does not grow with the number of spans.

Letters: b batch, t rows, c channels, q queries, k spans of a query.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from internvideo.evaluation.arrays import from_numpy

__all__ = [
    "best_spans",
    "highlight_labels",
    "highlight_loss",
    "location_loss",
    "reduce_rows",
    "spans_of_times",
    "times_of_spans",
]

_EXTENSION = 0.1  # of the length of a span, to either side
_HIGHLIGHT_WEIGHT = 2.0  # of a row inside, over one outside
_EPSILON = 1e-12


def reduce_rows(rows: Float[Tensor, "t c"], max_rows: int) -> Float[Tensor, "n c"]:
    """Return the rows as they are where they are few enough, else `max_rows` means of neighbours.

    COMPAT: the last row is in no mean, unless the last mean would have none: the reference cuts
    its bounds at the number of the last row. Pinned by the golden family `nlq-data-utils`.
    """
    count = len(rows)
    if count <= max_rows:
        return rows.float()
    bounds = np.round(np.arange(max_rows + 1) / max_rows * count).astype(np.int64)
    bounds = np.minimum(bounds, count - 1)
    starts, end = bounds[:-1], max(int(bounds[-1]), int(bounds[-2]) + 1)
    table = rows[:end].float().numpy()
    lengths = np.maximum(np.diff(bounds), 1)[:, None]
    return from_numpy(np.add.reduceat(table, starts, axis=0) / lengths.astype(np.float32))


def spans_of_times(
    times: Float[np.ndarray, "q 2"], num_rows: int, duration: float
) -> Int[np.ndarray, "q 2"]:
    """Return the span with the highest IoU with each stretch of time, the first of equal ones.

    Only the rows around the two ends come into question: for any start, IoU rises with the end of
    the span up to that of the query and falls behind it, and likewise for the start. What no span
    overlaps, such as a query of no length, gets (0, 0).

    Args:
        times: start and end in seconds.
        num_rows: rows of the clip.
        duration: that they cover, in seconds.
    """
    units = np.arange(num_rows + 1).astype(np.float32) / float(num_rows) * float(duration)
    row_starts, row_ends = units[:-1].astype(np.float64), units[1:].astype(np.float64)
    start, end = times[:, :1].astype(np.float64), times[:, 1:].astype(np.float64)
    firsts = np.searchsorted(row_starts, start, side="right") + np.array([-1, 0])
    lasts = np.searchsorted(row_ends, end, side="right") + np.array([-1, 0])
    candidates = np.stack(
        [
            np.repeat(firsts.clip(0, num_rows - 1), 2, axis=1),
            np.tile(lasts.clip(0, num_rows - 1), 2),
        ],
        axis=-1,
    )  # "q 4 2", in the order of the reference: by start, then by end
    left, right = row_starts[candidates[..., 0]], row_ends[candidates[..., 1]]
    inside = np.maximum(0.0, np.minimum(right, end) - np.maximum(left, start))
    hull = np.maximum(_EPSILON, np.maximum(right, end) - np.minimum(left, start))
    overlap = inside / hull
    best = candidates[np.arange(len(times)), overlap.argmax(axis=1)]
    return np.where(overlap.max(axis=1, keepdims=True) > 0, best, 0)


def times_of_spans(
    spans: Int[np.ndarray, "*q 2"], num_rows: int, duration: float
) -> Float[np.ndarray, "*q 2"]:
    """Return the seconds from the start of the first row to the end of the last, float32."""
    units = np.arange(num_rows + 1).astype(np.float32) * float(duration) / float(num_rows)
    return units[np.asarray(spans) + np.array([0, 1])]


def highlight_labels(
    spans: Int[Tensor, "b 2"], lengths: Int[Tensor, " b"], num_rows: int
) -> Bool[Tensor, "b t"]:
    """Return which rows belong to a span or lie within a tenth of its length beside it.

    Args:
        spans: first and last row.
        lengths: rows of each clip that are not padding.
        num_rows: of the batch.
    """
    first, last = spans.unbind(dim=1)
    extension = (_EXTENSION * (last - first + 1).double()).round().long()
    row = torch.arange(num_rows, device=spans.device)
    begin = (first - extension).clamp(min=0)[:, None]
    end = torch.minimum(last + extension, lengths - 1)[:, None]
    return (begin <= row) & (row <= end)


def highlight_loss(
    highlight: Float[Tensor, "b t"], labels: Bool[Tensor, "b t"], shown: Bool[Tensor, "b t"]
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of the rows that are not padding; rows of a span weigh double.

    Args:
        highlight: probability that a row belongs to the span.
        labels: from `highlight_labels`.
        shown: False where a row is padding.
    """
    with torch.autocast(highlight.device.type, enabled=False):
        losses = F.binary_cross_entropy(highlight.float(), labels.float(), reduction="none")
    weights = torch.where(labels, _HIGHLIGHT_WEIGHT, 1.0) * shown
    return (losses * weights).sum() / (shown.sum() + _EPSILON)


def location_loss(
    start_logits: Float[Tensor, "b t"], end_logits: Float[Tensor, "b t"], spans: Int[Tensor, "b 2"]
) -> Float[Tensor, ""]:
    """Return the cross-entropy over the rows of the first row plus that of the last."""
    first = F.cross_entropy(start_logits.float(), spans[:, 0])
    return first + F.cross_entropy(end_logits.float(), spans[:, 1])


class _Spans(NamedTuple):
    spans: Int[Tensor, "b k 2"]
    scores: Float[Tensor, "b k"]


def best_spans(
    start_logits: Float[Tensor, "b t"], end_logits: Float[Tensor, "b t"], count: int
) -> _Spans:
    """Return the likeliest spans, best first: probability of the start times that of the end.

    A span does not end before it starts; there may be fewer than `count` of them. They may overlap.
    """
    start, end = start_logits.float().softmax(dim=1), end_logits.float().softmax(dim=1)
    rows = start.shape[1]
    joint = torch.triu(start[:, :, None] * end[:, None, :])
    scores, places = joint.flatten(1).topk(min(count, rows * (rows + 1) // 2), dim=1)
    return _Spans(torch.stack([places // rows, places % rows], dim=-1), scores)
