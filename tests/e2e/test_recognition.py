"""Your own videos to a measured classifier: annotations, `train`, `evaluate`, `predict actions`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from internvideo.cli.application import run
from internvideo.data import write_world
from internvideo.world import World
from internvideo.zoo import load_model

NUM_CLASSES = 28
PROTOCOL = {
    "num_frames": 4, "sampling": "dense", "frame_stride": 2, "num_clips": 2, "num_crops": 3,
    "resize_size": 32, "crop_size": 32,
}  # fmt: skip
ENCODER = {
    "image_size": 32, "num_frames": 4, "patch_size": 16, "width": 64, "depth": 1, "num_heads": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("world")
    write_world(
        root, 28, world=World(seed=9, size=32, num_frames=16), splits=(16 / 28, 0.0, 12 / 28)
    )
    return root


def recipe(path: Path, world: Path, **changes) -> Path:
    values = {
        "name": path.stem,
        "task": {"kind": "supervised", "repeats": 2},
        "model": {**ENCODER, "num_classes": NUM_CLASSES},
        "preprocessing": PROTOCOL,
        "augmentation": "videomae-finetune",
        "sampling": {"rule": "dense", "frame_stride": 2},
        "data": {"kind": "kinetics", "annotations": str(world / "train.csv")},
        "evaluation": {"data": {"kind": "kinetics", "annotations": str(world / "test.csv")}},
        "optim": {"lr": 1e-3, "layer_decay": 0.75, "ema_decay": 0.9},
        "schedule": {"rule": "videomae", "epochs": 2, "warmup_epochs": 1},
        "runtime": {"batch_size": 4, "num_workers": 0, "log_every": 1, "accelerator": "cpu"},
    }
    path.write_text(yaml.safe_dump(values | changes))
    return path


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory) -> tuple[Path, Path]:
    """Return a recipe and the directory of its run."""
    root = tmp_path_factory.mktemp("trained")
    file = recipe(root / "mine.yaml", world)
    assert run(["train", str(file), "--out", str(root / "run")]) == 0
    return file, root / "run"


def percent(hits) -> float:
    return 100 * float(np.mean(hits))


def evaluated(capsys, *arguments: object) -> dict:
    capsys.readouterr()
    assert run([str(argument) for argument in ("evaluate", *arguments, "--json")]) == 0
    return json.loads(capsys.readouterr().out)


def test_fine_tuning_then_evaluation_gives_the_numbers_of_its_predictions(
    world, trained, tmp_path, capsys
):
    (file, out), results = trained, tmp_path / "test"
    report = evaluated(capsys, file, "--checkpoint", out, "--out", results)
    lines = [json.loads(line) for line in (results / "predictions.jsonl").read_text().splitlines()]
    truth = [int(line.rpartition(" ")[2]) for line in (world / "test.csv").read_text().splitlines()]
    best = np.argsort([[-score for score in line["scores"]] for line in lines[1:]], kind="stable")
    assert [line["label"] for line in lines[1:]] == truth
    assert [line["num_views"] for line in lines[1:]] == [6] * 12
    assert report["num_videos"] == 12
    assert report["top1"] == pytest.approx(percent(best[:, 0] == truth))
    assert report["top5"] == pytest.approx(
        percent([label in row[:5] for label, row in zip(truth, best, strict=True)])
    )
    shares = [
        np.mean([row[0] == label for row, own in zip(best, truth, strict=True) if own == label])
        for label in set(truth)
    ]
    assert report["mean_class_accuracy"] == pytest.approx(percent(shares))
    # What the training run measured of its best weights is what `evaluate` measures of them.
    own = json.loads((out / "report.json").read_text())
    assert (own["top1"], own["top5"]) == (report["top1"], report["top5"])
    # The annotations alone, with the model's own protocol, are another way to the same.
    assert evaluated(capsys, out, "--data", world / "test.csv")["top1"] == report["top1"]

    clip = world / "videos" / "clip_000020.mp4"
    capsys.readouterr()
    assert run(["predict", "actions", str(clip), "-m", str(out), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    line = lines[1 + 20 - 16]
    assert line["video"].endswith("clip_000020.mp4")
    for row, probability in zip(answer["predictions"], line["probabilities"], strict=True):
        assert row["probability"] == pytest.approx(probability, abs=1e-5)


@pytest.mark.parametrize("head", ["linear", "attentive"])
def test_probing_trains_on_kept_features(world, tmp_path, capsys, monkeypatch, head):
    monkeypatch.setattr("internvideo.train.log.draw_curves", lambda *_: None)
    file = recipe(
        tmp_path / "probe.yaml",
        world,
        task={"kind": "probe", "head": head, "num_heads": 2},
        model={"encoder": ENCODER, "num_classes": NUM_CLASSES},
        augmentation=None,
        sampling=None,
        optim={"lr": 1e-2},
    )
    out = tmp_path / "run"
    assert run(["train", str(file), "--out", str(out)]) == 0
    assert [path.name for path in (out / "features").glob("*.safetensors")] == [
        "part-0-00000.safetensors"
    ]
    report = evaluated(capsys, file, "-c", out)
    assert report["num_videos"] == 12
    assert report == evaluated(capsys, file, "-c", out / "best") | {"model": report["model"]}


def test_weights_of_another_size_are_refused(trained, capsys):
    file, out = trained
    for change, message in [
        ("model.num_classes=30", "head.weight [28, 64] instead of [30, 64]"),
        ("model.width=128", "fit the model of mine"),
        ("model.depth=2", "missing: blocks.1"),
    ]:
        capsys.readouterr()
        assert run(["evaluate", str(file), change, "-c", str(out)]) == 2
        error = capsys.readouterr().err
        assert message in error, error
        assert len(error.splitlines()) == 1


def test_an_official_file_is_measured_by_the_protocol_of_the_recipe(trained, tmp_path, capsys):
    file, out = trained
    network = load_model(out).model
    torch.save({"module": network.state_dict(), "epoch": 3}, tmp_path / "official.pth")
    report = evaluated(capsys, file, "-c", out)
    same = evaluated(capsys, file, "-c", tmp_path / "official.pth")
    assert same["top5"] == report["top5"]
    assert same["protocol"] == report["protocol"]
    center = evaluated(capsys, file, "preprocessing.num_crops=1", "-c", out)
    assert "2 clips x 1 crop" in center["protocol"]


def test_what_a_recipe_lacks_is_told(trained, world, tmp_path, capsys):
    file, out = trained
    (tmp_path / "empty").mkdir()
    for arguments, message in [
        ([recipe(tmp_path / "unmeasured.yaml", world, evaluation=None), "-c", out],
         "names no evaluation.data"),
        ([tmp_path / "gone.yaml", "-c", out], "no recipe"),
        ([file, "-c", tmp_path / "gone"], "no such file or folder"),
        ([file, "-c", tmp_path / "empty"], "has no config.json"),
        ([file, "evaluation.data.annotations=gone.csv", "-c", out], "gone.csv"),
    ]:  # fmt: skip
        capsys.readouterr()
        assert run([str(each) for each in ("evaluate", *arguments)]) == 2
        error = capsys.readouterr().err
        assert message in error, error
        assert len(error.splitlines()) == 1
