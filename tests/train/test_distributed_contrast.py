"""Contrast over the pairs of two processes: the same run as in one that has them all."""

from __future__ import annotations

import pytest
from safetensors.torch import load_file

from internvideo.train.journal import read_log
from train.launch import train

RECIPE = """
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


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs") / "alone", RECIPE)


# FSDP2 cannot shard the temperature, a single number: it is averaged beside the shards.
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_contrast_all_their_pairs(alone, tmp_path, strategy):
    shared = train(tmp_path / strategy, RECIPE, f"runtime.strategy={strategy}", processes=2)
    curves = [read_log(directory / "log.jsonl") for directory in (alone, shared)]
    assert len(curves[0]) == 4
    for one, other in zip(*curves, strict=True):
        for name in ("loss", "accuracy", "grad_norm"):
            assert other[name] == pytest.approx(one[name], rel=1e-4), (name, one["step"])
    weights = [load_file(d / "model" / "model.safetensors") for d in (alone, shared)]
    assert float(weights[0]["temp"]) != pytest.approx(0.07, abs=1e-5), "it learns"
    for name, tensor in weights[0].items():
        assert (weights[1][name] - tensor).abs().max() < 1e-4, name
