from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

import tiny
from internvideo.data import write_world
from internvideo.pipeline import load
from internvideo.tasks.registry import find_task
from internvideo.video import write_video
from internvideo.world import World


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("models")
    tiny.save_classifier(root / "classifier")
    tiny.save_viclip(root / "viclip")
    tiny.save_videomae(root / "videomae")
    return root


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("media")
    for seed, name in enumerate(("first", "second")):
        generator = torch.Generator().manual_seed(seed)
        frames = torch.randint(0, 256, (40, 32, 40, 3), generator=generator, dtype=torch.uint8)
        write_video(root / f"{name}.mp4", frames, fps=8)
    return root


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_actions_are_the_classes_of_the_model(call, models, media):
    model = models / "classifier"
    code, out, err = call("predict", "actions", media / "first.mp4", "-m", model, "--json", "-k", 2)
    assert (code, err) == (0, "")
    [answer] = lines(out)
    expected = load(model).classify(media / "first.mp4", top_k=2)
    assert [row["label"] for row in answer["predictions"]] == list(expected.labels)
    assert answer["predictions"][0]["probability"] == pytest.approx(expected.probabilities[0])
    assert "4 frames x 2 clips x 3 crops" in answer["protocol"]
    code, out, _ = call("predict", "actions", media / "first.mp4", "-m", model)
    assert code == 0
    assert all(label in out for label in tiny.CLASSES)


def test_several_videos_with_one_missing_give_the_others_and_code_1(call, models, media, tmp_path):
    code, out, err = call(
        "predict", "actions", media, media / "gone.mp4", "-m", models / "classifier", "--json",
        "--plot", tmp_path / "pictures",
    )  # fmt: skip
    assert code == 1
    assert [Path(answer["video"]).name for answer in lines(out)] == ["first.mp4", "second.mp4"]
    assert "1 of 3 videos could not be used" in err
    assert "gone.mp4" in err
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        "first.png",
        "second.png",
    ]


def test_a_pipe_gets_a_plain_row_for_each_of_many_videos(call, models, media, tmp_path):
    for number in range(4):
        (tmp_path / f"{number}.mp4").hardlink_to(media / "first.mp4")
    code, out, err = call("predict", "actions", tmp_path, "-m", models / "classifier")
    assert code == 0
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] for row in rows] == [str(tmp_path / f"{number}.mp4") for number in range(4)]
    assert {len(row) for row in rows} == {4}
    assert rows[0][1] in tiny.CLASSES
    assert "4 frames x 2 clips x 3 crops" in err


def test_stream_answers_window_by_window(call, models, media, tmp_path):
    code, out, err = call(
        "predict", "actions", media / "first.mp4", "-m", models / "classifier", "--stream",
        "--window", 16, "--stride", 8, "--frames", "--json", "--plot", tmp_path / "timeline.png",
    )  # fmt: skip
    assert (code, err) == (0, f"note: wrote {tmp_path / 'timeline.png'}\n")
    *windows, whole = lines(out)
    assert {each["model"] for each in windows} == {whole["model"]}
    assert [(each["start"], each["end"]) for each in windows] == [(0, 2), (1, 3), (2, 4), (3, 5)]
    assert whole["segments"][0]["start"] == 0
    assert whole["segments"][-1]["end"] == 5
    best = [each["predictions"][0]["label"] for each in windows]
    for segment in whole["segments"]:
        assert segment["label"] in best
    assert (tmp_path / "timeline.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = call(
        "predict", "actions", media / "first.mp4", "-m", models / "classifier", "--stream",
        "--window", 2.5,
    )  # fmt: skip
    assert code == 0
    assert out.startswith("0:00.0 – 0:02.5  ")
    assert "probability" in out


def test_stream_takes_sentences_with_a_text_tower(call, models, media):
    code, out, _ = call(
        "predict", "actions", media / "first.mp4", "-m", models / "viclip", "--stream", "--json",
        "-l", "something grows", "-l", "something shrinks",
    )  # fmt: skip
    assert code == 0
    for window in lines(out)[:-1]:
        assert sum(row["probability"] for row in window["predictions"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--window", "2"], "--window, --stride and --frames belong to --stream"),
        (["--stream", "--window", "0"], "window is 0; it must be positive"),
        (["--stream", "--stride", "-1"], "stride is -1; it must be positive"),
        (["-l", "knitting"], "has no class 'knitting'"),
        (["-l", "no-such-list.txt"], "there is no labels file no-such-list.txt"),
        (["--plot", "answer.pgn"], "cannot draw into answer.pgn: the name must end in .png"),
    ],
)
def test_impossible_options_are_told(call, models, media, arguments, message):
    code, out, err = call(
        "predict", "actions", media / "first.mp4", "-m", models / "classifier", *arguments
    )
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("viclip", "--labels"),
        ("videomae", "a classifier"),
        ("missing", "no such file or folder"),
    ],
)
def test_models_without_classes_are_refused(call, models, media, model, message):
    code, _, err = call("predict", "actions", media / "first.mp4", "-m", models / model)
    assert code == 2
    assert message in err


def test_a_broken_video_in_a_stream_is_told(call, models, media, tmp_path):
    data = (media / "first.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(data[: len(data) // 3])
    code, out, err = call(
        "predict", "actions", tmp_path / "half.mp4", media / "second.mp4",
        "-m", models / "classifier", "--stream", "--json",
    )  # fmt: skip
    assert code == 1
    assert "half.mp4" in err
    assert lines(out)[-1]["video"].endswith("second.mp4")


def test_the_default_model_knows_the_actions_of_the_world(call, tmp_path):
    world = World(seed=5)
    written = write_world(tmp_path, 10, world=world, splits=(0.0, 0.0, 1.0))
    code, out, err = call("predict", "actions", tmp_path / "videos", "--json")
    assert code == 0
    assert "knows the 28 actions of the procedural world" in err
    answers = {Path(each["video"]).name: each["predictions"] for each in lines(out)}
    hits = [
        answers[path.name][0]["label"] == world[number].truth.action
        for number, path in enumerate(written.videos)
    ]
    assert len(hits) == 10
    assert sum(hits) >= 8
    assert all(len(each) == 5 for each in answers.values())


def test_a_missing_default_model_is_named_as_such(call, media, monkeypatch):
    recognition = find_task("recognition")
    tasks = [dataclasses.replace(recognition, default_model="videomae-pico")]
    monkeypatch.setattr("internvideo.tasks.registry.TASKS", tasks)
    code, _, err = call("predict", "actions", media / "first.mp4")
    assert code == 2
    assert "the default model videomae-pico" in err
    assert "--model" in err
