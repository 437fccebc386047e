from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import internvideo as iv
from internvideo.data import write_world
from internvideo.errors import CheckpointError, ConfigError, DataError
from internvideo.recipe import load_recipe
from internvideo.recipe.run import prepare_run, run_recipe
from internvideo.train.log import read_log
from internvideo.train.schedules import Schedule
from internvideo.world import ACTIONS, World
from runs import assert_same_weights, learnt

TINY = [
    "data.num_clips=48",
    "runtime.batch_size=8",
    "runtime.num_workers=0",
    "runtime.save_every=1",
    "runtime.log_every=1",
    "model.encoder.width=16",
    "model.encoder.depth=1",
    "model.encoder.stem.channels=[4, 4, 8]",
    "model.decoder_width=16",
    "model.decoder_depth=1",
]
# Everything at once that a resumed run has to get right: augmentation in the worker and on the
# device, mixed clips, drop path, accumulation, averaged weights, schedules, evaluation.
SUPERVISED = """
name: tiny
task: {kind: supervised, repeats: 2}
model: {num_classes: 28, image_size: 32, num_frames: 16, patch_size: 16, width: 16, depth: 2,
        num_heads: 2, drop_path_rate: 0.2, init_scale: 1.0}
preprocessing: {num_frames: 16, sampling: middle, resize_rule: squash, resize_size: 32,
                crop_size: 32}
augmentation: videomae-finetune
data: {kind: world, num_clips: 24}
evaluation: {data: {kind: world, num_clips: 6, start: 1000}}
optim: {lr: 0.002, lr_batch_size: 4, layer_decay: 0.75, clip_grad_norm: 1.0, ema_decay: 0.6,
        weight_decay_end: 0.2}
schedule: {rule: videomae, epochs: 2, warmup_epochs: 0.5, min_lr: 1.0e-6}
runtime: {batch_size: 2, accumulate: 2, num_workers: 1, log_every: 1, save_every: 2, threads: 1,
          accelerator: cpu}
"""


def supervised(directory: Path, *overrides: str):
    path = directory / "recipe-given.yaml"
    path.write_text(SUPERVISED)
    return load_recipe(path, overrides)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs")
    torch.manual_seed(99)  # a run seeds itself
    run_recipe(supervised(directory), directory / "whole")
    return directory / "whole"


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "pretrained"
    run_recipe(load_recipe("world_videomae-nano", TINY), directory)
    return directory


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_same_command_and_ends_the_same(uninterrupted, tmp_path):
    supervised(tmp_path)
    directory = tmp_path / "killed"
    given = str(tmp_path / "recipe-given.yaml")
    command = [sys.executable, "-m", "internvideo", "train", given, "--out", str(directory)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(read_log(directory / "log.jsonl")) < 3 and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (directory / "model").exists(), "the run ended before it could be killed"

    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "resuming from step" in done.stderr
    assert learnt(directory) == learnt(uninterrupted)
    for folder in ("model", "best"):
        assert_same_weights(uninterrupted / folder, directory / folder)
    reports = [json.loads((d / "report.json").read_text()) for d in (uninterrupted, directory)]
    assert reports[0] == reports[1]


def test_a_run_leaves_its_recipe_its_curves_and_a_model_that_knows_its_classes(uninterrupted):
    assert load_recipe(uninterrupted / "recipe.yaml").data.num_clips == 24
    for name in ("curves.png", "log.csv", "last.ckpt", "predictions.jsonl"):
        assert (uninterrupted / name).stat().st_size > 0
    assert not (uninterrupted / "previous.ckpt").exists(), "a finished run needs the last one only"
    model = iv.load(uninterrupted / "model")
    assert model.loaded.labels == ACTIONS
    hidden = {path.name for path in uninterrupted.iterdir() if path.name.startswith(".")}
    assert hidden <= {".lock"}, "nothing half written"
    measured = [r["val_top1"] for r in learnt(uninterrupted) if "val_top1" in r]
    assert len(measured) == 2
    best = torch.load(uninterrupted / "last.ckpt")["best"]
    assert best[:2] == ["top1", max(measured)]


def test_a_finished_run_is_not_trained_again(uninterrupted):
    before = (uninterrupted / "last.ckpt").stat().st_mtime_ns
    records = learnt(uninterrupted)
    run_recipe(load_recipe(uninterrupted / "recipe.yaml"), uninterrupted)
    assert (uninterrupted / "last.ckpt").stat().st_mtime_ns == before
    assert learnt(uninterrupted) == records


def test_bfloat16_is_used_and_stays_close_to_float32(pretrained, tmp_path, monkeypatch):
    monkeypatch.setattr("internvideo.train.distribution.bf16_units", lambda: "amx")
    recipe = load_recipe("world_videomae-nano", [*TINY, "runtime.precision=bf16-mixed"])
    run_recipe(recipe, tmp_path)
    exact, rounded = (read_log(d / "log.jsonl") for d in (pretrained, tmp_path))
    for one, other in zip(exact, rounded, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=0.02)
        assert other["loss"] != one["loss"]


def test_activation_checkpointing_changes_no_number(pretrained, tmp_path):
    overrides = ["runtime.activation_checkpointing=true"]
    run_recipe(load_recipe("world_videomae-nano", [*TINY, *overrides]), tmp_path)
    assert_same_weights(pretrained / "model", tmp_path / "model")


def test_other_settings_do_not_continue_a_run_and_are_named(uninterrupted, tmp_path):
    recipe = supervised(tmp_path, "optim.lr=0.1", "model.depth=3")
    text = (uninterrupted / "recipe.yaml").read_text()
    with pytest.raises(ConfigError, match=r"model\.depth.*2.*3.*optim\.lr.*0\.002.*0\.1"):
        run_recipe(recipe, uninterrupted)
    assert (uninterrupted / "recipe.yaml").read_text() == text


def test_bookkeeping_may_change_when_a_run_goes_on(uninterrupted, tmp_path):
    recipe = supervised(tmp_path, "runtime.num_workers=0", "name=other", "runtime.batch_size=4",
                        "runtime.accumulate=1")  # fmt: skip
    run_recipe(recipe, uninterrupted)


def test_too_few_clips_are_refused(tmp_path):
    recipe = load_recipe("world_videomae-nano", [*TINY, "data.num_clips=7"])
    with pytest.raises(DataError, match=r"7 clips.*runtime\.batch_size"):
        run_recipe(recipe, tmp_path)


@pytest.fixture(scope="module")
def kinetics(tmp_path_factory):
    return write_world(
        tmp_path_factory.mktemp("kinetics"), 12, world=World(seed=0), workers=1
    ).annotations[0]


def listed(annotations: Path) -> list[str]:
    return [
        "data=" + json.dumps({"kind": "kinetics", "annotations": str(annotations)}),
        "augmentation=null",
        "evaluation=null",
        "schedule.epochs=1",
        "runtime.batch_size=1",
    ]


def test_a_label_outside_the_classes_is_found_before_training(kinetics, tmp_path):
    lines = kinetics.read_text().splitlines()
    lines[3] = lines[3].rpartition(" ")[0] + " 28"
    annotations = kinetics.with_name("outside.csv")
    annotations.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"outside.csv:4.*28"):
        run_recipe(supervised(tmp_path, *listed(annotations)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_evaluation_that_cannot_be_read_is_found_before_training(kinetics, tmp_path):
    nothing = tmp_path / "nothing.csv"
    nothing.write_text("a.mp4 0\nb.mp4 1\n")
    evaluation = json.dumps({"data": {"kind": "kinetics", "annotations": str(nothing)}})
    recipe = supervised(tmp_path, *listed(kinetics), f"evaluation={evaluation}")
    with pytest.raises(DataError, match=r"b\.mp4"):
        run_recipe(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_corrupted_video_is_skipped_and_listed(kinetics, tmp_path):
    names = [line.rpartition(" ")[0] for line in kinetics.read_text().splitlines()]
    video = kinetics.parent / names[1]
    whole = video.read_bytes()
    video.write_bytes(whole[:100])
    try:
        run_recipe(supervised(tmp_path, *listed(kinetics)), tmp_path / "run")
    finally:
        video.write_bytes(whole)
    (entry,) = map(json.loads, (tmp_path / "run" / "skipped.jsonl").open())
    assert entry["key"] == str(video)
    assert entry["epoch"] == 0
    assert video.name in entry["reason"]
    assert read_log(tmp_path / "run" / "log.jsonl")[-1]["skipped"] == 1


def test_a_checkpoint_of_another_size_is_refused_in_one_line(pretrained, tmp_path):
    recipe = supervised(tmp_path, f"init={pretrained / 'model'}")
    with pytest.raises(CheckpointError, match="encoder") as caught:
        run_recipe(recipe, tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_an_evaluation_needs_a_task_with_a_measure(tmp_path):
    overrides = ['evaluation={"data": {"kind": "world", "num_clips": 5}}']
    with pytest.raises(ConfigError, match=r"masked .*evaluation"):
        run_recipe(load_recipe("world_videomae-nano", [*TINY, *overrides]), tmp_path)


def test_contrastive_training_starts_from_the_masked_encoder(pretrained, tmp_path):
    overrides = [
        f"init={pretrained / 'model'}",
        "data.num_clips=16",
        "runtime.batch_size=8",
        "runtime.num_workers=0",
        "model.vision.width=16",
        "model.vision.depth=1",
        "model.vision.stem.channels=[4, 4, 8]",
        "model.text.width=16",
        "model.text.depth=1",
    ]
    model = run_recipe(load_recipe("world_viclip-nano", overrides), tmp_path)
    assert (model / "model.safetensors").exists()
    last = read_log(tmp_path / "log.jsonl")[-1]
    assert last["loss"] > 0
    assert 0 <= last["accuracy"] <= 1


@pytest.mark.parametrize("head", ["linear", "attentive"])
def test_a_probe_trains_its_head_and_leaves_the_encoder(pretrained, tmp_path, head):
    encoder = load_recipe("world_videomae-nano", TINY).model["encoder"]
    recipe = supervised(
        tmp_path,
        "task=" + json.dumps({"kind": "probe", "head": head, "num_heads": 2}),
        "model=" + json.dumps({"num_classes": 28, "encoder": encoder}),
        f"init={pretrained / 'model'}",
        "preprocessing=nano",
        "augmentation=null",
        "optim.layer_decay=null",
        "evaluation.final_views=false",
    )
    run_recipe(recipe, tmp_path / "run")
    given = load_file(pretrained / "model" / "model.safetensors")
    trained = load_file(tmp_path / "run" / "model" / "model.safetensors")
    shared = given.keys() & trained.keys()
    assert any(name.startswith("encoder.blocks") for name in shared)
    for name in shared:
        assert torch.equal(given[name], trained[name]), name
    assert trained["head.weight"].abs().sum() > 0
    assert learnt(tmp_path / "run")[-1]["val_top1"] >= 0


def test_low_rank_training_goes_on_exactly_and_leaves_a_plain_model(
    uninterrupted, tmp_path, monkeypatch
):
    recipe = supervised(tmp_path, "lora.rank=2", f"init={uninterrupted}", "schedule.epochs=1")
    run_recipe(recipe, tmp_path / "whole")
    before, after = (
        load_file(run / "best" / "model.safetensors") for run in (uninterrupted, tmp_path / "whole")
    )
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        if name.endswith(("attn.qkv.weight", "attn.proj.weight")):
            assert torch.linalg.matrix_rank(after[name] - tensor, rtol=1e-3) == 2, name
        elif name.startswith(("head", "fc_norm")):
            assert not torch.equal(after[name], tensor), name
        else:
            assert torch.equal(after[name], tensor), name

    apply_ = Schedule.apply_

    def break_off(self: Schedule, optimizer: torch.optim.Optimizer, step: int) -> float:
        if step == 4:
            raise RuntimeError("the machine is gone")
        return apply_(self, optimizer, step)

    with monkeypatch.context() as patch:
        patch.setattr(Schedule, "apply_", break_off)
        with pytest.raises(RuntimeError, match="gone"):
            run_recipe(recipe, tmp_path / "stopped")
    weights = torch.load(tmp_path / "stopped" / "last.ckpt")["average"]
    name = "model.blocks.1.attn.qkv"
    start = recipe.model_copy(update={"lora": None, "init": str(tmp_path / "stopped")})
    started = prepare_run(start, tmp_path / "next").task.state_dict()[f"{name}.weight"]
    adapted = f"{name}.parametrizations.weight"
    down, up = weights[f"{adapted}.0.down"], weights[f"{adapted}.0.up"]
    torch.testing.assert_close(started, weights[f"{adapted}.original"] + 16 / 2 * up @ down)

    run_recipe(recipe, tmp_path / "stopped")
    assert learnt(tmp_path / "stopped") == learnt(tmp_path / "whole")
    assert_same_weights(tmp_path / "whole" / "model", tmp_path / "stopped" / "model")
