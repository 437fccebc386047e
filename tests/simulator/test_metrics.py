"""Metrics by hand; the fixtures pin them against the reference."""

from __future__ import annotations

import numpy as np
import pytest

from internvideo.simulator.metrics import average, cls, densify, dtw, measure


def plain_dtw(path, reference):
    total = np.full((len(path) + 1, len(reference) + 1), np.inf)
    total[0, 0] = 0
    for i, p in enumerate(path):
        for j, r in enumerate(reference):
            before = min(total[i, j + 1], total[i + 1, j], total[i, j])
            total[i + 1, j + 1] = np.linalg.norm(p - r) + before
    return total[-1, -1]


@pytest.mark.parametrize("seed", range(5))
def test_exact_warping_is_the_plain_recursion_and_no_dearer_than_the_fast(seed):
    rng = np.random.default_rng(seed)
    path, reference = (rng.normal(size=(n, 3)).cumsum(axis=0) for n in (17, 30))
    exact = dtw(path, reference)
    assert exact == pytest.approx(plain_dtw(path, reference), rel=1e-12)
    assert exact <= dtw(path, reference, radius=1) <= 1.5 * exact
    assert dtw(path, reference, radius=30) == pytest.approx(exact)


def test_fast_warping_is_fastdtw():
    """Costs by fastdtw 0.3.4, radius 1, of zigzags where it misses the best warping."""
    path = np.array([[0, 0, i * 4 % 7] for i in range(20)], float)
    lines = [np.array([[i * k % 5, 0, i * 0.5] for i in range(24)]) for k in (5, 2)]
    fast = [dtw(path, line, radius=1) for line in lines]
    assert fast == pytest.approx([75.0, 96.77422554814225], rel=1e-12)
    assert dtw(path, lines[0]) == pytest.approx(66.0)


def test_metrics_of_a_walk_that_stops_at_the_goal():
    reference = densify(np.array([[0, 0, 0], [0, 0, -4.0]]))
    values = measure(path=reference, distances=[4.0, 0.0], stopped=True, reference=reference)
    for name in ("success", "oracle_success", "spl", "ndtw", "sdtw", "cls"):
        assert values[name] == pytest.approx(1), name
    assert values["path_length"] == pytest.approx(4)
    assert values["distance_to_goal"] == 0


def test_passing_the_goal_without_stopping_there_is_no_success():
    path = np.array([[0, 0, 0], [0, 0, -4.0], [0, 0, -12.0]])
    values = measure(path=path, distances=[4.0, 0.0, 8.0], stopped=True)
    assert (values["success"], values["oracle_success"], values["spl"]) == (0, 1, 0)
    unstopped = measure(path=path[:2], distances=[4.0, 0.0], stopped=False)
    assert unstopped["success"] == 0


def test_standing_still_has_no_collisions_and_no_length():
    values = measure(path=np.zeros((1, 3)), distances=[2.0], stopped=True)
    assert (values["collisions"], values["path_length"], values["spl"]) == (0, 0, 1)


def test_coverage_by_hand():
    """Half the reference is walked: coverage of Jain et al. 2019 written out."""
    reference = np.array([[0, 0, 0], [0, 0, -3.0]])
    coverage = (1 + np.exp(-1)) / 2
    expected = coverage * 3
    score = coverage * expected / (expected + abs(expected - 0))
    assert cls(reference[:1], reference) == pytest.approx(score)


def test_the_mean_is_over_those_that_have_a_number():
    assert average([{"success": 1.0}, {"success": 0.0, "ndtw": 0.5}]) == {
        "success": 0.5,
        "ndtw": 0.5,
    }
    assert average([]) == {}
