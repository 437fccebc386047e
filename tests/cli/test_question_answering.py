"""`evaluate question-answering` and `predict answer`, from files to tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny
from internvideo.data import write_world
from internvideo.world import World


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny.save_internvideo_qa(tmp_path_factory.mktemp("models") / "qa")


@pytest.fixture(scope="module")
def gifs(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("tgif")
    write_world(root, 10, kind="tgif-qa", world=World(seed=3, size=16, num_frames=8))
    return root


def test_a_written_data_set_is_measured(call, model, gifs, tmp_path):
    line = ("evaluate", "question-answering", model, "-d", gifs / "frameqa_test.jsonl")
    plot, out = tmp_path / "plot.png", tmp_path / "out"
    code, text, err = call(*line, "--plot", plot, "--out", out, "--details")
    assert (code, plot.exists()) == (0, True)
    assert "70 answers to choose from" in err
    for part in ("most frequent answer", "strict", "color", "wrong answers"):
        assert part in text
    report = json.loads((out / "report.json").read_text())
    code, text, _ = call(*line, "--json")
    assert json.loads(text)["accuracy"] == report["accuracy"]
    assert report["num_unknown"] == 0
    code, text, _ = call(*line[:-1], gifs / "count_test.jsonl")
    assert (code, "count, squared error" in text) == (0, False)  # no number is among the answers


def test_missing_videos_are_listed_and_strict_fails(call, model, gifs):
    first = next((gifs / "gifs").iterdir())
    lines = [
        {"video": name, "question": "what happens", "answer": "grow"}
        for name in (str(first), "gone.gif")
    ]
    path = gifs / "some.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    line = ("evaluate", "question-answering", model, "-d", path)
    code, text, err = call(*line)
    assert code == 0
    assert "1 video could not be read; their questions as misses" in text
    assert "gone.gif" in err
    assert call(*line, "--strict")[0] == 1
    path.write_text(path.read_text() + json.dumps({**lines[0], "answer": " "}) + "\n")
    code, _, err = call(*line)
    assert (code, f"{path}:3: the answer is ' '" in err) == (2, True)


def test_a_question_stands_behind_any_number_of_videos(call, model, gifs, tmp_path):
    videos = sorted((gifs / "gifs").iterdir())[:2]
    (tmp_path / "broken.gif").write_bytes(b"GIF89a\x00")
    line = ("predict", "answer", *videos, tmp_path / "broken.gif", "what happens?", "-m", model)
    code, text, err = call(*line, "--json")
    assert code == 1
    assert "broken.gif" in err
    replies = [json.loads(each) for each in text.splitlines()]
    assert [Path(each["video"]).name for each in replies] == [each.name for each in videos]
    assert all(each["question"] == "what happens?" for each in replies)
    assert all(len(each["answers"]) == 5 for each in replies)
    code, text, _ = call(
        "predict", "question-answering", gifs / "gifs", "what happens", "-m", model
    )
    assert (code, text.count("tumblr_")) == (0, 10)
    code, _, err = call("predict", "answer", videos[0], "", "-m", model)
    assert (code, "has no words" in err) == (2, True)
    code, _, err = call("predict", "answer", videos[0], "-m", model)
    assert code == 2
