"""Detection mAP and recall of segments, as the evaluators of the field define them.

    each class: predictions by score, right or wrong ──► precision over recall ──► area under its
    upper hull; mAP is the mean over the classes that have true segments

Source: the official evaluator of ActivityNet (2016), which the field also applies to THUMOS14,
HACS, FineAction and Ego4D Moment Queries; for recall, the evaluators of Ego4D and of ActionFormer.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (NumPy leaves the types of many arrays open)

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int

from internvideo.evaluation.segment_matching import (
    SegmentTable,
    by_score,
    match,
    overlapping,
    video_and_class,
)

__all__ = [
    "OUTCOMES",
    "Ranking",
    "RecallRule",
    "outcomes",
    "recall_at_kx",
    "recalled_at_kx",
    "without_repeats",
]

OUTCOMES = (
    "right",
    "double",
    "wrong class",
    "wrong bounds",
    "wrong class and bounds",
    "background",
)
"""What becomes of a prediction, the first that applies; see `outcomes`."""

RecallRule: TypeAlias = Literal["ego4d", "actionformer"]
"""Whose recall, see `recalled_at_kx` and `recall_at_kx`."""

_APART = 2.0
_TOUCHES = 0.1


class Ranking:
    """The predictions of each class by score, and which of them are right.

    Args:
        truth: the true segments, with labels from 0 to `num_classes - 1`.
        found: the predictions, with such labels; those of classes without truth count nowhere.
        thresholds: overlaps from which on a prediction is right.
        num_classes: how many classes there are.

    Attributes:
        hits: which predictions are right, in the order in which they were given.
    """

    def __init__(
        self,
        truth: SegmentTable,
        found: SegmentTable,
        thresholds: Sequence[float],
        num_classes: int,
    ) -> None:
        self.truth, self.thresholds, self.num_classes = truth, tuple(thresholds), num_classes
        self.hits: Bool[np.ndarray, "t n"] = match(truth, found, thresholds)
        order = by_score(found.segments.scores)
        order = order[np.argsort(found.segments.labels[order], kind="stable")]
        labels = found.segments.labels[order]
        self._videos = found.videos[order]
        self._num_videos = 1 + int(max(part.videos.max(initial=0) for part in (truth, found)))
        self._starts = np.searchsorted(labels, np.arange(num_classes))
        self._right = [np.flatnonzero(row[order]) for row in self.hits]
        self._labels = [labels[places] for places in self._right]

    def average_precision(
        self, weights: Float[np.ndarray, " v"] | None = None
    ) -> Float[np.ndarray, "t k"]:
        """Return the average precision of each class at each overlap; NaN where it has no truth.

        Args:
            weights: how often each video counts; None counts each once.
        """
        weights = np.ones(self._num_videos) if weights is None else weights
        wanted = np.bincount(
            self.truth.segments.labels,
            weights=weights[self.truth.videos],
            minlength=self.num_classes,
        )
        counted = np.append(0.0, np.cumsum(weights[self._videos]))
        values = np.full((len(self.thresholds), self.num_classes), np.nan)
        for row, places, labels in zip(values, self._right, self._labels, strict=True):
            gained = weights[self._videos[places]]
            before = np.searchsorted(labels, np.arange(self.num_classes))
            right = np.append(0.0, np.cumsum(gained))
            among = counted[places + 1] - counted[self._starts[labels]]
            precision = np.divide(
                right[1:] - right[before[labels]], among, out=np.zeros(len(places)), where=among > 0
            )
            # From the last prediction on; the classes are kept apart by what is added to them.
            apart = _APART * (self.num_classes - labels)
            hull = np.maximum.accumulate((precision + apart)[::-1])[::-1] - apart
            area = np.bincount(labels, weights=gained * hull, minlength=self.num_classes)
            row[wanted > 0] = area[wanted > 0] / wanted[wanted > 0]
        return values

    def interval(self, *, resamples: int = 200, seed: int = 0) -> tuple[float, float]:
        """Return the 95 % bootstrap interval, over videos, of the mean over overlaps of the mAP."""
        draw = np.random.default_rng(seed)
        held = np.unique(self.truth.videos)
        means: list[float] = []
        for _ in range(resamples):
            chosen = np.bincount(draw.choice(held, len(held)), minlength=self._num_videos)
            weights = np.ones(self._num_videos)  # a video without truth is always there
            weights[held] = chosen[held]
            means.append(float(np.nanmean(self.average_precision(weights))))
        low, high = np.quantile(means, [0.025, 0.975])
        return float(low), float(high)


def without_repeats(
    truth: SegmentTable, *, tolerance: float = 1e-3, min_length: float = 0.0
) -> SegmentTable:
    """Return the true segments without those that repeat an earlier one of their video and class.

    So do the evaluators of ActionFormer, where the official one counts repeated annotations twice.

    Args:
        truth: the true segments.
        tolerance: by how many seconds both bounds may differ.
        min_length: shorter segments are left out, too.
    """
    keys, _ = video_and_class(truth, truth)
    times = truth.segments.times
    earlier: dict[int, list[int]] = {}
    kept: list[int] = []
    for place, key in enumerate(keys.tolist()):
        before = times[earlier.setdefault(key, [])]
        repeats = (np.abs(before - times[place]) <= tolerance).all(axis=1).any()
        if not repeats and times[place, 1] - times[place, 0] >= min_length:
            earlier[key].append(place)
            kept.append(place)
    return truth[np.array(kept, np.int64)]


def outcomes(truth: SegmentTable, found: SegmentTable, threshold: float) -> dict[str, int]:
    """Return what became of the surest predictions, as many as there are true segments.

    A second prediction of a true segment is "double"; "wrong class" overlaps one of another class
    enough; "wrong bounds" overlaps one of its class by at least 0.1, "wrong class and bounds" one
    of another class; the rest is "background". The kinds are those of DETAD (arXiv 1807.10706).
    """
    found = found[by_score(found.segments.scores)[: len(truth)]]
    best = {True: np.zeros(len(found)), False: np.zeros(len(found))}
    for any_class, overlap in best.items():
        pairs = overlapping(truth, found, min(_TOUCHES, threshold), any_class=any_class)
        np.maximum.at(overlap, pairs.found, pairs.overlap)
    [right] = match(truth, found, [threshold])
    kinds = np.select(
        [
            right,
            best[False] >= threshold,
            best[True] >= threshold,
            best[False] >= _TOUCHES,
            best[True] >= _TOUCHES,
        ],
        range(5),
        default=5,
    )
    return dict(zip(OUTCOMES, np.bincount(kinds, minlength=6).tolist(), strict=True))


def recalled_at_kx(
    truth: SegmentTable,
    found: SegmentTable,
    thresholds: Sequence[float],
    factors: Sequence[int],
    *,
    rule: RecallRule = "ego4d",
) -> Bool[np.ndarray, "t k n"]:
    """Return which true segments are among the first k·x predictions.

    x is how many true segments of its class a video has, and only predictions of that class count.
    One prediction may find several true segments.

    Args:
        truth: the true segments.
        found: the predictions.
        thresholds: overlaps.
        factors: the values of k.
        rule: "ego4d" takes predictions in the order of the file and wants a larger overlap than the
            threshold; "actionformer" takes them by score and wants at least the threshold.
    """
    if rule == "actionformer":
        found = found[by_score(found.segments.scores)]
    true_keys, keys = video_and_class(truth, found)
    _, group, wanted = np.unique(true_keys, return_inverse=True, return_counts=True)
    order = np.argsort(keys, kind="stable")
    starts = np.searchsorted(keys, keys, "left", sorter=order)
    place = np.empty(len(found), np.int64)
    place[order] = np.arange(len(found)) - starts[order]
    pairs = overlapping(truth, found, min(thresholds))
    values = np.zeros((len(thresholds), len(factors), len(truth)), np.bool_)
    for row, threshold in zip(values, thresholds, strict=True):
        enough = pairs.overlap > threshold if rule == "ego4d" else pairs.overlap >= threshold
        soonest = np.full(len(truth), np.iinfo(np.int64).max)
        np.minimum.at(soonest, pairs.truth[enough], place[pairs.found[enough]])
        row[:] = soonest < np.array(factors)[:, None] * wanted[group]
    return values


def recall_at_kx(
    truth: SegmentTable,
    found: SegmentTable,
    thresholds: Sequence[float],
    factors: Sequence[int],
    *,
    rule: RecallRule = "ego4d",
) -> Float[np.ndarray, "t k"]:
    """Return the share of the true segments that are recalled, see `recalled_at_kx`.

    The rule "ego4d" counts all true segments alike; "actionformer" returns the mean over the
    recalls of the classes.
    """
    recalled = recalled_at_kx(truth, found, thresholds, factors, rule=rule)
    by_class = rule == "actionformer"
    means = [
        _mean(each, truth.segments.labels, by_class=by_class) for row in recalled for each in row
    ]
    return np.reshape(means, recalled.shape[:2])


def _mean(right: Bool[np.ndarray, " n"], labels: Int[np.ndarray, " n"], *, by_class: bool) -> float:
    if not by_class:
        return float(right.mean()) if len(right) else 0.0
    total = np.bincount(labels)
    shares = np.bincount(labels, weights=right)[total > 0] / total[total > 0]
    return float(shares.mean()) if len(shares) else 0.0
