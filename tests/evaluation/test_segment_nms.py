"""Suppression of overlapping segments, against the plain loop of the published operator."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from internvideo.errors import ConfigError
from internvideo.evaluation import segment_nms
from internvideo.evaluation.segment_nms import SegmentNMS, select, vote
from internvideo.evaluation.segments import Segments

DECAYS = {
    "gaussian": segment_nms.gaussian(0.5),
    "linear": segment_nms.linear(0.3),
    "hard": segment_nms.suppressing(0.3),
}


def segments(seed: int, number: int, *, longest: float = 60.0, classes: int = 1) -> Segments:
    draw = np.random.default_rng(seed)
    start = draw.uniform(0, 200, number)
    times = np.stack([start, start + draw.uniform(0.5, longest, number)], axis=1)
    scores = 0.001 + 0.99 * draw.permutation(number) / max(number, 1)
    labels = draw.integers(0, classes, number)
    return Segments(times.astype(np.float32), scores.astype(np.float32), labels)


def plain(found: Segments, decay, min_score: float) -> list[tuple[float, int]]:
    """Keep the best, let the others decay, drop what is too weak; again."""
    start, end = found.times.T
    scores, alive, kept = found.scores.copy(), np.ones(len(found), bool), []
    while alive.any():
        best = int(np.where(alive, scores, -1).argmax())
        kept.append((float(scores[best]), best))
        alive[best] = False
        shared = np.maximum(np.minimum(end, end[best]) - np.maximum(start, start[best]), 0)
        union = (end - start + 1e-6) + (end[best] - start[best] + np.float32(1e-6)) - shared
        scores *= decay(shared / union)
        alive &= scores >= min_score
    return kept


@pytest.mark.parametrize("longest", [3.0, 150.0])
@pytest.mark.parametrize("name", DECAYS)
def test_the_plain_loop_bit_by_bit(name, longest):
    """Enough of them that many are looked at only after others have been kept."""
    found = segments(0, 900, longest=longest)
    wanted = plain(found, DECAYS[name], 0.01)
    kept = select(found.times, found.scores, DECAYS[name], min_score=0.01)
    assert list(kept) == wanted
    assert 20 < len(wanted) < 900


@given(st.integers(0, 10**6), st.integers(0, 40), st.sampled_from(sorted(DECAYS)))
def test_the_plain_loop_on_any_segments(seed, number, name):
    found = segments(seed, number)
    kept = select(found.times, found.scores, DECAYS[name], min_score=0.1)
    assert list(kept) == plain(found, DECAYS[name], 0.1)


@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 20))
def test_fewer_segments_are_the_first_of_more(seed, number, most):
    found = segments(seed, number, classes=3)
    whole = SegmentNMS(max_segments=1000)(found)
    some = SegmentNMS(max_segments=most)(found)
    np.testing.assert_array_equal(some.times, whole.times[:most])
    np.testing.assert_array_equal(some.labels, whole.labels[:most])
    assert np.all(np.diff(some.scores) <= 0)


def test_classes_are_alone_or_together():
    times = np.array([[0, 10], [1, 11], [50, 60]], np.float32)
    found = Segments(times, np.array([0.9, 0.8, 0.7], np.float32), np.array([0, 1, 0]))
    hard = SegmentNMS(method="hard", iou_threshold=0.5, per_class=False)
    assert hard(found).labels.tolist() == [0, 0]
    alone = SegmentNMS(method="hard", iou_threshold=0.5)(found)
    assert alone.labels.tolist() == [0, 1, 0]
    np.testing.assert_array_equal(alone.scores, found.scores)


def test_the_first_segment_stays_however_unsure_it_is():
    found = Segments(np.array([[0.0, 1], [5, 6]]), np.array([1e-4, 1e-5]), np.array([0, 0]))
    assert SegmentNMS(min_score=0.001)(found).scores.tolist() == [1e-4]
    assert len(SegmentNMS(min_score=0.001, method="hard")(found)) == 0


def test_no_segments_and_no_suppression():
    assert len(SegmentNMS()(Segments.none())) == 0
    found = segments(1, 30)
    assert SegmentNMS(method="none", max_segments=3)(found) is found


def test_votes_move_the_bounds_to_the_weighted_mean():
    times = np.array([[0.0, 10], [1, 11], [30, 40]])
    found = Segments(times, np.array([0.6, 0.2, 0.9]), np.zeros(3, np.int64))
    overlap = 9 / 11
    by_score = (0.6 * times[0] + 0.2 * times[1]) / 0.8
    np.testing.assert_allclose(vote(times[:1], found, 0.8)[0], by_score)
    by_both = (0.6 * times[0] + 0.2 * overlap * times[1]) / (0.6 + 0.2 * overlap)
    np.testing.assert_allclose(vote(times[:1], found, 0.8, by_overlap=True)[0], by_both)
    np.testing.assert_allclose(vote(times[:1], found, 0.9)[0], times[0])


def test_equal_scores_are_kept_in_their_order():
    found = Segments(np.array([[0.0, 1], [5, 6], [9, 10]]), np.full(3, 0.5), np.array([2, 1, 2]))
    assert [place for _, place in islice(select(
        found.times, found.scores, DECAYS["hard"], min_score=0.1
    ), 3)] == [0, 1, 2]  # fmt: skip


def test_impossible_settings_are_named():
    with pytest.raises(ConfigError, match="sigma"):
        SegmentNMS(sigma=0.0)
    with pytest.raises(ConfigError, match="method"):
        SegmentNMS(method="soft")
