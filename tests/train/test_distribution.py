from __future__ import annotations

import logging
import os
from functools import partialmethod

import pytest
import torch
from torch import nn

from internvideo.errors import ConfigError
from internvideo.models.layers import DropPath
from internvideo.train import distribution
from internvideo.train.config import RuntimeConfig
from internvideo.train.distribution import (
    build_fabric,
    compile_blocks,
    gathered,
    local,
    usable_workers,
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategy": "fsdp"}, r"strategy=fsdp needs several processes.*torchrun"),
        ({"strategy": "ddp"}, r"strategy=ddp needs several processes"),
    ],
)
def test_what_cannot_run_here_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        build_fabric(RuntimeConfig(**changes))


def test_the_part_of_an_unsharded_parameter_is_the_parameter():
    linear = nn.Linear(2, 2)
    with gathered(linear):
        local(linear.weight).fill_(3.0)
    assert torch.equal(linear.weight, torch.full((2, 2), 3.0))


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="GPU")
def test_a_gpu_that_is_not_there_is_an_error():
    with pytest.raises(ConfigError, match=r"runtime.accelerator=gpu"):
        build_fabric(RuntimeConfig(accelerator="gpu"))


def test_one_process_of_a_job_with_several_tasks_runs_alone(monkeypatch):
    for name, value in {"NTASKS": "4", "JOB_ID": "1", "JOB_NAME": "night", "PROCID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert build_fabric(RuntimeConfig(accelerator="cpu")).world_size == 1


class Deep(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        rates = [(number + 1) / (depth + 1) for number in range(depth)]
        self.blocks = nn.ModuleList([DropPath(rate) for rate in rates])

    def block_modules(self):
        yield from self.blocks


def test_every_block_of_a_deep_model_is_compiled(monkeypatch):
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend=backend))
    model = Deep(12)
    with torch._dynamo.config.patch(recompile_limit=8, accumulated_recompile_limit=256):
        compile_blocks(model)
        for block in model.blocks:
            block(torch.ones(2))
    assert len(compiled) == 12
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("asked", "units", "taken"),
    [
        ("bf16-mixed", None, "32-true"),
        ("bf16-mixed", "amx", "bf16-mixed"),
        ("16-mixed", "amx", "32-true"),
        ("32-true", None, "32-true"),
    ],
)
def test_a_cpu_takes_the_precision_that_it_has_units_for(monkeypatch, caplog, asked, units, taken):
    monkeypatch.setattr(distribution, "bf16_units", lambda: units)
    runtime = RuntimeConfig(precision=asked, accelerator="cpu")
    with caplog.at_level(logging.INFO, "internvideo"):
        assert build_fabric(runtime)._precision.precision == taken
    assert (f"{taken} in place of {asked}" in caplog.text) == (asked != taken)


def test_no_more_workers_than_cores(monkeypatch, caplog):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4), raising=False)
    with caplog.at_level(logging.INFO, "internvideo"):
        assert usable_workers(RuntimeConfig(num_workers=3)) == 3
        assert not caplog.text
        assert usable_workers(RuntimeConfig(num_workers=10)) == 4
    assert "4 data workers in place of 10" in caplog.text
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert usable_workers(RuntimeConfig(num_workers=10)) == 1
