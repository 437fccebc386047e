from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from internvideo.data import write_world
from internvideo.models.classifier import VideoClassifier, VideoClassifierConfig
from internvideo.world import World
from internvideo.zoo import save_pretrained

NUM_CLASSES = 28


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A world in the files of Kinetics, with one broken and one missing video in `bad.csv`."""
    root = tmp_path_factory.mktemp("world")
    write_world(root, 15, world=World(seed=3, size=32, num_frames=8), splits=(0.0, 0.0, 1.0))
    lines = (root / "test.csv").read_text().splitlines()
    (root / "broken.mp4").write_text("no video")
    bad = [lines[0], "broken.mp4 4", lines[1], "gone.mp4 5"]
    (root / "bad.csv").write_text("\n".join(bad) + "\n")
    (root / "outside.csv").write_text(f"{lines[0]}\nvideos/clip_000001.mp4 28\n")
    (root / "nothing.csv").write_text("")
    return root


def classifier(folder: Path, *, width: int = 32, labels: tuple[str, ...] | None = None) -> Path:
    torch.manual_seed(4)
    config = VideoClassifierConfig(
        num_classes=NUM_CLASSES, init_scale=1.0, image_size=32, num_frames=4, patch_size=16,
        width=width, depth=1, num_heads=2,
    )  # fmt: skip
    return save_pretrained(
        VideoClassifier(config), folder, preprocessing=tiny.MULTI_VIEW, labels=labels
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return classifier(tmp_path_factory.mktemp("run") / "model")


def test_numbers_equal_those_of_the_predictions_file(call, model, world, tmp_path):
    out = tmp_path / "results"
    code, printed, err = call(
        "evaluate", model, "--data", world / "test.csv", "--out", out, "--json",
        "--plot", out / "report.png",
    )  # fmt: skip
    assert (code, err) == (0, f"note: wrote {out / 'report.png'}\n")
    report = json.loads(printed)
    assert json.loads((out / "report.json").read_text()) == report
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    scores = np.array([line["scores"] for line in lines[1:]])
    truth = [int(line.rpartition(" ")[2]) for line in (world / "test.csv").read_text().splitlines()]
    order = np.argsort(-scores, axis=1, kind="stable")
    assert report["num_videos"] == 15
    assert report["top1"] == pytest.approx(100 * np.mean(order[:, 0] == truth))
    assert report["top5"] == pytest.approx(
        100 * np.mean([label in row[:5] for label, row in zip(truth, order, strict=True)])
    )
    assert report["protocol"] == tiny.MULTI_VIEW.describe()
    assert report["chance"] == pytest.approx(100 / NUM_CLASSES)
    names = (world / "labels.txt").read_text().split("\n")[:NUM_CLASSES]
    assert [row["label"] for row in report["classes"]] in (names, [f"class {i}" for i in range(28)])
    assert (out / "report.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_directory_stands_for_its_model_and_one_view_may_be_enough(call, model, world):
    code, out, _ = call("evaluate", model.parent, "-d", world / "test.csv", "--views", "center")
    assert code == 0
    assert "1 clip x 1 crop" in out
    assert "top-1" in out


def test_videos_that_cannot_be_read_are_counted_listed_and_fail_when_strict(call, model, world):
    code, out, err = call("evaluate", model, "-d", world / "bad.csv", "--json")
    report = json.loads(out)
    assert code == 0
    assert (report["num_videos"], report["num_failed"]) == (2, 2)
    assert [Path(each["video"]).name for each in report["failures"]] == ["broken.mp4", "gone.mp4"]
    assert report["top1_of_all"] == pytest.approx(report["top1"] / 2)
    assert "2 of 4 videos could not be used" in err
    assert "gone.mp4" in err
    code, out, _ = call("evaluate", model, "-d", world / "bad.csv", "--strict")
    assert code == 1
    assert "could not be read" in out


def test_nothing_readable_is_an_error(call, model, world, tmp_path):
    (tmp_path / "list.csv").write_text("a.mp4 0\nb.mp4 1\n")
    code, _, err = call("evaluate", model, "-d", tmp_path / "list.csv")
    assert code == 2
    assert "no video of" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ("outside.csv", "outside.csv:2"),
        ("nothing.csv", "nothing.csv"),
        ("missing.csv", "missing.csv"),
    ],
)
def test_bad_annotations_are_told_with_their_place(call, model, world, annotations, message):
    code, out, err = call("evaluate", model, "-d", world / annotations)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) == 1


def test_what_belongs_to_a_recipe_and_what_to_a_model(call, model, world, tmp_path):
    tiny.save_videomae(tmp_path / "videomae")
    for arguments, message in [
        ([model], "--data"),
        ([model, "optim.lr=1"], "'optim.lr=1' "),
        ([model, "-c", model], "--checkpoint"),
        (["world_videomae-nano"], "--checkpoint runs/world_videomae-nano"),
        (["world_videomae-nano", "-c", model], "trains a masked task"),
        (["world_videomae-nano", "-c", "gone", "-d", "x.csv"], "--data"),
        (["world_videomae-nano", "-c", "gone", "-n", "3"], "--num-clips"),
        (["world_videomae-nano", "-c", "gone"], "trains a masked task"),
        (["no-such-model", "-d", "x.csv", "-n", "3"], "--num-clips"),
        ([tmp_path / "videomae", "-d", world / "test.csv"], "classes of its own"),
        ([tmp_path, "-d", world / "test.csv"], "config.json"),
        ([model, "-d", world / "test.csv", "--protocol", "nanno"], "Did you mean 'nano'"),
    ]:
        code, _, err = call("evaluate", *arguments)
        assert code == 2, arguments
        assert message in err, err


def test_class_names_in_another_order_are_refused(call, world, tmp_path):
    names = tuple((world / "labels.txt").read_text().split("\n")[:NUM_CLASSES])
    right = classifier(tmp_path / "right", labels=names)
    wrong = classifier(tmp_path / "wrong", labels=names[::-1])
    labels = ["--labels", world / "labels.txt"]
    code, out, _ = call("evaluate", right, "-d", world / "test.csv", "--json", *labels)
    assert code == 0
    assert [row["label"] for row in json.loads(out)["classes"]] == list(names)
    code, _, err = call("evaluate", wrong, "-d", world / "test.csv", *labels)
    assert code == 2
    assert "--classes" in err


def test_a_folder_of_classes_is_measured_by_the_names_of_its_folders(call, world, tmp_path):
    names = (world / "labels.txt").read_text().splitlines()
    model = classifier(tmp_path / "model", labels=tuple(names))
    lines = [line.split() for line in (world / "test.csv").read_text().splitlines()]
    for path, number in lines:
        folder = tmp_path / "videos" / names[int(number)].replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / Path(path).name).symlink_to(world / path)
    code, of_folder, _ = call("evaluate", model, "-d", tmp_path / "videos", "--json")
    assert code == 0
    _, of_list, _ = call("evaluate", model, "-d", world / "test.csv", "--json")
    told = [json.loads(each) for each in (of_folder, of_list)]
    assert told[0]["classes"] == told[1]["classes"]
    assert told[0]["top1"] == told[1]["top1"]
    (tmp_path / "videos/juggling").mkdir()
    (tmp_path / "videos/juggling/a.mp4").symlink_to(world / lines[0][0])
    code, _, err = call("evaluate", model, "-d", tmp_path / "videos")
    assert code == 2
    assert f"'juggling' is none of the {NUM_CLASSES} classes" in err


def test_a_list_of_too_few_class_names_is_refused(call, model, world, tmp_path):
    (tmp_path / "two.txt").write_text("one\ntwo\n")
    code, _, err = call(
        "evaluate", model, "-d", world / "test.csv", "--labels", tmp_path / "two.txt"
    )
    assert code == 2
    assert f"{NUM_CLASSES} classes, the data name 2" in err


@pytest.mark.slow
def test_two_processes_share_the_videos_and_say_the_same(call, model, world, tmp_path):
    alone = json.loads(call("evaluate", model, "-d", world / "bad.csv", "--json")[1])
    line = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend",
        "c10d", "--rdzv-endpoint", "localhost:0", "-m", "internvideo", "evaluate", model, "-d",
        world / "bad.csv", "--json", "--out", tmp_path / "out", "--device", "cpu",
    ]  # fmt: skip
    done = subprocess.run(
        [str(each) for each in line],
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report == alone
    assert done.stdout.count('"top1"') == 1  # only the first process speaks
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "predictions.jsonl",
        "report.json",
    ]


def test_a_plot_of_no_known_kind_is_refused_before_the_work(call):
    code, out, err = call(
        "evaluate", "zero-shot", "viclip-nano", "--data", "world", "--plot", "x.y"
    )
    assert (code, out) == (2, "")
    assert err.startswith("error: cannot draw into x.y: the name must end in .png")
