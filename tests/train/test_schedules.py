from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from internvideo.train.config import OptimConfig, ScheduleConfig
from internvideo.train.schedules import Schedule, cosine_value, jumping_cosine, warmup_cosine


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


def schedule(rule: str, **optim) -> Schedule:
    config = ScheduleConfig(rule=rule, epochs=2, warmup_epochs=0.5, min_lr=1e-5, min_lr_ratio=0.1)
    return Schedule(OptimConfig(lr=1e-3, **optim), config, lr=2e-3, steps_per_epoch=8)


def test_a_schedule_follows_its_rule():
    viclip, videomae = schedule("viclip"), schedule("videomae")
    assert viclip.total_steps == 16
    assert viclip.warmup_steps == 4
    for step in range(16):
        assert viclip.lr(step) == 2e-3 * warmup_cosine(step, 16, 4, floor=0.1)
        expected = cosine_value(step, 16, 4, peak=2e-3, final=2e-5)
        assert videomae.lr(step) == expected, "min_lr is scaled as lr was"


def test_the_jumping_cosine_does_not_restart_after_its_warmup():
    assert [jumping_cosine(p, 0.1) for p in (0, 0.05)] == [0, 0.5]
    assert jumping_cosine(0.1, 0.1) == pytest.approx(0.9755, abs=1e-4)
    assert jumping_cosine(0.5, 0.1) == pytest.approx(0.5)
    rates = [schedule("bert-adam").lr(step) for step in range(16)]
    assert rates[:4] == [0, 5e-4, 1e-3, 1.5e-3]
    assert rates[4:] == [2e-3 * jumping_cosine(step / 16, 0.25) for step in range(4, 16)]


def test_weight_decay_is_constant_unless_it_has_an_end():
    assert {schedule("viclip").weight_decay(step) for step in range(16)} == {0.05}
    moving = schedule("viclip", weight_decay=0.0, weight_decay_end=0.4)
    values = [moving.weight_decay(step) for step in range(16)]
    assert values[0] == 0.0
    assert values[8] == pytest.approx(0.2)
    assert values == sorted(values)


def test_groups_get_their_share_of_both_numbers():
    optimizer = torch.optim.AdamW(
        [
            {"params": [torch.zeros(1)], "lr_scale": 0.5, "decays": True},
            {"params": [torch.zeros(1)], "lr_scale": 1.0, "decays": False},
        ]
    )
    moving = schedule("videomae", weight_decay=0.0, weight_decay_end=0.4)
    assert moving.apply_(optimizer, 9) == moving.lr(9)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5 * moving.lr(9), moving.lr(9)]
    decays = [group["weight_decay"] for group in optimizer.param_groups]
    assert decays == [moving.weight_decay(9), 0.0]
