from __future__ import annotations

from itertools import pairwise

import pytest

from internvideo.train.schedules import cosine_value, warmup_cosine


def test_warmup_cosine_values():
    factors = [warmup_cosine(step, 12, 4) for step in range(13)]
    assert factors[:5] == [0, 0.25, 0.5, 0.75, 1]
    assert factors[8] == pytest.approx(0.5)
    assert factors[12] == pytest.approx(0)
    assert all(a >= b for a, b in pairwise(factors[4:]))


def test_warmup_cosine_never_falls_below_its_floor_nor_rises_again():
    assert warmup_cosine(0, 10, 5, floor=0.01) == 0.01
    assert warmup_cosine(10, 10, 5, floor=0.01) == 0.01
    assert warmup_cosine(14, 10, 5) == 0
    assert warmup_cosine(0, 10, 0) == 1


def test_a_run_may_be_all_warmup():
    assert warmup_cosine(3, 4, 4) == 0.75
    assert warmup_cosine(4, 4, 4) == 1


def test_cosine_value_holds_its_peak_for_two_steps_and_never_reaches_the_end():
    values = [cosine_value(step, 10, 3, peak=1.0, final=0.1) for step in range(10)]
    assert values[:4] == pytest.approx([0, 0.5, 1, 1])
    assert 0.1 < values[-1] < 0.2


def test_cosine_value_rises_for_a_growing_weight_decay():
    values = [cosine_value(step, 4, 0, peak=0.1, final=0.5) for step in range(4)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(0.1)
    assert values[2] == pytest.approx(0.3)
