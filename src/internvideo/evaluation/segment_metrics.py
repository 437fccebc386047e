"""Detection mAP and recall of segments at overlaps with the truth, over many videos at once.

    each class: predictions by score ──► each takes the free true segment that it overlaps most
                ──► precision over recall ──► area under its upper hull; mAP is the mean of classes

The greedy matching is done for all videos and classes together: every prediction proposes to the
true segment that it overlaps most, a true segment takes the surest proposal, whoever is turned away
proposes to the next one. All true segments prefer the same, surer prediction, so the outcome is the
one of going through the predictions by score.

Source: the official evaluator of ActivityNet (2016), which the field also applies to THUMOS14,
HACS, FineAction and Ego4D Moment Queries; for recall, the evaluators of Ego4D and of ActionFormer.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (NumPy leaves the types of many arrays open)

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from internvideo.evaluation.segments import Segments

__all__ = ["Pairs", "SegmentTable", "average_precision", "match", "overlapping", "recall_at_kx"]

_PAIRS_AT_ONCE = 1 << 20


@dataclass(frozen=True, eq=False, slots=True)
class SegmentTable:
    """The segments of several videos.

    Attributes:
        videos: number of the video of each segment.
        segments: of all videos.
    """

    videos: Int[np.ndarray, " n"]
    segments: Segments

    def __len__(self) -> int:
        return len(self.videos)

    @classmethod
    def of(cls, parts: Iterable[Segments]) -> SegmentTable:
        """Return the segments of the videos 0, 1, 2, … together."""
        found = list(parts) or [Segments.none()]
        numbers = np.repeat(np.arange(len(found)), [len(part) for part in found])
        return cls(numbers, Segments.joined(found))

    def __getitem__(self, places: Any) -> SegmentTable:
        """Return some of them: a slice, a mask or an array of places."""
        return SegmentTable(self.videos[places], self.segments[places])


@dataclass(frozen=True, eq=False, slots=True)
class Pairs:
    """Predictions and true segments of the same video (and class) that overlap.

    Attributes:
        found: place of the prediction.
        truth: place of the true segment.
        overlap: intersection over union.
    """

    found: Int[np.ndarray, " p"]
    truth: Int[np.ndarray, " p"]
    overlap: Float[np.ndarray, " p"]

    def __getitem__(self, places: Any) -> Pairs:
        """Return some of them."""
        return Pairs(self.found[places], self.truth[places], self.overlap[places])


def overlapping(
    truth: SegmentTable, found: SegmentTable, least: float, *, any_class: bool = False
) -> Pairs:
    """Return the pairs that overlap at least so much; only a part of all is in memory at once.

    COMPAT: where both have no length, the overlap is 0 / 0, which the official evaluator takes for
    a hit; here it is infinite. A true segment without length can be hit in no other way.

    Args:
        truth: the true segments.
        found: the predictions.
        least: smallest overlap.
        any_class: also pairs of different classes.
    """
    true_keys, keys = _keys(truth, found, any_class=any_class)
    order = np.argsort(true_keys, kind="stable")
    first = np.searchsorted(true_keys, keys, "left", sorter=order)
    counts = np.searchsorted(true_keys, keys, "right", sorter=order) - first
    rows = np.flatnonzero(counts)
    parts = [Pairs(*(np.zeros(0, kind) for kind in (np.int64, np.int64, np.float64)))]
    ends = np.cumsum(counts[rows])
    done = 0
    while done < len(rows):
        before = ends[done - 1] if done else 0
        until = max(int(np.searchsorted(ends, before + _PAIRS_AT_ONCE, "right")), done + 1)
        block = rows[done:until]
        number = counts[block]
        within = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
        a = np.repeat(block, number)
        b = order[np.repeat(first[block], number) + within]
        overlap = _overlap(found.segments.times[a], truth.segments.times[b])
        enough = overlap >= least
        parts.append(Pairs(a[enough], b[enough], overlap[enough]))
        done = until
    return Pairs(
        np.concatenate([part.found for part in parts]),
        np.concatenate([part.truth for part in parts]),
        np.concatenate([part.overlap for part in parts]),
    )


def _keys(truth: SegmentTable, found: SegmentTable, *, any_class: bool) -> tuple[Any, Any]:
    """Return one number for each video and class."""
    if any_class:
        return truth.videos, found.videos
    one, other = truth.segments.labels, found.segments.labels
    num_classes = 1 + max((int(each.max()) for each in (one, other) if len(each)), default=0)
    return truth.videos * num_classes + one, found.videos * num_classes + other


def _overlap(one: Float[np.ndarray, "p 2"], other: Float[np.ndarray, "p 2"]) -> np.ndarray:
    shared = np.minimum(one[:, 1], other[:, 1]) - np.maximum(one[:, 0], other[:, 0])
    shared = np.maximum(shared, 0)
    union = (one[:, 1] - one[:, 0]) + (other[:, 1] - other[:, 0]) - shared
    with np.errstate(divide="ignore", invalid="ignore"):
        overlap = shared / union
    return np.where(np.isnan(overlap), np.inf, overlap)


def by_score(scores: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Return the places from the largest score to the smallest.

    COMPAT: of equal scores the last one comes first, as in the official evaluator, whose `argsort`
    is read backwards. The official sample submission has equal scores only (`real/tal`).
    """
    return np.argsort(scores, kind="stable")[::-1]


def match(
    truth: SegmentTable, found: SegmentTable, thresholds: Sequence[float]
) -> Bool[np.ndarray, "t n"]:
    """Return which predictions are right at each overlap: one for each true segment at most."""
    pairs = overlapping(truth, found, min(thresholds))
    rank = np.empty(len(found), np.int64)
    rank[by_score(found.segments.scores)] = np.arange(len(found))
    # The surest prediction first, then what it overlaps most; of equal ones the last true segment.
    pairs = pairs[np.lexsort((-pairs.truth, -pairs.overlap, rank[pairs.found]))]
    hits = np.zeros((len(thresholds), len(found)), np.bool_)
    for row, threshold in zip(hits, thresholds, strict=True):
        row[_matched(pairs[pairs.overlap >= threshold], len(truth))] = True
    return hits


def _matched(pairs: Pairs, num_truth: int) -> Int[np.ndarray, " m"]:
    """Return the predictions that get a true segment; the pairs of a prediction are in a row."""
    starts = np.flatnonzero(np.diff(pairs.found, prepend=-1))
    ends = np.append(starts[1:], len(pairs.found))
    asks, place = np.arange(len(starts)), starts.copy()
    taken = np.full(num_truth, -1)
    while True:
        wanted = pairs.truth[place[asks]]
        taken[wanted[::-1]] = asks[::-1]  # the surest one is written last
        refused = asks[taken[wanted] != asks]
        if not len(refused):
            return pairs.found[starts[asks]]
        place[refused] += 1
        asks = asks[place[asks] < ends[asks]]
        taken[:] = -1


def average_precision(
    truth: SegmentTable, found: SegmentTable, thresholds: Sequence[float], num_classes: int
) -> Float[np.ndarray, "t k"]:
    """Return the average precision of each class at each overlap; NaN where it has no truth.

    Args:
        truth: the true segments, with labels from 0 to `num_classes - 1`.
        found: the predictions; those of classes without truth count nowhere.
        thresholds: overlaps from which on a prediction is right.
        num_classes: how many classes there are.
    """
    hits = match(truth, found, thresholds)
    order = by_score(found.segments.scores)
    order = order[np.argsort(found.segments.labels[order], kind="stable")]
    labels = found.segments.labels[order]
    first = np.searchsorted(labels, np.arange(num_classes))
    position = np.arange(len(order)) - first[labels]
    wanted = np.bincount(truth.segments.labels, minlength=num_classes)
    values = np.full((len(thresholds), num_classes), np.nan)
    values[:, wanted > 0] = 0.0
    for row, right in zip(values, hits[:, order], strict=True):
        places = np.flatnonzero(right)
        for part in np.split(places, np.flatnonzero(np.diff(labels[places])) + 1):
            if len(part):
                precision = np.arange(1, len(part) + 1) / (position[part] + 1)
                hull = np.maximum.accumulate(precision[::-1])
                row[labels[part[0]]] = hull.sum() / wanted[labels[part[0]]]
    return values


def recall_at_kx(
    truth: SegmentTable,
    found: SegmentTable,
    thresholds: Sequence[float],
    factors: Sequence[int],
    *,
    rule: Literal["ego4d", "actionformer"] = "ego4d",
) -> Float[np.ndarray, "t k"]:
    """Return the share of the true segments that are among the first k·x predictions.

    x is how many true segments of its class a video has, and only predictions of that class count.
    One prediction may find several true segments.

    Args:
        truth: the true segments.
        found: the predictions.
        thresholds: overlaps.
        factors: the values of k.
        rule: "ego4d" takes predictions in the order of the file, wants a larger overlap than the
            threshold, and counts all true segments alike; "actionformer" takes them by score,
            wants at least the threshold, and returns the mean over the recalls of the classes.
    """
    if rule == "actionformer":
        found = found[by_score(found.segments.scores)]
    true_keys, keys = _keys(truth, found, any_class=False)
    _, group, wanted = np.unique(true_keys, return_inverse=True, return_counts=True)
    order = np.argsort(keys, kind="stable")
    starts = np.searchsorted(keys, keys, "left", sorter=order)
    place = np.empty(len(found), np.int64)
    place[order] = np.arange(len(found)) - starts[order]
    pairs = overlapping(truth, found, min(thresholds))
    values = np.zeros((len(thresholds), len(factors)))
    for row, threshold in zip(values, thresholds, strict=True):
        enough = pairs.overlap > threshold if rule == "ego4d" else pairs.overlap >= threshold
        soonest = np.full(len(truth), np.iinfo(np.int64).max)
        np.minimum.at(soonest, pairs.truth[enough], place[pairs.found[enough]])
        for column, factor in enumerate(factors):
            recalled = soonest < factor * wanted[group]
            row[column] = _mean(recalled, truth.segments.labels, by_class=rule == "actionformer")
    return values


def _mean(right: Bool[np.ndarray, " n"], labels: Int[np.ndarray, " n"], *, by_class: bool) -> float:
    if not by_class:
        return float(right.mean()) if len(right) else 0.0
    total = np.bincount(labels)
    shares = np.bincount(labels, weights=right)[total > 0] / total[total > 0]
    return float(shares.mean()) if len(shares) else 0.0
