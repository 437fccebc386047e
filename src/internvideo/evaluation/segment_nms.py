"""Non-maximum suppression of segments: hard, soft (linear, Gaussian), and voting on their bounds.

    the surest segment is kept; the scores of those that overlap it decay; again with the rest

The order of selection is final: a score never rises. So whoever wants the best 200 stops there, and
a segment is looked at no sooner than its score before any decay is the largest one left. What is
then selected, and its score, is what the plain loop over all segments gives, bit by bit.

Source: the operator `nms_1d` of ActionFormer, and Soft-NMS (arXiv 1704.04503).
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (NumPy leaves the types of many arrays open)

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from internvideo.config import config_class
from internvideo.evaluation.segments import Segments

__all__ = ["SegmentNMS", "select", "vote"]

_EPSILON = 1e-6
"""COMPAT: what the reference's operator adds to every length (pinned by `nms1d-*`)."""
_AHEAD = 256
_AT_ONCE = 64
_TIDY_EVERY = 32
_VOTES_AT_ONCE = 1 << 20

Decay: TypeAlias = Callable[[Float[np.ndarray, "*n"]], Float[np.ndarray, "*n"]]
"""From the overlap with a kept segment to what a score is multiplied by; may work in place."""


@config_class
class SegmentNMS:
    """Which of overlapping segments are kept."""

    method: Literal["gaussian", "linear", "hard", "none"] = "gaussian"
    per_class: bool = Field(default=True, description="segments of other classes are left alone")
    sigma: PositiveFloat = Field(default=0.5, description="of the Gaussian decay")
    iou_threshold: NonNegativeFloat = Field(
        default=0.1, description="from which overlap on linear decays and hard suppresses"
    )
    min_score: NonNegativeFloat = 0.001
    max_segments: PositiveInt = 200
    voting: NonNegativeFloat = Field(
        default=0.0, description="overlap from which on segments vote on the bounds; 0: none"
    )
    votes: Literal["score", "score-iou"] = Field(
        default="score", description='what a vote weighs: "score" (InternVideo), or times overlap'
    )

    def __call__(self, found: Segments) -> Segments:
        """Return the kept segments, from the surest to the least sure.

        "none" returns all of them, unsorted. Voting goes with `per_class=False` only, as in the
        reference. Of equal scores the one that comes first is kept first.
        """
        if self.method == "none" or not len(found):
            return found
        pool = found
        if self.method == "hard":  # filters before, where soft suppression filters as it goes
            pool = found[found.scores > self.min_score]
        places = _by_class(pool.labels) if self.per_class else [np.arange(len(pool))]
        found_in_turn = heapq.merge(*(self._kept(pool, each) for each in places), key=_by_score)
        taken = list(islice(found_in_turn, self.max_segments))
        kept = np.array([place for _, place in taken], np.int64)
        scores = np.array([score for score, _ in taken], pool.scores.dtype)
        chosen = Segments(pool.times[kept], scores, pool.labels[kept])
        if self.voting > 0 and not self.per_class:
            times = vote(chosen.times, found, self.voting, by_overlap=self.votes == "score-iou")
            chosen = Segments(times, chosen.scores, chosen.labels)
        return chosen

    def _kept(self, pool: Segments, places: Int[np.ndarray, " n"]) -> Iterator[tuple[float, int]]:
        """Yield score and place of the kept segments among those at `places`."""
        # A suppressed segment has the score 0, which must not be kept.
        min_score = max(self.min_score, float(np.finfo(np.float32).tiny))
        times, scores = pool.times[places], pool.scores[places]
        for score, place in select(times, scores, self._decay(), min_score=min_score):
            yield score, int(places[place])

    def _decay(self) -> Decay:
        if self.method == "gaussian":
            return gaussian(self.sigma)
        return (linear if self.method == "linear" else suppressing)(self.iou_threshold)


def gaussian(sigma: float) -> Decay:
    """Return the decay exp(-overlap² / sigma)."""

    def decay(overlap: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        overlap *= overlap
        overlap /= -sigma
        return np.exp(overlap, out=overlap)

    return decay


def linear(threshold: float) -> Decay:
    """Return the decay 1 - overlap, from the threshold on."""
    return lambda overlap: np.where(overlap >= threshold, 1 - overlap, np.ones_like(overlap))


def suppressing(threshold: float) -> Decay:
    """Return the decay to 0, from the threshold on."""
    return lambda overlap: (overlap < threshold).astype(overlap.dtype)


def select(
    times: Float[np.ndarray, "n 2"],
    scores: Float[np.ndarray, " n"],
    decay: Decay,
    *,
    min_score: float,
) -> Iterator[tuple[float, int]]:
    """Yield the decayed score and the place of each kept segment, from the surest on.

    Args:
        times: start and end, in any unit.
        scores: before any decay.
        decay: of the score of a segment that overlaps a kept one.
        min_score: a segment that decays below it is dropped; the first one is never dropped.
    """
    order = np.argsort(-scores, kind="stable")
    score, start, end = scores[order], times[order, 0], times[order, 1]
    spans = np.stack([start, end, end - start + _EPSILON])
    last = max(int(np.count_nonzero(score >= min_score)), min(len(score), 1))
    kept: list[int] = []
    near, now = np.zeros(0, np.int64), np.zeros(0, score.dtype)  # whose decayed scores are known
    around = spans[:, :0]
    seen, ahead = 0, _AHEAD
    while True:
        best = int(now.argmax()) if len(now) else -1
        if seen < last and (best < 0 or now[best] <= score[seen]):
            more = np.arange(seen, min(seen + ahead, last))
            seen, ahead = seen + len(more), 2 * ahead
            more_now = score[more]
            for first in range(0, len(kept), _AT_ONCE):
                before = spans[:, kept[first : first + _AT_ONCE], None]
                rows = np.vstack([more_now, decay(_overlap(before, spans.take(more, axis=1)))])
                more_now = np.multiply.reduce(rows, axis=0)  # row by row, as the loop does
                alive = more_now >= min_score
                more, more_now = more[alive], more_now[alive]
            near, now = np.concatenate([near, more]), np.concatenate([now, more_now])
            around = spans.take(near, axis=1)
            continue
        if best < 0 or now[best] < 0 or (kept and now[best] < min_score):
            return
        kept.append(int(near[best]))
        yield float(now[best]), int(order[kept[-1]])
        now *= decay(_overlap(spans[:, kept[-1]], around))
        now[best] = -1
        if len(kept) % _TIDY_EVERY == 0:
            alive = now >= min_score
            near, now, around = near[alive], now[alive], around.compress(alive, axis=1)


def _overlap(one: Float[np.ndarray, "3 *a"], others: Float[np.ndarray, "3 b"]) -> np.ndarray:
    """Return intersection over union of spans: start, end and length."""
    shared = np.minimum(one[1], others[1])
    shared -= np.maximum(one[0], others[0])
    np.maximum(shared, 0, out=shared)
    union = one[2] + others[2]
    union -= shared
    return np.divide(shared, union, out=shared)


def vote(
    kept: Float[np.ndarray, "k 2"],
    voters: Segments,
    threshold: float,
    *,
    by_overlap: bool = False,
) -> Float[np.ndarray, "k 2"]:
    """Return the mean bounds of all segments that overlap each kept one enough.

    Args:
        kept: start and end.
        voters: the segments before suppression; each weighs its score.
        threshold: overlap from which on a segment has a vote.
        by_overlap: a vote weighs score times overlap.
    """
    start, end = voters.times.T
    moved = np.empty_like(kept)
    step = max(1, _VOTES_AT_ONCE // max(len(voters), 1))
    for first in range(0, len(kept), step):
        low, high = kept[first : first + step, :1], kept[first : first + step, 1:]
        shared = np.maximum(np.minimum(high, end) - np.maximum(low, start), 0)
        overlap = shared / ((high - low) + (end - start) - shared)
        weights = np.where(overlap >= threshold, voters.scores, 0)
        if by_overlap:
            weights *= overlap
        weights /= weights.sum(axis=1, keepdims=True)
        moved[first : first + step] = weights @ voters.times
    return moved


def _by_class(labels: Int[np.ndarray, " n"]) -> list[Int[np.ndarray, " m"]]:
    """Return the places of each class, in the order of the classes."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _by_score(kept: tuple[float, int]) -> float:
    return -kept[0]
