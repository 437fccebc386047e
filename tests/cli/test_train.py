from __future__ import annotations

import shutil

import pytest

from internvideo.cli.application import run
from internvideo.train.stop import PreemptedError

TINY = [
    "data.num_clips=8",
    "runtime.batch_size=4",
    "runtime.num_workers=0",
    "runtime.accelerator=cpu",
    "model.encoder.width=16",
    "model.encoder.depth=1",
    "model.encoder.stem.channels=[4, 4, 8]",
    "model.decoder_width=16",
    "model.decoder_depth=1",
]


def train(directory, *overrides: str) -> int:
    return run(["train", "world_videomae-nano", *TINY, *overrides, "--out", str(directory)])


def test_train_says_where_the_model_is(tmp_path, capsys):
    assert train(tmp_path / "run") == 0
    out, err = capsys.readouterr()
    assert out == f"the model is in {tmp_path / 'run' / 'model'}\n"
    assert "step 2/2  epoch 1/1  loss" in err
    assert "ETA 0:00:00" in err


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("init=no-such-model", "no-such-model"),
        ("runtime.strategy=fsdp", "start them with torchrun"),
        ("runtime.wandb_project=p", "pip install 'internvideo[wandb]'"),
        ("optim.layer_decay=0.5", "optim.layer_decay needs a model with one stack of blocks"),
        ("init_labels=kinetics-400/authors", "the task 'masked' takes no init_labels"),
        ("augmentation=no-such-preset", "no augmentation preset 'no-such-preset'"),
    ],
)
def test_what_cannot_be_trained_is_one_line(tmp_path, capsys, monkeypatch, override, message):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    assert train(tmp_path / "run", override) == 2
    out, err = capsys.readouterr()
    told = [line for line in err.splitlines() if line.startswith("error:")]
    assert out == ""
    assert len(told) == 1
    assert message in told[0]
    assert "Traceback" not in err


@pytest.mark.parametrize(("number", "code"), [(15, 143), (2, 130)])
def test_a_preempted_run_ends_with_the_code_of_its_signal(
    tmp_path, capsys, monkeypatch, number, code
):
    def stopped(recipe, directory, *, extend):
        raise PreemptedError(7, number)

    monkeypatch.setattr("internvideo.recipe.run.run_recipe", stopped)
    assert train(tmp_path / "run") == code
    err = capsys.readouterr().err
    assert "preempted at step 7" in err
    assert "error:" not in err


def test_a_folder_of_classes_is_trained_on_without_a_recipe(tmp_path, capsys):
    world = tmp_path / "world"
    arguments = ["world", "-o", world, "-n", 56, "-f", "ucf101", "--size", 16, "--num-frames", 8]
    assert run([str(each) for each in [*arguments, "--workers", 1]]) == 0
    videos = tmp_path / "videos"
    for name in ("Grow", "Shake"):
        shutil.copytree(world / "videos" / name, videos / name)
    out = tmp_path / "run"
    line = ["train", "--data", str(videos), "schedule.epochs=1", "runtime.num_workers=0"]
    capsys.readouterr()
    assert run([*line, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "base: world_videomae-nano_actions" in printed
    assert f"the model is in {out / 'model'}" in printed
    lists = out / "lists"
    assert run(["evaluate", str(out), "--data", str(lists / "val.csv"), "--workers", "0"]) == 0
    assert run(["train", "--data", str(tmp_path / "none")]) == 2
    assert "is no folder" in capsys.readouterr().err
    assert run(["train"]) == 2
    assert "--data FOLDER" in capsys.readouterr().err


def test_a_dry_run_says_what_would_be_and_writes_nothing(tmp_path, capsys):
    assert train(tmp_path / "run", "--dry-run") == 0
    out = capsys.readouterr().out
    for text in (
        "VideoMAE; ",
        "8 to train on",
        "a step:        4 clips",
        "steps:         2",
        "GiB",
    ):
        assert text in out
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("preprocessing.no_such=1", "no_such"),
        ("data={kind: kinetics, annotations: none.csv}", "none.csv"),
        ("optim.lr_scales={zebra: 2}", "zebra"),
    ],
)
def test_the_recipe_is_checked_before_weights_are_read(tmp_path, capsys, override, message):
    assert train(tmp_path / "run", "init=no-such-model", override) == 2
    assert message in capsys.readouterr().err


def test_data_split_writes_lists(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / "v" / name).mkdir(parents=True)
        for number in range(5):
            (tmp_path / "v" / name / f"{number}.mp4").touch()
    assert run(["data", "split", str(tmp_path / "v"), "--out", str(tmp_path / "lists")]) == 0
    assert "2 classes, videos: 6 in train.csv, 2 in val.csv, 2 in test.csv" in (
        capsys.readouterr().out
    )


def test_the_root_that_a_base_left_is_told_where_no_video_is_there(tmp_path, capsys):
    (tmp_path / "list.csv").write_text("a.mp4 0\nb.mp4 1\n")
    (tmp_path / "mine.yaml").write_text(
        "base: k400_videomae-b\n"
        "data: {annotations: list.csv}\n"
        "model: {size: null, num_classes: 2, image_size: 32, width: 32, depth: 1, num_heads: 2}\n"
        "evaluation: {data: {annotations: list.csv}}\n"
    )
    line = ["train", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "run")]
    assert run([*line, "runtime.accelerator=cpu"]) == 2
    assert "(evaluation.data.root is data/k400; null: beside the list)" in capsys.readouterr().err
