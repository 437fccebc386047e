from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest
import torch

import tiny
from internvideo.tasks.captioning.predict import DEFAULT_CAPTIONER
from internvideo.video import write_video
from internvideo.zoo import list_models


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("models")
    tiny.save_internvideo_mm(root / "mm")
    tiny.save_internvideo_mm(root / "towers", decoder_depth=0)
    tiny.save_viclip(root / "viclip")
    return root


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("media")
    for seed, (name, count) in enumerate({"first": 8, "second [x]": 20}.items()):
        generator = torch.Generator().manual_seed(seed)
        frames = torch.randint(0, 256, (count, 32, 40, 3), generator=generator, dtype=torch.uint8)
        write_video(root / f"{name}.mp4", frames, fps=8)
    return root


def test_a_caption_of_one_clip(call, models, media):
    line = ("caption", media / "first.mp4", "-m", models / "mm", "--max-length", 4)
    code, out, err = call(*line)
    assert (code, err) == (0, "")
    assert "0:01.0" in out
    code, out, _ = call(*line, "--json")
    answer = json.loads(out)
    assert code == 0
    assert [Path(answer["video"]).name, len(answer["captions"])] == ["first.mp4", 1]
    assert 1 <= len(answer["captions"][0]["text"].split()) <= 4
    assert answer["protocol"].endswith("greedy")


def test_many_clips_are_one_row_each_and_bad_ones_are_listed(call, models, media, tmp_path):
    (tmp_path / "bad.mp4").write_text("no video")
    code, out, err = call(
        "caption", media, tmp_path / "bad.mp4", "-m", models / "mm", "--max-length", 3
    )
    assert code == 1
    assert "second [x].mp4" in out
    assert "1 of 3 videos could not be used" in err
    code, _, err = call("caption", tmp_path / "bad.mp4", "-m", models / "mm")
    assert code == 2
    assert "bad.mp4" in err


def test_strategies(call, models, media):
    line = ("caption", media / "first.mp4", "-m", models / "mm", "--max-length", 5, "--json")
    beam = json.loads(call(*line, "--strategy", "beam", "--num-beams", 3)[1])
    assert beam["protocol"].endswith("beam search of 3")
    drawn = [
        json.loads(call(*line, "--strategy", "top-p", "--top-p", 1, "--seed", seed)[1])
        for seed in (1, 1, 2)
    ]
    texts = [each["captions"][0]["text"] for each in drawn]
    assert texts[0] == texts[1] != texts[2]


def test_windows_become_subtitles(call, models, media, tmp_path):
    srt = tmp_path / "deep" / "film.srt"
    code, out, _ = call(
        "caption", media / "second [x].mp4", "-m", models / "mm", "--every", 1, "--max-length", 3,
        "--srt", srt, "--json",
    )  # fmt: skip
    answer = json.loads(out)
    assert code == 0
    assert [(c["start"], c["end"]) for c in answer["captions"]] == [(0, 1), (1, 2), (1.5, 2.5)]
    assert "windows of 1 s" in answer["protocol"]
    stamps = re.findall(r"(\S+) --> (\S+)", srt.read_text(encoding="utf-8"))
    assert stamps[0][0] == "00:00:00,000"
    assert stamps[-1][1] == "00:00:02,500"
    assert all(before[1] == after[0] for before, after in itertools.pairwise(stamps))
    code, _, _ = call(
        "caption", media, "-m", models / "mm", "--max-length", 2, "--srt", tmp_path / "all"
    )
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == [
        "first.srt",
        "second [x].srt",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-m", "{models}/viclip"), "has no caption decoder"),
        (("-m", "{models}/towers"), "has no caption decoder"),
        (("-m", "{models}/mm", "--strategy", "bean"), "'beam'"),
        (("-m", "{models}/mm", "--num-beams", "0"), "num-beams"),
        (("-m", "{models}/mm", "--temperature", "0"), "temperature"),
        (("-m", "{models}/mm", "--top-p", "0"), "top-p"),
        (("-m", "{models}/mm", "--every", "0"), "it must be positive"),
        (("-m", "{models}/mm", "--srt", "{models}"), "it is a folder"),
        (("-m", "internvideo-mm-l15"), "Did you mean"),
    ],
)
def test_bad_options_are_one_error_and_code_2(call, models, media, options, message):
    given = [option.format(models=models) for option in options]
    code, out, err = call("caption", media / "first.mp4", *given)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert message in err


def test_without_a_model_it_is_the_default_one(call, media):
    code, _, err = call("caption", media / "first.mp4", "--json")
    if DEFAULT_CAPTIONER in list_models():
        assert code == 0
    else:
        assert code == 2
        assert f"the default model {DEFAULT_CAPTIONER} is not part of this installation" in err


def test_help_shows_an_example(call):
    told = call("caption", "--help")[1]
    assert "  internvideo caption" in told
    assert f"[default: {DEFAULT_CAPTIONER}]" in told
