from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from internvideo.evaluation.report import interval_over_groups, wilson_interval


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_share_and_stays_within_0_and_1(counts):
    correct, total = counts
    low, high = wilson_interval(correct, total)
    assert 0 <= low <= correct / total + 1e-12
    assert correct / total - 1e-12 <= high <= 1
    mirrored = wilson_interval(total - correct, total)
    assert mirrored == pytest.approx((1 - high, 1 - low))


@given(st.integers(0, 400), st.integers(1, 400))
def test_the_bounds_solve_wilsons_equation(correct, extra):
    total = correct + extra
    for bound in wilson_interval(correct, total):
        if 0 < bound < 1:
            deviation = abs(correct / total - bound) / math.sqrt(bound * (1 - bound) / total)
            assert deviation == pytest.approx(1.959963984540054, rel=1e-6)


def test_published_values_of_the_interval():
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for counts, bounds in {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }.items():
        assert [round(bound, 4) for bound in wilson_interval(*counts)] == list(bounds)


def test_intervals_over_groups_are_as_wide_as_there_are_few_groups():
    right = np.repeat([1.0, 0.0, 1.0, 0.0], 100)
    [low, high] = interval_over_groups(right, np.repeat(np.arange(4), 100))
    assert (low, high) == (0.0, 1.0)  # four videos say little, however much is asked about each
    [low, high] = interval_over_groups(right, np.arange(400))
    wilson = wilson_interval(200, 400)
    assert (low, high) == pytest.approx(wilson, abs=0.01)
    several = interval_over_groups(np.stack([right, right]), np.arange(400))
    np.testing.assert_allclose(several, [[low, low], [high, high]])
