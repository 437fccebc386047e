from __future__ import annotations

import time

import pytest
import torch
from lightning_fabric import Fabric

from internvideo.train.data import Batch
from internvideo.train.meter import Meter
from internvideo.train.step import StepReport


def report(loss: float) -> StepReport:
    value = torch.tensor(loss)
    return StepReport({"loss": value}, [value], torch.tensor(2.0))


@pytest.fixture
def meter():
    return Meter(Fabric(accelerator="cpu", devices=1))


def slow_batches(seconds: float):
    while True:
        time.sleep(seconds)
        yield Batch({}, ["a", "a", "b"], [])


def test_a_record_holds_means_speed_and_the_share_of_waiting(meter):
    batches = slow_batches(0.02)
    for loss in (1.0, 2.0):
        assert len(meter.fetch(batches, 2)) == 2
        meter.add(report(loss))
    time.sleep(0.02)
    values = meter.read()
    assert values["loss"] == 1.5
    assert values["grad_norm"] == 2.0
    assert values["data_wait_ms"] >= 40
    assert 0.3 < values["data_wait"] < 1
    elapsed = 2 * values["data_wait_ms"] / 1e3 / values["data_wait"]
    assert values["clips_per_s"] == pytest.approx(12 / elapsed)
    assert values["memory_gib"] > 0.05


def test_a_new_interval_begins_after_a_record(meter):
    meter.add(report(5.0))
    meter.read()
    meter.add(report(1.0))
    assert meter.read()["loss"] == 1.0


def test_an_interval_can_be_gone_on_with(meter):
    meter.add(report(0.1))
    meter.add(report(0.2))
    other = Meter(meter.fabric)
    other.load_state_dict(meter.state_dict())
    for each in (meter, other):
        each.add(report(0.4))
    assert other.read()["loss"] == meter.read()["loss"]
