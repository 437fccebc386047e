"""The official baseline's way from candidates to answers, beside its plain loop."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from internvideo.evaluation.segments import Segments
from internvideo.tasks.moment_queries.baseline import detections, retrievals

DURATION = 60.0


def plain(candidates: Segments) -> list[tuple[float, int]]:
    """Return (score, place) of what soft suppression keeps, as it is usually written."""
    left = [(float(s), place) for place, s in enumerate(candidates.scores)]
    kept = []
    while len(left) > 1 and len(kept) < 200:
        best = max(left, key=lambda each: each[0])
        left.remove(best)
        kept.append(best)
        a, b = candidates.times[best[1]]
        decayed = []
        for score, place in left:
            c, d = candidates.times[place]
            shared = max(0.0, min(b, d) - max(a, c))
            union = (b - a) + (d - c) - shared
            overlap = shared / union if union else 0.0
            decayed.append((score * math.exp(-(overlap**2) / 0.46), place))
        left = decayed
    return kept


@st.composite
def candidates(draw) -> Segments:
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    number = draw(st.sampled_from([0, 1, 2, 7, 30, 230]))
    start = rng.uniform(-3, 55, number)
    times = np.stack([start, start + rng.uniform(0.1, 12, number)], axis=1)
    return Segments(times, rng.permutation(number + 1)[1:] / 300, rng.integers(0, 4, number))


@given(candidates())
def test_what_is_kept_is_that_of_the_plain_loop(found):
    ours, wanted = detections(found, DURATION), plain(found)
    assert ours.labels.tolist() == [found.labels[place] for _, place in wanted]
    np.testing.assert_allclose(ours.scores, [score for score, _ in wanted], atol=6e-7)
    assert len(ours) == min(200, max(len(found) - 1, 0))  # the last one is never among them


@given(candidates())
def test_answers_are_rounded_and_inside_the_clip(found):
    for ours in (detections(found, DURATION), retrievals(found, {0, 1, 2, 3}, DURATION)):
        assert ((ours.times >= 0) & (ours.times <= DURATION)).all()
        np.testing.assert_array_equal(ours.times, np.round(ours.times, 1))


@given(candidates(), st.sets(st.integers(0, 3)))
def test_only_classes_that_are_asked_for_are_retrieved_and_nothing_is_suppressed(found, asked):
    ours = retrievals(found, asked, DURATION)
    assert set(ours.labels.tolist()) <= asked
    assert len(ours) == min(200, int(np.isin(found.labels, list(asked)).sum()))
    assert (np.diff(ours.scores) <= 0).all()
