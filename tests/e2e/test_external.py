"""Encoders of other libraries through the front door: probe, predict, sentences, measures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

import internvideo as iv
from internvideo.cli.application import run
from internvideo.data import write_world
from internvideo.errors import ConfigError
from internvideo.evaluation.data import AnnotatedData
from internvideo.models.external import ExternalProbe
from internvideo.recipe import load_recipe
from internvideo.recipe.building import with_external_encoder
from internvideo.world import World
from zoo.external_models import save, save_open_clip

NUM_CLASSES = 28


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("world")
    write_world(
        root, 28, world=World(seed=9, size=32, num_frames=16), splits=(16 / 28, 0.0, 12 / 28)
    )
    return root


def first_video(world: Path) -> str:
    return str(world / (world / "test.csv").read_text().splitlines()[0].rpartition(" ")[0])


def recipe(path: Path, world: Path, init: str, **changes) -> Path:
    values = {
        "name": path.stem,
        "task": {"kind": "probe"},
        "model": {"num_classes": NUM_CLASSES},
        "init": init,
        "data": {"kind": "kinetics", "annotations": str(world / "train.csv")},
        "evaluation": {"data": {"kind": "kinetics", "annotations": str(world / "test.csv")}},
        "optim": {"lr": 1e-2},
        "schedule": {"epochs": 2, "warmup_epochs": 0},
        "runtime": {"batch_size": 4, "num_workers": 0, "log_every": 1, "accelerator": "cpu"},
    }
    path.write_text(yaml.safe_dump(values | changes))
    return path


@pytest.mark.parametrize(
    ("name", "head", "sampling"),
    [
        ("vjepa2", "attentive", None),
        ("clip", "linear", {"rule": "segment"}),
        ("open-clip-clip", "linear", None),
    ],
)
def test_a_probe_of_an_external_encoder_trains_and_predicts(
    world, tmp_path, capsys, name, head, sampling
):
    folder = tmp_path / "encoder"
    if name == "open-clip-clip":
        save_open_clip("clip", folder)
        init = f"open-clip:{folder}"
    else:
        save(name, folder)
        init = f"hf:{folder}"
    encoder = iv.load(init)
    task = {"kind": "probe", "head": head, "num_heads": 2}
    file = recipe(tmp_path / "mine.yaml", world, init, task=task, sampling=sampling)
    assert run(["train", str(file), "--out", str(tmp_path / "run")]) == 0

    # the run needs neither the folder nor the hub any more
    folder.rename(tmp_path / "elsewhere")
    model = iv.load(tmp_path / "run" / "model")
    assert isinstance(model.model, ExternalProbe)
    assert model.preprocessing == encoder.preprocessing
    assert len(model.labels or ()) == NUM_CLASSES
    clip = encoder.preprocessing.load(iv.Video(first_video(world)))
    with torch.no_grad():
        mine = model.model.forward_features(clip).tokens
        torch.testing.assert_close(mine, encoder.model.forward_features(clip).tokens)
    capsys.readouterr()
    arguments = ["predict", "recognition", first_video(world), "--json"]
    assert run([*arguments, "-m", str(tmp_path / "run" / "model")]) == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[0])
    assert answer["predictions"][0]["label"] in (model.labels or ())
    resolved = tmp_path / "run" / "recipe.yaml"
    assert run(["evaluate", "recognition", str(resolved), "--checkpoint", str(tmp_path / "run"),
                "--json"]) == 0  # fmt: skip
    assert 0 <= json.loads(capsys.readouterr().out)["top1"] <= 100
    assert json.loads((tmp_path / "run" / "report.json").read_text())


def test_the_recipe_takes_the_shape_and_the_protocol_of_its_start(world, tmp_path):
    save("videomae", tmp_path / "encoder")
    init = f"hf:{tmp_path / 'encoder'}"
    resolved = with_external_encoder(load_recipe(recipe(tmp_path / "mine.yaml", world, init)))
    assert resolved.model["architecture"] == "external/probe"
    assert resolved.model["encoder"]["network"] == "VideoMAEModel"
    assert resolved.preprocessing == iv.load(init).preprocessing.to_dict()
    (tmp_path / "resolved.yaml").write_text(resolved.to_yaml())
    once_more = load_recipe(tmp_path / "resolved.yaml")
    assert with_external_encoder(once_more) == once_more
    own = load_recipe(recipe(tmp_path / "own.yaml", world, init, preprocessing="nano"))
    assert with_external_encoder(own).preprocessing == "nano"
    other = recipe(tmp_path / "other.yaml", world, init, task={"kind": "supervised"})
    with pytest.raises(ConfigError, match=r"starts a probe, not a supervised task"):
        with_external_encoder(load_recipe(other))


def test_sentences_and_classes_of_external_models(world, tmp_path, capsys):
    save("clip", tmp_path / "clip")
    save("videomae-classifier", tmp_path / "classifier")
    video, source = first_video(world), f"hf:{tmp_path / 'clip'}"
    towers = iv.load(source)
    assert towers.name == source
    labels = ["a dog plays", "a man", "snow"]
    answer = towers.classify(video, labels)
    cosines = towers.embed_video(video) @ towers.embed_text(labels).T
    assert answer.label == labels[int(cosines.argmax())]
    assert answer.scores == pytest.approx(sorted(cosines[0].tolist(), reverse=True), abs=1e-5)
    assert run(["classify", video, "--model", source, "-l", "a dog", "-l", "a man"]) == 0
    questions = write_world(
        tmp_path / "questions",
        4,
        kind="multiple-choice",
        world=World(seed=9, size=32, num_frames=16),
    )
    asked = AnnotatedData(path=str(questions.annotations[0]))
    of_world = AnnotatedData(path="world", num_clips=8)
    for task, data in (("zero-shot", of_world), ("retrieval", of_world),
                       ("multiple-choice", asked)):  # fmt: skip
        report = iv.evaluate(towers, data, task)
        assert 0 <= next(iter(report.metrics().values())) <= 100
    classifier = iv.load(f"hf:{tmp_path / 'classifier'}")
    assert classifier.labels == tuple(f"action {n}" for n in range(5))
    assert classifier.classify(video)
    [row] = classifier.embed_many([video])
    assert row.shape == (16,)
    save("dinov2", tmp_path / "dino")
    encoder = iv.load(f"hf:{tmp_path / 'dino'}")
    with pytest.raises(ConfigError, match=r"text tower.*classes"):
        encoder.classify(video, ["a dog"])
    capsys.readouterr()
    assert run(["embed", video, "--model", source, "--out", str(tmp_path / "rows.npz")]) == 0


def test_a_mistake_is_one_line(capsys, world, tmp_path):
    assert run(["classify", first_video(world), "--model", "hf:/no/folder"]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert run(["classify", first_video(world), "--model", "open-clip:ViT-B-32"]) == 2
    assert "random" in capsys.readouterr().err
