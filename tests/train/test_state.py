from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from internvideo.errors import CheckpointError
from internvideo.train.checkpoint import load_state, save_state
from internvideo.train.meter import Meter
from internvideo.train.optim import WeightAverage
from internvideo.train.settings import RunSettings
from internvideo.train.state import TrainState, full_weights, random_state, restore_random_state


def state_of(task: nn.Module, *, decay: float | None = None) -> TrainState:
    fabric = Fabric(accelerator="cpu", devices=1)
    optimizer = torch.optim.AdamW(task.parameters(), lr=0.1)
    average = WeightAverage(task, decay=decay)
    return TrainState(
        task, optimizer, average, Meter(fabric), fabric, settings=RunSettings(), global_batch=4
    )


def step(state: TrainState) -> None:
    state.task(torch.ones(1, 3)).sum().backward()
    state.optimizer.step()
    state.optimizer.zero_grad()
    state.average.update_()
    state.step += 1


def test_what_is_saved_is_put_back(tmp_path):
    torch.manual_seed(0)
    state = state_of(nn.Linear(3, 2), decay=0.5)
    for _ in range(2):
        step(state)
    state.save(tmp_path)
    expected = torch.rand(3)
    other = state_of(nn.Linear(3, 2), decay=0.5)
    other.resume(tmp_path)
    other.restore_process()
    assert other.step == 2
    assert torch.equal(torch.rand(3), expected)
    for each in (state, other):
        step(each)
    assert torch.equal(other.task.weight, state.task.weight), "moments and step count came back"
    with state.average.in_place(), other.average.in_place():
        assert torch.equal(other.task.weight, state.task.weight)


def test_the_average_in_a_checkpoint_is_the_average():
    task = nn.Linear(3, 2)
    state = state_of(task, decay=0.5)
    start = task.weight.detach().clone()
    step(state)
    with state.average.in_place():
        averaged = full_weights(task)
    torch.testing.assert_close(averaged["weight"], (start + task.weight) / 2)


def test_weights_of_another_size_are_a_clear_error(tmp_path):
    state_of(nn.Linear(3, 2)).save(tmp_path)
    with pytest.raises(CheckpointError, match=r"do not fit this model.*size mismatch") as caught:
        state_of(nn.Linear(3, 5)).resume(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_layout_is_refused(tmp_path):
    save_state(tmp_path / "last.ckpt", {"step": 3, "version": "0.0.1"})
    with pytest.raises(CheckpointError, match=r"written by internvideo 0.0.1 in another layout"):
        state_of(nn.Linear(3, 2)).resume(tmp_path)


def test_when_no_checkpoint_can_be_read_the_run_does_not_begin_afresh(tmp_path):
    state = state_of(nn.Linear(3, 2))
    state.save(tmp_path)
    state.save(tmp_path)
    for name in ("last.ckpt", "previous.ckpt"):
        (tmp_path / name).write_bytes(b"broken")
    with pytest.raises(CheckpointError, match="cannot resume"):
        state_of(nn.Linear(3, 2)).resume(tmp_path)


def test_a_flipped_bit_is_found(tmp_path):
    state = state_of(nn.Linear(64, 64))
    state.save(tmp_path)
    path = tmp_path / "last.ckpt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        state_of(nn.Linear(64, 64)).resume(tmp_path)


def test_a_broken_checkpoint_does_not_take_the_place_of_the_good_one_before(tmp_path):
    state = state_of(nn.Linear(3, 2))
    for _ in range(2):
        step(state)
        state.save(tmp_path)
    (tmp_path / "last.ckpt").write_bytes(b"broken")
    other = state_of(nn.Linear(3, 2))
    other.resume(tmp_path)
    assert other.step == 1
    step(other)
    other.save(tmp_path)
    steps = [torch.load(tmp_path / f"{name}.ckpt")["step"] for name in ("previous", "last")]
    assert steps == [1, 2]
    other.save(tmp_path)
    assert torch.load(tmp_path / "previous.ckpt")["step"] == 2


def test_processes_that_see_different_checkpoints_do_not_go_on(tmp_path, monkeypatch):
    state = state_of(nn.Linear(3, 2))
    step(state)
    state.save(tmp_path)

    def gather(steps, own):
        steps[:] = [own, None]  # the other machine has an empty directory

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    other = state_of(nn.Linear(3, 2))
    other.fabric = SimpleNamespace(world_size=2, global_rank=0)
    with pytest.raises(CheckpointError, match=r"the steps are 1, None.*must share"):
        other.resume(tmp_path)


def draw():
    return random.random(), np.random.random(), torch.rand(()).item()  # noqa: NPY002


def test_the_random_state_survives_the_file(tmp_path):
    save_state(tmp_path / "a" / "last.ckpt", {"random": random_state()})
    expected = draw()
    assert draw() != expected
    restore_random_state(load_state(tmp_path / "a" / "last.ckpt")["random"])
    assert draw() == expected
