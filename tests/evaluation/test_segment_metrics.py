"""Detection mAP and recall, against the official evaluator's loop over single predictions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from internvideo.evaluation import segment_matching
from internvideo.evaluation.segment_matching import SegmentTable, match
from internvideo.evaluation.segment_metrics import (
    Ranking,
    outcomes,
    recall_at_kx,
    without_repeats,
)
from internvideo.evaluation.segments import Segments

THRESHOLDS = (0.1, 0.3, 0.5, 0.75, 0.95)


def table(rows) -> SegmentTable:
    """Return a table of (video, start, end, score, label)."""
    values = np.array(rows, np.float64).reshape(-1, 5)
    whole = values[:, [0, 4]].astype(np.int64)
    return SegmentTable(whole[:, 0], Segments(values[:, 1:3], values[:, 3], whole[:, 1]))


def random_tables(seed: int, num_truth: int, num_found: int, *, steps: float = 0.0):
    """Return true segments and predictions near them; with `steps`, many are equal."""
    draw = np.random.default_rng(seed)
    start = draw.uniform(0, 40, num_truth)
    truth = [(draw.integers(4), s, s + draw.exponential(12), 1.0, draw.integers(3)) for s in start]
    found = []
    for _ in range(num_found):
        video, s, e, _, label = truth[draw.integers(num_truth)] if num_truth else (0, 5, 9, 1, 0)
        s, e = sorted((s + draw.normal(0, 3), e + draw.normal(0, 3)))
        label = label if draw.random() < 0.8 else draw.integers(4)
        found.append((video, s, e, draw.random(), label))
    both = [np.array(rows, float).reshape(-1, 5) for rows in (truth, found)]
    for rows in both if steps else ():
        rows[:, 1:4] = np.round(rows[:, 1:4] / steps) * steps
    return table(both[0]), table(both[1])


def official(truth: SegmentTable, found: SegmentTable, label: int, thresholds) -> list[float]:
    """Return the average precision of a class, one prediction after the other."""
    true = [
        (int(v), *times) for v, times, own in zip(
            truth.videos, truth.segments.times, truth.segments.labels, strict=True
        ) if own == label
    ]  # fmt: skip
    mine = np.flatnonzero(found.segments.labels == label)
    order = mine[np.argsort(found.segments.scores[mine], kind="stable")[::-1]]
    values = []
    for threshold in thresholds:
        taken, right = set(), []
        for place in order:
            start, end = found.segments.times[place]
            overlaps = []
            for number, (video, s, e) in enumerate(true):
                if video == found.videos[place]:
                    shared = max(0.0, min(end, e) - max(start, s))
                    union = (end - start) + (e - s) - shared
                    overlaps.append((shared / union if union else np.inf, number))
            for overlap, number in sorted(overlaps, reverse=True):
                if overlap >= threshold and number not in taken:
                    taken.add(number)
                    right.append(1.0)
                    break
            else:
                right.append(0.0)
        hits = np.cumsum(right)
        precision = np.array([0, *(hits / np.arange(1, len(hits) + 1)), 0])
        recall = np.array([0, *(hits / len(true)), 1])
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        steps = np.flatnonzero(np.diff(recall)) + 1
        values.append(float(((recall[steps] - recall[steps - 1]) * precision[steps]).sum()))
    return values


@given(
    st.integers(0, 10**6), st.integers(1, 25), st.integers(0, 60), st.sampled_from([0.0, 0.25, 4.0])
)
def test_the_official_loop(seed, num_truth, num_found, steps):
    """Equal scores, equal segments and segments without length included."""
    truth, found = random_tables(seed, num_truth, num_found, steps=steps)
    values = Ranking(truth, found, THRESHOLDS, 4).average_precision()
    for label in range(4):
        if label in truth.segments.labels:
            wanted = official(truth, found, label, THRESHOLDS)
            np.testing.assert_allclose(values[:, label], wanted, atol=1e-12)
        else:
            assert np.isnan(values[:, label]).all()


def test_blocks_of_pairs_change_nothing(monkeypatch):
    truth, found = random_tables(3, 60, 400)
    whole = match(truth, found, THRESHOLDS)
    monkeypatch.setattr(segment_matching, "_PAIRS_AT_ONCE", 7)
    np.testing.assert_array_equal(match(truth, found, THRESHOLDS), whole)
    assert whole.any(axis=1).all()


def test_a_prediction_whose_first_choice_is_taken_gets_the_next():
    truth = table([(0, 0, 10, 1, 0), (0, 2, 12, 1, 0)])
    found = table([(0, 0, 10, 0.9, 0), (0, 1, 10.5, 0.8, 0), (0, 1, 11, 0.7, 0)])
    assert match(truth, found, [0.5]).tolist() == [[True, True, False]]
    assert match(truth, found, [0.9]).tolist() == [[True, False, False]]


def test_the_rules_of_recall():
    """Two true segments in one video: k predictions for each, by file or by score."""
    truth = table([(0, 0, 10, 1, 0), (0, 20, 30, 1, 0), (1, 0, 10, 1, 1)])
    found = table(
        [
            (0, 50, 60, 0.1, 0), (0, 50, 60, 0.2, 0), (0, 0, 10, 0.9, 0),
            (0, 20, 25, 0.8, 0), (1, 0, 5, 0.5, 1),
        ]
    )  # fmt: skip
    by_file = recall_at_kx(truth, found, [0.5, 0.4], [1, 2])
    assert by_file.tolist() == pytest.approx(np.array([[0, 1 / 3], [1 / 3, 1]]))
    by_score = recall_at_kx(truth, found, [0.5, 0.6], [1, 2], rule="actionformer")
    assert by_score.tolist() == pytest.approx(np.array([[1, 1], [0.25, 0.25]]))


def test_nothing_found_and_nothing_to_find():
    truth, nothing = table([(0, 0, 1, 1, 0)]), table([])
    assert Ranking(truth, nothing, [0.5], 2).average_precision()[0, 0] == 0
    assert recall_at_kx(truth, nothing, [0.5], [1]).tolist() == [[0]]
    assert np.isnan(Ranking(nothing, truth, [0.5], 1).average_precision()).all()


def test_repeated_true_segments_are_left_out():
    truth = table([(0, 1, 2, 1, 0), (0, 1.0005, 2, 1, 0), (0, 1, 2, 1, 1), (0, 5, 5, 1, 1)])
    assert without_repeats(truth).videos.tolist() == [0, 0, 0]
    assert without_repeats(truth, min_length=1e-3).segments.labels.tolist() == [0, 1]


def test_what_becomes_of_predictions():
    truth = table([(0, 0, 10, 1, 0), (0, 20, 30, 1, 1), *[(1, 0, 1, 1, 0)] * 4])
    rows = [
        (0, 0, 10, 0.9, 0), (0, 0, 9, 0.8, 0), (0, 0, 10, 0.7, 1), (0, 6, 16, 0.6, 0),
        (0, 26, 36, 0.5, 0), (0, 50, 60, 0.4, 0), (0, 20, 30, 0.3, 1),
    ]  # fmt: skip
    found = outcomes(truth, table(rows), 0.5)
    assert list(found.values()) == [1] * 6  # the seventh is one more than there are true segments
    assert sum(outcomes(truth, table([]), 0.5).values()) == 0


def test_weights_are_repeated_videos():
    """A video that counts twice is as two equal videos, up to the order of equal scores."""
    truth, found = random_tables(5, 12, 40)
    twice = np.array([1.0, 2.0, 0.0, 1.0])
    weighted = Ranking(truth, found, THRESHOLDS, 4).average_precision(twice)
    copies = [(place, times) for place, count in enumerate((1, 2, 0, 1)) for times in range(count)]

    def repeated(one: SegmentTable, step: float) -> SegmentTable:
        parts = [(number, one[one.videos == place]) for number, (place, _) in enumerate(copies)]
        videos = np.concatenate([np.full(len(part), number) for number, part in parts])
        segments = Segments.joined([part.segments for _, part in parts])
        scores = segments.scores - step * videos  # so that no scores are equal
        return SegmentTable(videos, Segments(segments.times, scores, segments.labels))

    whole = Ranking(repeated(truth, 0), repeated(found, 1e-12), THRESHOLDS, 4).average_precision()
    np.testing.assert_allclose(weighted, whole, atol=0.02)
    np.testing.assert_array_equal(np.isnan(weighted), np.isnan(whole))
    plain = Ranking(truth, found, THRESHOLDS, 4).average_precision()
    assert np.nanmax(np.abs(weighted - plain)) > 0.1


def test_the_interval_holds_the_mean_and_narrows_with_more_videos():
    def spread(number: int) -> tuple[float, float, float]:
        draw = np.random.default_rng(0)
        truth = table([(v, 0, 10, 1, 0) for v in range(number)])
        found = table([(v, 0, draw.uniform(3, 10), draw.random(), 0) for v in range(number)])
        ranking = Ranking(truth, found, [0.5], 1)
        return (*ranking.interval(), float(ranking.average_precision()[0, 0]))

    (low, high, mean), (nearer, further, _) = spread(20), spread(500)
    assert low < mean < high
    assert further - nearer < 0.5 * (high - low)
