"""Fine-tuning from files to a report: the world as MSR-VTT, through its readers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from internvideo.cli.application import run
from internvideo.data import write_world
from internvideo.data.build import open_list
from internvideo.recipe import load_recipe
from internvideo.recipe.run import run_recipe
from internvideo.tasks.registry import all_architectures
from internvideo.world import World, vocabulary
from internvideo.zoo import load_model

RECIPE = """
name: tiny_retrieval
task: {{kind: retrieval}}
model:
  architecture: viclip
  vision: {{kind: VideoViT, image_size: 16, num_frames: 4, patch_size: 8, tubelet_size: 1, width: 16, depth: 1, num_heads: 2}}
  text: {{width: 16, depth: 1, num_heads: 2, context_length: 26, embed_dim: 16}}
  embed_dim: 16
  vocabulary: world
  temp_init: 0.1
preprocessing: {{num_frames: 4, sampling: per-second, frame_rate: 4, resize_rule: squash, resize_size: 16, crop_size: 16}}
data: {{kind: msrvtt, annotations: {root}/MSRVTT_train.9k.csv, videos: {root}/videos, every_caption: true}}
evaluation: {{data: {{kind: msrvtt, annotations: {root}/MSRVTT_JSFUSION_test.csv, videos: {root}/videos}}}}
optim: {{lr: 1.0e-3, bias_correction: false, decayed: all-but-biases, clip_grad_norm: 1, clip_each_grad_norm: 1}}
schedule: {{rule: bert-adam, epochs: 2, warmup_epochs: 0.2}}
runtime: {{batch_size: 8, num_workers: 0, threads: 1, log_every: 1, accelerator: cpu}}
"""  # noqa: E501


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("msrvtt")
    world = World(seed=3, size=16, num_frames=6, objects=("star", "circle"))
    write_world(root, 20, kind="msrvtt", world=world, captions=3, splits=(0.7, 0.1, 0.2))
    path = root / "tiny_retrieval.yaml"
    path.write_text(RECIPE.format(root=root))
    return path


def test_a_run_is_measured_by_what_it_finds(recipe, tmp_path, capsys):
    run_recipe(load_recipe(recipe), tmp_path / "run")
    steps = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    measured = [step for step in steps if "val_text_to_video_r1" in step]
    assert len(measured) == 2
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["text_to_video"]["plain"]["num_queries"] == 4
    best = load_model(tmp_path / "run/best")
    assert best.preprocessing.sampling == "per-second"
    line = ("evaluate", "retrieval", recipe, "--checkpoint", tmp_path / "run", "--json")
    again = asked(capsys, *line)
    assert again["text_to_video"] == report["text_to_video"]
    assert again["protocol"] == report["protocol"]


def test_a_model_with_a_header_is_trained_and_measured_pair_by_pair(recipe, tmp_path, capsys):
    plain = load_recipe(recipe)
    towers = {"kind": "ViCLIP", **plain.model, "vocabulary": list(vocabulary())}
    towers["text"] = {**towers["text"], "vocab_size": len(vocabulary()) + 4}
    del towers["architecture"]
    model = {
        "architecture": "retrieval/frames",
        "frames": "in-clip",
        "header": {"kind": "TokenWiseHeader", "weight_layers": 1},
        "towers": towers,
    }
    schedule = plain.schedule.model_copy(update={"epochs": 1})
    changes = {"name": "tiny_frames", "model": model, "schedule": schedule}
    recipe = plain.model_copy(update=changes)
    run_recipe(recipe, tmp_path / "run")
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["text_to_video"]["reranked"]["num_queries"] == 4
    loaded = load_model(tmp_path / "run/best", architectures=all_architectures())
    assert loaded.architecture == "retrieval/frames"
    data = recipe.evaluation.data
    line = ("evaluate", "retrieval", tmp_path / "run/best", "-d", data.annotations)
    again = asked(capsys, *line, "--root", data.videos, "--json")
    assert again["text_to_video"] == report["text_to_video"]
    # Every pair is reranked: these are the ranks by the header alone.
    found = scores(loaded, data)
    ranks = [int((row > row[place]).sum()) for place, row in enumerate(found)]
    assert again["text_to_video"]["reranked"]["MnR"] == 1 + sum(ranks) / len(ranks)


def asked(capsys, *line) -> dict:
    """Return what the command prints as json."""
    capsys.readouterr()
    assert run([str(word) for word in line]) == 0
    return json.loads(capsys.readouterr().out)


def scores(loaded, data) -> torch.Tensor:
    """Return the score of each caption with each video, by the model's own forward."""
    source = open_list("msrvtt", data.annotations, protocol=loaded.protocol, root=data.videos)
    places = range(len(source))
    clips = torch.cat([source.read_views(place, loaded.protocol).views for place in places])
    texts = loaded.tokenizer([source.clips[place].captions[0] for place in places])
    with torch.no_grad():
        return loaded.model(clips, texts)
