"""Detection, open macro-F1, thresholds: against their definitions, by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from internvideo.errors import DataError
from internvideo.tasks.open_set.metrics import (
    Detection,
    calibration,
    open_f1,
    openness,
    training_threshold,
    unknown_selections,
)

scores = st.lists(st.integers(0, 6), min_size=1, max_size=20).map(lambda s: np.array(s) / 6)


@given(scores, scores)
def test_auroc_is_the_share_of_pairs_in_order(known, unknown):
    pairs = (unknown[:, None] > known) + 0.5 * (unknown[:, None] == known)
    assert Detection(known, unknown).auroc == pytest.approx(pairs.mean())


@given(scores, scores)
def test_swapping_the_sides_turns_the_curve_round(known, unknown):
    there, back = Detection(known, unknown), Detection(unknown, known)
    assert there.auroc + back.auroc == pytest.approx(1)
    assert 0 <= there.fpr95 <= 1
    assert 0 <= there.aupr <= 1


def test_perfect_separation():
    found = Detection(np.array([0.1, 0.2, 0.3]), np.array([0.7, 0.9]))
    assert (found.auroc, found.aupr, found.fpr95) == (1.0, 1.0, 0.0)


def test_detection_needs_both_sides_and_numbers():
    with pytest.raises(DataError, match="no unknown videos"):
        Detection(np.ones(2), np.ones(0))
    with pytest.raises(DataError, match="1 known scores"):
        Detection(np.array([np.nan]), np.ones(1))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60).map(np.array))
def test_the_threshold_rejects_no_more_than_five_percent_of_the_training(uncertainty):
    threshold = training_threshold(uncertainty)
    assert (uncertainty > threshold).mean() <= 0.05 + 1 / len(uncertainty)
    assert threshold >= training_threshold(uncertainty, by_confidence=True)


def _slow_f1(answers: np.ndarray, labels: np.ndarray) -> float:
    classes = np.union1d(answers, labels)
    each = [
        2 * np.sum((answers == c) & (labels == c)) / (np.sum(answers == c) + np.sum(labels == c))
        for c in classes
    ]
    return float(np.mean(each))


def test_open_f1_by_counts_is_that_by_videos():
    rng = np.random.default_rng(0)
    known, known_labels = rng.integers(0, 5, 40), rng.integers(0, 4, 40)
    unknown, unknown_labels = rng.integers(0, 5, 30), rng.integers(0, 3, 30)
    found = open_f1(known, known_labels, unknown, unknown_labels, 4)
    assert found.mean[0] == pytest.approx(_slow_f1(known, known_labels))
    for count, chosen in enumerate(unknown_selections(3), start=1):
        slow = []
        for classes in chosen:
            kept = classes[unknown_labels]
            answers = np.concatenate([known, unknown[kept]])
            labels = np.concatenate([known_labels, np.full(kept.sum(), 4)])
            slow.append(_slow_f1(answers, labels))
        assert found.mean[count] == pytest.approx(np.mean(slow))
        assert found.std[count] == pytest.approx(np.std(slow))
    assert found.openness[0] == 0


def test_openness_of_the_published_tests():
    assert 100 * openness(101, 51) == pytest.approx(10.65, abs=0.005)
    assert 100 * openness(101, 305) == pytest.approx(36.88, abs=0.01)


def test_certain_and_right_is_calibrated():
    found = calibration(np.ones(8, bool), np.full(8, 0.99), np.full(8, 1e-6))
    assert found.ece < 1e-5
    assert found.eavuc < 1e-4
