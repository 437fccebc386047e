from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from lightning_fabric import Fabric

from internvideo.errors import InternVideoError
from internvideo.train.data import Batch
from internvideo.train.step import StepReport
from internvideo.train.stop import PreemptedError, StopSignal


def report(loss: float, norm: float | None = 1.0) -> StepReport:
    grad_norm = None if norm is None else torch.tensor(norm)
    return StepReport({"loss": torch.tensor(loss)}, [torch.tensor(loss)], grad_norm)


def batch(name: str) -> list[Batch]:
    return [Batch({"x": torch.ones(2)}, [name, name], [])]


@pytest.fixture
def stop(tmp_path):
    return StopSignal(Fabric(accelerator="cpu", devices=1), tmp_path)


@pytest.fixture
def late(stop):
    """One as on an accelerator, where flags are read when they have arrived."""
    stop._late = True
    return stop


def test_on_the_cpu_a_bad_step_stops_at_once(stop, tmp_path):
    assert stop.observe(1, report(0.5), batch("a")) == 0
    with pytest.raises(InternVideoError, match="loss not finite at step 2"):
        stop.observe(2, report(float("inf")), batch("b"))
    assert torch.load(tmp_path / "nonfinite-step2.pt")["keys"] == [["b", "b"]]


def test_on_an_accelerator_it_stops_a_step_later_with_its_own_batch(late, tmp_path):
    assert late.observe(1, report(float("nan")), batch("bad")) == 0
    with pytest.raises(InternVideoError, match="loss not finite at step 1"):
        late.observe(2, report(0.5), batch("good"))
    assert torch.load(tmp_path / "nonfinite-step1.pt")["keys"] == [["bad", "bad"]]


def test_before_weights_are_saved_the_newest_step_is_looked_at(late):
    assert late.observe(1, report(0.5), batch("a")) == 0
    assert late.observe(2, report(0.5, norm=float("nan")), batch("b")) == 0
    with pytest.raises(InternVideoError, match="gradient not finite at step 2"):
        late.settle()


def test_with_a_gradient_scaler_only_the_loss_counts(stop):
    assert stop.observe(1, report(0.5, norm=None), batch("a")) == 0


def test_the_first_signal_is_noted_and_a_second_one_is_not_caught(stop):
    before = signal.getsignal(signal.SIGINT)
    with stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is before
        assert stop.observe(1, report(0.5), batch("a")) == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_stays_known_until_the_newest_step_is_settled(late):
    with late:
        os.kill(os.getpid(), signal.SIGTERM)
        assert late.observe(1, report(0.5), batch("a")) == 0
        assert late.observe(2, report(0.5), batch("b")) == signal.SIGTERM
        assert late.settle() == signal.SIGTERM


def test_a_signal_in_the_last_evaluation_is_not_lost(stop):
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.raises(PreemptedError, match=r"step 3 .*SIGTERM"))
        stack.enter_context(stop)
        stop.observe(3, report(0.5), batch("a"))
        os.kill(os.getpid(), signal.SIGTERM)


def test_what_torchrun_passes_on_is_the_same_signal(stop, monkeypatch):
    stop._launched = True
    clock = [10.0]
    monkeypatch.setattr("internvideo.train.stop.time.monotonic", lambda: clock[0])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background: ignored
    try:
        with stop:
            os.kill(os.getpid(), signal.SIGINT)
            clock[0] = 10.2
            os.kill(os.getpid(), signal.SIGINT)  # from torchrun
            assert stop.observe(1, report(0.5), batch("a")) == signal.SIGINT
            clock[0] = 20.0
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)  # somebody is in a hurry
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


IN_PYTORCH = """
import logging, sys, torch
from pathlib import Path
from lightning_fabric import Fabric
from internvideo.train.stop import StopSignal

logging.basicConfig(level=logging.INFO)
torch.set_num_threads(1)
matrix = torch.eye(3000)
with StopSignal(Fabric(accelerator="cpu", devices=1), Path()):
    print("here", flush=True)
    torch.linalg.matrix_power(matrix, 2**62)  # one call, of minutes
"""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_the_process_also_within_one_long_call(number, code):
    process = subprocess.Popen(
        [sys.executable, "-c", IN_PYTORCH],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        time.sleep(1)
        process.send_signal(number)
        time.sleep(2)
        assert process.poll() is None, "the first one lets the step end"
        process.send_signal(number)
        _, told = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == code
    assert f"{number.name}: the run ends after this step" in told
