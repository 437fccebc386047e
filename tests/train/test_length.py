"""How long a run is: fractions of an epoch, steps, warm-up in steps."""

from __future__ import annotations

import pytest

from internvideo.config import validate
from internvideo.errors import ConfigError
from internvideo.train.config import OptimConfig, ScheduleConfig
from internvideo.train.data import EpochBatchSampler
from internvideo.train.log import read_log
from internvideo.train.schedules import Schedule
from train.toy import toy_plan, toy_run


def order(**changes) -> list[int]:
    settings = {"batch_size": 4, "seed": 5, **changes}
    return [i for part in EpochBatchSampler(range(40), **settings) for _, i in part]


def test_half_an_epoch_is_a_random_half_of_the_data():
    whole, half = order(epochs=1), order(epochs=0.5)
    assert half == whole[:20]
    assert half != sorted(half)
    assert order(epochs=2.5)[80:] == order(epochs=3)[80:100]
    assert order(epochs=1.5, start_step=12) == order(epochs=1.5)[48:]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"epochs": 0.5}, 50),
        ({"epochs": 3}, 300),
        ({"epochs": 0.001}, 1),
        ({"epochs": 3, "steps": 7}, 7),
    ],
)
def test_the_length_in_steps(fields, expected):
    assert ScheduleConfig(**fields).total_steps(100) == expected


def test_warm_up_may_be_given_in_steps():
    config = ScheduleConfig(epochs=2, warmup_epochs=1, warmup_steps=10)
    schedule = Schedule(OptimConfig(lr=1.0), config, lr=1.0, steps_per_epoch=50)
    assert schedule.lr(5) == 0.5
    assert schedule.lr(10) == 1.0
    assert schedule.lr(11) < 1.0


@pytest.mark.parametrize("epochs", [0, -0.5])
def test_a_run_has_a_length(epochs):
    with pytest.raises(ConfigError, match="epochs"):
        validate(ScheduleConfig, {"epochs": epochs}, source="test")


def test_a_run_ends_where_the_schedule_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("internvideo.train.log.draw_curves", lambda *_: None)
    for number, schedule in enumerate(({"epochs": 1.5}, {"epochs": 1, "steps": 9})):
        toy_run(tmp_path / str(number), plan=toy_plan(schedule=schedule))
        assert read_log(tmp_path / str(number) / "log.jsonl")[-1]["step"] == 9
