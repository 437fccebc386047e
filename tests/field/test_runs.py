"""Runs that go on: data that have moved, more epochs, and refusals that name a way to go on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from internvideo.data import write_world
from internvideo.errors import ConfigError
from internvideo.recipe import load_recipe
from internvideo.recipe.run import run_recipe
from internvideo.train.checkpoint import load_state, save_state
from internvideo.train.stop import PreemptedError
from internvideo.world import World
from runs import assert_same_weights, learnt

CASES = Path(__file__).parents[3] / "shared" / "cases"
RECIPE = """
name: probe
task: {kind: supervised}
model: {num_classes: 28, image_size: 32, num_frames: 8, patch_size: 8, tubelet_size: 2, width: 16,
        depth: 1, num_heads: 2}
preprocessing: nano
data: {kind: kinetics, annotations: mine/train.csv, labels: mine/labels.txt}
evaluation: {data: {kind: kinetics, annotations: mine/val.csv, labels: mine/labels.txt},
             every_epochs: 2}
optim: {lr: 0.001, ema_decay: 0.5}
schedule: {epochs: 2}
runtime: {batch_size: 4, num_workers: 0, log_every: 1, threads: 1, accelerator: cpu}
"""
LONGER = ("schedule.epochs=3", "evaluation.every_epochs=2")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "mine"
    write_world(folder, 20, world=World(seed=11), workers=1)
    return folder


@pytest.fixture
def folder(world, tmp_path, monkeypatch) -> Path:
    """A folder with a recipe and its data in `mine/`, in which a run is started."""
    shutil.copytree(world, tmp_path / "mine")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(out: str, *overrides: str, extend: bool = False) -> Path:
    return run_recipe(load_recipe("recipe.yaml", overrides), Path(out), extend=extend)


def stop(out: str, monkeypatch, *overrides: str, after: int = 3, extend: bool = False) -> None:
    """Train for some steps and be stopped there."""
    from internvideo.train import loop

    step = loop.optimizer_step
    taken = []

    def counted(*args, **options):
        taken.append(None)
        if len(taken) > after:
            raise PreemptedError(after, 15)
        return step(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "optimizer_step", counted)
        with pytest.raises(PreemptedError):
            run(out, "runtime.save_every=1", *overrides, extend=extend)


def move(to: str) -> tuple[str, ...]:
    """Move the data; return the overrides that name the new place."""
    shutil.move("mine", to)
    return (
        f"data.annotations={to}/train.csv",
        f"data.labels={to}/labels.txt",
        f"evaluation.data.annotations={to}/val.csv",
        f"evaluation.data.labels={to}/labels.txt",
    )


def assert_same(one: str, other: str) -> None:
    assert_same_weights(f"{one}/model", f"{other}/model")
    assert learnt(one) == learnt(other)


def test_case_06_goes_on_where_the_data_were_moved(folder, monkeypatch):
    """The case's own recipe."""
    case = CASES / "06-resume-moved-data" / "recipe.yaml"
    if not case.is_file():
        pytest.skip("the case 06-resume-moved-data is not beside the project")
    Path("recipe.yaml").write_text(case.read_text())
    stop("runs/a", monkeypatch, "runtime.batch_size=4")
    run("runs/a", "runtime.batch_size=4", *move("moved"))
    assert load_recipe("runs/a/recipe.yaml").data.annotations == Path("moved/train.csv")


def test_moved_data_go_on_to_the_last_bit_and_it_is_said(folder, monkeypatch, caplog):
    run("runs/whole")
    stop("runs/a", monkeypatch)
    moved = move("scratch")
    run("runs/a", *moved)
    assert_same("runs/whole", "runs/a")
    assert "data.annotations was 'mine/train.csv', is 'scratch/train.csv'" in caplog.text
    assert "the same clips" in caplog.text
    caplog.clear()
    run("runs/a", *moved)
    assert "same clips" not in caplog.text, "said once: the run knows the new place"


def test_lists_with_absolute_paths_may_be_written_anew(folder, monkeypatch):
    def write(place: str) -> list[str]:
        for name in ("train", "val"):
            lines = (folder / place / f"{name}.csv").read_text().splitlines()
            text = "".join(f"{folder / place / line.removeprefix('!')}\n" for line in lines)
            (folder / f"{place}-{name}.csv").write_text(text)
        return [
            f"data.annotations={place}-train.csv",
            f"evaluation.data.annotations={place}-val.csv",
            "data.labels=null",
            "evaluation.data.labels=null",
        ]

    stop("runs/a", monkeypatch, *write("mine"))
    shutil.copytree("mine", "elsewhere/on/scratch")
    (folder / "elsewhere-train.csv").write_text("")
    overrides = write("elsewhere/on/scratch")
    shutil.rmtree("mine")
    run("runs/a", *overrides)


@pytest.mark.parametrize("what", ["lines", "labels", "videos", "missing"])
def test_other_data_elsewhere_are_refused_with_a_way_on(folder, monkeypatch, what):
    stop("runs/a", monkeypatch)
    moved = move("other")
    path = folder / "other/train.csv"
    lines = path.read_text().splitlines()
    if what == "lines":
        path.write_text("\n".join(reversed(lines)))
        reason = "names, parts, labels or captions"
    elif what == "labels":
        path.write_text("\n".join([*lines[:-1], lines[-1].rpartition(" ")[0] + " 27"]))
        reason = "names, parts, labels or captions"
    else:
        video = path.parent / lines[0].rpartition(" ")[0]
        video.write_bytes(video.read_bytes() + b"\0") if what == "videos" else video.unlink()
        reason = "bytes, has" if what == "videos" else "is not there"
    before = (folder / "runs/a/recipe.yaml").read_text()
    with pytest.raises(ConfigError, match=rf"data.annotations was.*{reason}.*init=runs/a"):
        run("runs/a", *moved)
    assert (folder / "runs/a/recipe.yaml").read_text() == before


def test_a_checkpoint_that_does_not_know_its_clips_goes_on_in_its_place(folder, monkeypatch):
    stop("runs/a", monkeypatch)
    for name in ("last.ckpt", "previous.ckpt"):  # as earlier versions wrote it
        state = load_state(folder / "runs/a" / name)
        del state["clips"]
        save_state(folder / "runs/a" / name, state)
    moved = move("moved")
    with pytest.raises(ConfigError, match=r"does not say which clips.*put them back.*init=runs/a"):
        run("runs/a", *moved)
    Path("mine").symlink_to("moved")
    run("runs/a")


def test_an_edited_list_goes_on_and_it_is_said(folder, monkeypatch, caplog):
    stop("runs/a", monkeypatch)
    path = folder / "mine/train.csv"
    path.write_text("\n".join(reversed(path.read_text().splitlines())))
    run("runs/a")
    assert "data has changed since the run began" in caplog.text


def test_a_mix_and_a_probe_move_too(folder, monkeypatch):
    part = {"kind": "kinetics", "annotations": "mine/train.csv"}
    mix = ["data=" + json.dumps({"kind": "mix", "sources": [{"data": part}]})]
    stop("runs/mix", monkeypatch, *mix)
    probe = [
        "task={kind: probe}",
        "model=" + json.dumps({"num_classes": 28, "encoder": _nano_encoder()}),
        "init=null",
    ]
    stop("runs/probe", monkeypatch, *probe, after=1)
    moved = move("moved")
    mix[0] = mix[0].replace("mine/", "moved/")
    run("runs/mix", *mix, *moved[2:])
    run("runs/probe", *probe, *moved)


def _nano_encoder() -> dict:
    encoder = load_recipe("world_videomae-nano").model["encoder"]
    small = {"width": 16, "depth": 1, "stem": {**encoder["stem"], "channels": [4, 4, 8]}}
    return {**encoder, **small}


def test_case_24_more_epochs_are_refused_with_both_ways(folder):
    run("runs/a")
    with pytest.raises(ConfigError, match=r"schedule.epochs was 2, is 3; --extend.*init=runs/a"):
        run("runs/a", *LONGER)


def test_a_finished_run_goes_on_for_longer(folder, caplog):
    run("runs/a")
    short = learnt("runs/a")
    run("runs/a", *LONGER, extend=True)
    records = learnt("runs/a")
    assert records[: len(short)] == short
    last = records[-1]["step"]
    assert last == short[-1]["step"] * 3 // 2
    rates = {record["step"]: record["lr"] for record in records if "lr" in record}
    assert rates[short[-1]["step"] + 1] > rates[short[-1]["step"]], "it follows the longer schedule"
    assert "learning rate follows the longer schedule" in caplog.text
    assert load_recipe("runs/a/recipe.yaml").schedule.epochs == 3
    assert json.loads(Path("runs/a/report.json").read_text())
    before = Path("runs/a/last.ckpt").stat().st_mtime_ns
    run("runs/a", *LONGER)
    run("runs/a", *LONGER, extend=True)
    assert Path("runs/a/last.ckpt").stat().st_mtime_ns == before


def test_an_extended_run_that_is_stopped_goes_on_to_the_same_end(folder, monkeypatch):
    run("runs/a")
    shutil.copytree("runs/a", "runs/b")
    run("runs/a", *LONGER, extend=True)
    stop("runs/b", monkeypatch, *LONGER, after=1, extend=True)
    run("runs/b", *LONGER)
    assert_same("runs/a", "runs/b")


def test_a_stopped_run_goes_on_for_longer(folder, monkeypatch):
    stop("runs/a", monkeypatch)
    run("runs/a", "schedule.steps=11", extend=True)
    assert learnt("runs/a")[-1]["step"] == 11


def test_what_cannot_be_extended(folder, monkeypatch):
    with pytest.raises(ConfigError, match="no run to extend in runs/a"):
        run("runs/a", *LONGER, extend=True)
    stop("runs/a", monkeypatch)
    with pytest.raises(ConfigError, match=r"steps, \d are fewer.*init=runs/a"):
        run("runs/a", "schedule.epochs=1", extend=True)
    with pytest.raises(ConfigError, match=r"optim.lr was 0.001, is 0.5; undo.*init=runs/a"):
        run("runs/a", *LONGER, "optim.lr=0.5", extend=True)
    with pytest.raises(ConfigError, match=r"4 videos a step.*init=runs/a"):
        run("runs/a", "runtime.batch_size=8")


@pytest.mark.parametrize("finished", [True, False])
def test_the_way_that_a_refusal_names_keeps_the_weights(folder, monkeypatch, finished):
    if finished:
        run("runs/a", "evaluation=null")
        weights = load_file("runs/a/model/model.safetensors")
    else:
        stop("runs/a", monkeypatch, "evaluation=null")
        average = load_state(folder / "runs/a/last.ckpt")["average"]
        weights = {name.removeprefix("model."): tensor for name, tensor in average.items()}
    recipe = yaml.safe_load(RECIPE)
    Path("recipe.yaml").write_text(yaml.safe_dump({**recipe, "init": "runs/a"}))
    run("runs/b", "optim.lr=1.0e-12", "optim.weight_decay=0", "optim.ema_decay=null")
    started = load_file("runs/b/model/model.safetensors")
    shared = [n for n in weights if n in started and not n.startswith("head")]
    assert len(shared) > 5
    for name in shared:
        torch.testing.assert_close(weights[name], started[name], atol=1e-8, rtol=1e-5)


def test_a_start_that_moved_or_is_gone_does_not_stop_a_run(folder, monkeypatch):
    run("runs/first", "evaluation=null", "schedule.steps=1")
    shutil.copytree("runs/first/model", "weights/start")
    stop("runs/a", monkeypatch, "init=weights/start")
    shutil.move("weights", "elsewhere")
    run("runs/a", "init=elsewhere/start")
    shutil.rmtree("elsewhere")
    run("runs/a", "init=weights/start")
    with pytest.raises(ConfigError, match=r"init was '.*/start', is 'other'"):
        run("runs/a", "init=other")
