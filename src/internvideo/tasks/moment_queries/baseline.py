"""From candidates to answers as the baseline of Ego4D's moment queries does it.

Source: VSGN's post-processing, `MQ` of EGO4D/episodic-memory. Pinned by the fixture `mq-eval`.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (NumPy leaves the types of many arrays open)

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from jaxtyping import Float

from internvideo.evaluation.segments import Segments

__all__ = ["detections", "retrievals"]

_SIGMA = 0.46
_MOST = 200
_SCORE_DIGITS, _TIME_DIGITS = 6, 1


def detections(candidates: Segments, duration: float) -> Segments:
    """Return what is left of candidates after soft suppression across all classes, at most 200.

    COMPAT: the published loop stops when one candidate remains, so the least sure one is never
    among the answers, and a single one never is.

    Args:
        candidates: of one clip, without any of the background.
        duration: of the clip in seconds.
    """
    scores = candidates.scores.astype(np.float64)
    left = np.ones(len(scores), np.bool_)
    order: list[int] = []
    while len(order) < min(_MOST, len(scores) - 1):
        best = int(np.where(left, scores, -np.inf).argmax())
        order.append(best)
        left[best] = False
        overlap = _overlaps(candidates.times[best], candidates.times)
        scores = np.where(left, scores * np.exp(-np.square(overlap) / _SIGMA), scores)
    chosen = np.array(order, np.int64)
    kept = Segments(candidates.times[chosen], scores[chosen], candidates.labels[chosen])
    return _rounded(kept, duration)


def retrievals(candidates: Segments, classes: Collection[int], duration: float) -> Segments:
    """Return the 200 surest candidates of the classes that are asked for; nothing is suppressed.

    Args:
        candidates: of one clip.
        classes: that the clip holds moments of.
        duration: of the clip in seconds.
    """
    asked = np.isin(candidates.labels, list(classes))
    return _rounded(candidates[asked].by_score()[:_MOST], duration)


def _overlaps(one: Float[np.ndarray, "2"], others: Float[np.ndarray, "n 2"]) -> np.ndarray:
    shared = np.minimum(one[1], others[:, 1]) - np.maximum(one[0], others[:, 0])
    shared = np.maximum(shared, 0.0)
    union = (one[1] - one[0]) + (others[:, 1] - others[:, 0]) - shared
    return np.divide(shared, union, out=np.zeros(len(others)), where=union > 0)


def _rounded(found: Segments, duration: float) -> Segments:
    times = found.times.clip(0.0, duration)
    scores = np.round(found.scores.astype(np.float64), _SCORE_DIGITS)
    return Segments(np.round(times.astype(np.float64), _TIME_DIGITS), scores, found.labels)
