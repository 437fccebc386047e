"""Which predicted segments are right: overlaps with the truth, and the matching of detection.

Predictions take true segments by score, each the free one that it overlaps most. That is done for
all videos and classes together: every prediction proposes to the true segment that it overlaps
most, a true segment takes the surest proposal, whoever is turned away proposes to the next one. All
true segments prefer the same, surer prediction, so the outcome is that of going through them.

Source: the official evaluator of ActivityNet (2016).
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (NumPy leaves the types of many arrays open)

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from internvideo.evaluation.segments import Segments

__all__ = ["Pairs", "SegmentTable", "by_score", "match", "overlapping", "video_and_class"]

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

    def by_video(self, num_videos: int) -> list[Segments]:
        """Return the segments of each video, in their order; the inverse of `of`."""
        order = np.argsort(self.videos, kind="stable")
        ends = np.searchsorted(self.videos[order], np.arange(1, num_videos), "left")
        return [self.segments[places] for places in np.split(order, ends)]

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
    true_keys, keys = video_and_class(truth, found, any_class=any_class)
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


def video_and_class(
    truth: SegmentTable, found: SegmentTable, *, any_class: bool = False
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]]:
    """Return a number for each true segment and prediction: that of its video and class."""
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
