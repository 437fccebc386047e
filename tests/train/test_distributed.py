"""The same run in one process, in two by DDP, in two by FSDP2: gloo, on the CPU."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from internvideo.train.log import read_log
from train.launch import ENVIRONMENT, arguments, command, run_in_turn, run_processes

pytestmark = pytest.mark.slow

# Sums over the batch are taken in another order; nothing else differs.
LOSS_TOLERANCE = 1e-5
WEIGHT_TOLERANCE = 1e-5

CLASSES = """
name: shared
task: {kind: supervised, mixup: 0, cutmix: 0, repeats: 1}
model: {num_classes: 28, image_size: 32, num_frames: 16, patch_size: 16, width: 16, depth: 2,
        num_heads: 2, init_scale: 1.0}
preprocessing: {num_frames: 16, sampling: middle, resize_rule: squash, resize_size: 32,
                crop_size: 32}
data: {kind: world, num_clips: 32}
evaluation: {data: {kind: world, num_clips: 5, start: 1000}, every_epochs: 2, final_views: false}
optim: {lr: 0.01, lr_batch_size: 8, layer_decay: 0.75, clip_grad_norm: 0.5, ema_decay: 0.5,
        weight_decay_end: 0.2}
schedule: {rule: videomae, epochs: 2, warmup_epochs: 0.5}
runtime: {num_workers: 0, log_every: 1, save_every: 3, accelerator: cpu, threads: 1}
"""
PAIRS = """
name: pairs
task: {kind: contrastive}
model:
  vision: {kind: ViCLIPVision, image_size: 32, num_frames: 4, patch_size: 16, width: 32, depth: 1,
           num_heads: 2, embed_dim: 16, drop_path_rate: 0.0}
  text: {width: 32, depth: 1, num_heads: 2, context_length: 26, embed_dim: 16}
  embed_dim: 16
  vocabulary: world
  temp_init: 0.07
preprocessing: {num_frames: 4, sampling: middle, resize_rule: squash, resize_size: 32,
                crop_size: 32}
data: {kind: world, num_clips: 32}
optim: {lr: 0.001, clip_grad_norm: 0.5}
schedule: {epochs: 1, warmup_epochs: 0.5}
runtime: {num_workers: 0, log_every: 1, accelerator: cpu, threads: 1}
"""


def assert_same_run(expected: Path, actual: Path) -> None:
    curves = [read_log(directory / "log.jsonl") for directory in (expected, actual)]
    assert len(curves[0]) == 9, "8 steps and one evaluation"
    for one, other in zip(*curves, strict=True):
        assert one["step"] == other["step"]
        for name in one.keys() & {"loss", "lr", "grad_norm", "val_top1"}:
            assert other[name] == pytest.approx(one[name], rel=LOSS_TOLERANCE), (name, one["step"])
    for folder in ("model", "best"):
        weights = [load_file(d / folder / "model.safetensors") for d in (expected, actual)]
        assert weights[0].keys() == weights[1].keys()
        for name, tensor in weights[0].items():
            torch.testing.assert_close(
                weights[1][name], tensor, rtol=0, atol=WEIGHT_TOLERANCE, msg=name
            )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return the folder of all runs: by one process, and by two."""
    root = tmp_path_factory.mktemp("runs")
    sharded = ["runtime.strategy=fsdp", "runtime.batch_size=2", "runtime.accumulate=2"]
    alone = [
        arguments(root / "classes", CLASSES),
        arguments(root / "pairs", PAIRS),
        arguments(root / "lora", CLASSES, "lora.rank=2"),
    ]
    run_in_turn(alone, root / "alone.py")
    shared = [
        arguments(root / "classes-ddp", CLASSES, processes=2),
        arguments(root / "classes-fsdp", CLASSES, *sharded, processes=2),
        arguments(root / "pairs-ddp", PAIRS, processes=2),
        arguments(root / "pairs-fsdp", PAIRS, "runtime.strategy=fsdp", processes=2),
        arguments(root / "lora-fsdp", CLASSES, "lora.rank=2", *sharded, processes=2),
    ]
    run_in_turn(shared, root / "shared.py", processes=2)
    return root


def test_two_processes_learn_what_one_learns_with_the_doubled_batch(runs):
    assert_same_run(runs / "classes", runs / "classes-ddp")


def test_two_processes_that_share_weights_and_accumulate_learn_the_same(runs):
    assert_same_run(runs / "classes", runs / "classes-fsdp")
    state = torch.load(runs / "classes-fsdp" / "last.ckpt", weights_only=True)
    assert state["task"]["model.head.weight"].shape == (28, 16), "whole tensors, not shards"


def test_what_is_learnt_by_low_rank_is_shared_too(runs):
    assert_same_run(runs / "lora", runs / "lora-fsdp")


# FSDP2 cannot shard the temperature, a single number: it is averaged beside the shards.
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_contrast_all_their_pairs(runs, strategy):
    alone, shared = runs / "pairs", runs / f"pairs-{strategy}"
    curves = [read_log(directory / "log.jsonl") for directory in (alone, shared)]
    assert len(curves[0]) == 4
    for one, other in zip(*curves, strict=True):
        for name in ("loss", "accuracy", "grad_norm"):
            assert other[name] == pytest.approx(one[name], rel=1e-4), (name, one["step"])
    weights = [load_file(d / "model" / "model.safetensors") for d in (alone, shared)]
    assert float(weights[0]["temp"]) != pytest.approx(0.07, abs=1e-5), "it learns"
    for name, tensor in weights[0].items():
        assert (weights[1][name] - tensor).abs().max() < 1e-4, name


def test_sigterm_ends_both_processes_at_one_step_and_one_process_goes_on(runs, tmp_path):
    directory = tmp_path / "preempted"
    line = ["-m", "internvideo", *arguments(directory, CLASSES, processes=2)]
    process = subprocess.Popen(
        command(line, processes=2), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while len(read_log(directory / "log.jsonl")) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, shown = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "preempted at step" in shown
    assert not (directory / "model").exists()
    assert 2 <= torch.load(directory / "last.ckpt", weights_only=True)["step"] < 8
    run_processes(["-m", "internvideo", *arguments(directory, CLASSES)])
    assert_same_run(runs / "classes", directory)
