"""The promise of the house: a task is one room and one line of the registry."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import internvideo

PACKAGE = Path(internvideo.__file__).parent
ROOMS = sorted(path.parent.name for path in (PACKAGE / "tasks").glob("*/__init__.py"))
RECIPE = """
name: light
task: {kind: brightness, power: 1}
model: {num_cells: 2}
preprocessing: nano
data: {kind: world, num_clips: 64, seed: 5}
evaluation: {data: {kind: world, num_clips: 8, seed: 6}}
optim: {lr: 0.2, weight_decay: 0.0}
schedule: {epochs: 20}
runtime: {batch_size: 16, num_workers: 0, log_every: 5, save_every: 1}
"""
# Trains until it is told to stop by a signal, and once more to the end.
DRIVER = """
import json, os, signal, sys, threading, time
from pathlib import Path
from internvideo.cli.application import run

recipe, out = sys.argv[1], Path(sys.argv[2])

def stop():
    log = out / "log.jsonl"
    while not (log.exists() and log.stat().st_size):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=stop, daemon=True).start()
codes = [run(["train", recipe, "--out", str(out)])]
stopped = json.loads((out / "log.jsonl").read_text().splitlines()[-1])["step"]
codes.append(run(["train", recipe, "--out", str(out)]))
model = str(out / "model")
codes.append(run(["evaluate", "brightness", model, "--data", "world", "-n", "6", "--tolerance",
                  "0.5", "--out", str(out / "results"), "--json"]))
lines = (out / "results" / "predictions.jsonl").read_text().splitlines(keepends=True)
(out / "results" / "predictions.jsonl").write_text("".join(lines[:4]))
codes.append(run(["evaluate", "brightness", model, "--data", "world", "-n", "6", "--tolerance",
                  "0.5", "--out", str(out / "results"), "--plot", str(out / "plot.png")]))
codes.append(run(["evaluate", "brightness", recipe, "--checkpoint", str(out / "best"), "--json"]))
codes.append(run(["predict", "brightness", str(out / "clips" / "videos"), "-m", model, "--json"]))
print(json.dumps({"codes": codes, "stopped": stopped}))
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory) -> Path:
    """A copy of the package with one more room, and its line in the registry."""
    root = tmp_path_factory.mktemp("house")
    ignored = shutil.ignore_patterns("__pycache__", "weights")
    copy = Path(shutil.copytree(PACKAGE, root / "internvideo", ignore=ignored))
    (copy / "zoo" / "weights").symlink_to(PACKAGE / "zoo" / "weights")
    room = copy / "tasks" / "brightness"
    room.mkdir()
    shutil.copy(Path(__file__).parent / "brightness.py", room / "__init__.py")
    registry = copy / "tasks" / "registry.py"
    text = registry.read_text()
    text = text.replace("    captioning,\n", "    brightness,\n    captioning,\n", 1)
    registry.write_text(
        text.replace("captioning.TASK,\n", "captioning.TASK,\n    brightness.TASK,\n")
    )
    return root


@pytest.mark.slow
def test_a_task_is_a_room_and_a_line(house, tmp_path):
    """It trains from a recipe, resumes, evaluates and predicts from the command line, reports."""
    recipe, out = tmp_path / "light.yaml", tmp_path / "run"
    recipe.write_text(RECIPE)
    out.mkdir()
    world = internvideo.World(seed=3)
    (out / "clips" / "videos").mkdir(parents=True)
    for index in range(2):
        frames = torch.from_numpy(world[index].frames)
        internvideo.write_video(out / "clips" / "videos" / f"{index}.mp4", frames, fps=8)
    (out / "clips" / "videos" / "2.mp4").write_bytes(b"not a video")
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(recipe), str(out)],
        env={**os.environ, "PYTHONPATH": str(house), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    *printed, last = done.stdout.splitlines()
    outcome = json.loads(last)
    assert outcome["codes"] == [143, 0, 0, 0, 0, 1], done.stderr  # one clip is not a video
    assert 0 < outcome["stopped"] < 80
    assert json.loads((out / "log.jsonl").read_text().splitlines()[-1])["step"] == 80
    first, of_recipe, *predicted = [json.loads(line) for line in printed if line.startswith("{")]
    report = json.loads((out / "results" / "report.json").read_text())
    assert report == first
    assert report["within"] == 100
    assert report["mean_error"] < 0.2
    assert len((out / "results" / "predictions.jsonl").read_text().splitlines()) == 7
    assert (out / "plot.png").stat().st_size > 1000
    assert json.loads((out / "report.json").read_text())["mean_error"] == of_recipe["mean_error"]
    assert [Path(answer["video"]).name for answer in predicted] == ["0.mp4", "1.mp4"]
    assert all(abs(each["predicted"] - each["true"]) < 0.5 for each in predicted)


def imported_by(path: Path) -> set[str]:
    """Return the modules of the package that a file imports, type-checking imports included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
        elif isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
    return {name for name in found if name.startswith("internvideo.")}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_no_other_room_and_no_command(room):
    others = {f"internvideo.tasks.{other}" for other in ROOMS if other != room}
    above = ("cli", "demo", "doctor", "recipe", "pipeline", "tasks.registry")
    for path in (PACKAGE / "tasks" / room).rglob("*.py"):
        for name in imported_by(path):
            assert not any(name == each or name.startswith(f"{each}.") for each in others), path
            assert not name.startswith(tuple(f"internvideo.{each}" for each in above)), path
        assert "typer" not in path.read_text(encoding="utf-8"), path


def test_nobody_asks_for_a_task_by_its_class_outside_its_room():
    """Whatever depends on a task asks the record, so a new one changes nothing else."""
    # The front door has a method for some answers; the demo and the study put tasks together; an
    # agent walks by a verb of its own.
    doors = {"pipeline/model.py", "demo", "reproduce", "cli/navigate.py"}
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE).as_posix()
        if place.startswith("tasks/") or any(place.startswith(door) for door in doors):
            continue
        rooms = {
            name.split(".")[2]
            for name in imported_by(path)
            if name.startswith("internvideo.tasks.") and name.split(".")[2] in ROOMS
        }
        assert place.startswith("cli/reconstruct") or not rooms, (place, rooms)


def test_models_know_no_processes():
    for path in (PACKAGE / "models").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "torch.distributed" not in text, path
        assert not any(name.startswith("internvideo.train") for name in imported_by(path)), path


def test_no_file_is_longer_than_five_hundred_lines():
    long = {
        path.relative_to(PACKAGE).as_posix(): count
        for path in PACKAGE.rglob("*.py")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 500
    }
    assert not long
