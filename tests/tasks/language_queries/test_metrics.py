"""Recall at k by the official rules."""

from __future__ import annotations

import numpy as np
import pytest

from internvideo.tasks.language_queries.metrics import mean_iou, recalls, span_ious


def test_the_union_is_the_hull():
    ious = span_ious(np.array([[0.0, 4.0], [2.0, 4.0], [6.0, 8.0], [3.0, 3.0]]), (2.0, 4.0))
    assert ious.tolist() == [0.5, 1.0, 0.0, 0.0]


def test_an_empty_part_is_never_hit_not_even_by_itself():
    assert span_ious(np.array([[3.0, 3.0], [2.0, 4.0]]), (3.0, 3.0)).tolist() == [0.0, 0.0]


def test_a_hit_is_above_the_threshold_not_at_it():
    assert recalls([np.array([0.5])], (0.5, 0.3), (1,)) == {(1, 0.5): 0.0, (1, 0.3): 1.0}


def test_one_of_the_first_k_must_hit():
    ious = [np.array([0.1, 0.6]), np.array([0.4]), np.array([])]
    found = recalls(ious, (0.3,), (1, 2))
    assert found == {(1, 0.3): pytest.approx(1 / 3), (2, 0.3): pytest.approx(2 / 3)}
    assert mean_iou(ious) == pytest.approx(0.5 / 3)


def test_nothing_to_measure_is_nothing_found():
    assert recalls([], (0.3,), (1,)) == {(1, 0.3): 0.0}
    assert mean_iou([]) == 0.0
