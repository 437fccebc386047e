from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

import tiny
from internvideo.cli.application import run
from internvideo.demo import run as demo
from internvideo.demo.run import default_labels, run_demo
from internvideo.errors import ConfigError
from internvideo.models.tokenizer import CLIPTokenizer, WordTokenizer
from internvideo.pipeline import load
from internvideo.video import write_video
from internvideo.world import ACTIONS, vocabulary


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.save_viclip(tmp_path_factory.mktemp("models") / "viclip")


@pytest.fixture
def mine(tmp_path):
    frames = torch.randint(0, 256, (10, 32, 48, 3), dtype=torch.uint8)
    return write_video(tmp_path / "videos" / "mine & <yours>.mp4", frames, fps=5)


def test_the_demo_leaves_a_page_the_numbers_and_the_clips(model, mine, tmp_path):
    steps = []
    result = run_demo(
        tmp_path / "out",
        model,
        videos=[str(mine.parent), "gone.mp4"],
        num_clips=30,
        device="cpu",
        progress=lambda *step: steps.append(step),
    )
    assert steps[-1] == ("classifying them", 30, 30)
    assert ("painting clips", 30, 30) in steps
    page = (tmp_path / "out/index.html").read_text("utf-8")
    assert "mine &amp; &lt;yours&gt;.mp4" in page
    assert "gone.mp4" in page
    numbers = json.loads((tmp_path / "out/report.json").read_text("utf-8"))
    assert numbers["world"]["num_clips"] == 30
    assert numbers["world"]["source"] == "decoded from mp4"
    assert numbers["world"]["rates"]["accuracy"]["total"] == 30
    assert len(numbers["clips"]) == 12
    assert all(len(clip["predictions"]) == len(ACTIONS) for clip in numbers["clips"])
    assert [video["video"] for video in numbers["videos"]] == [str(mine)]
    assert len(result.mistakes) == 4  # of a model that guesses
    assert all(each.answer.label != each.truth for each in result.mistakes)
    assert all(each.caption and each.moving for each in (*result.clips, *result.mistakes))
    assert [each["video"] for each in numbers["failures"]] == ["gone.mp4"]
    assert "--num-clips 30" in numbers["command"]
    assert (len(result.videos), len(result.failures)) == (1, 1)
    assert len(list((tmp_path / "out/world/videos").glob("*.mp4"))) == 30


def test_the_demo_again_gives_the_same_numbers(model, tmp_path):
    first, second = (
        run_demo(tmp_path / "out", model, num_clips=28, device="cpu").report for _ in range(2)
    )
    assert first.rates == second.rates
    assert (first.confusion == second.confusion).all()


def test_the_demo_needs_a_text_tower(tmp_path):
    with pytest.raises(ConfigError, match="no text tower"):
        run_demo(tmp_path / "out", tiny.save_videomae(tmp_path / "videomae"), num_clips=28)


def test_the_command_says_where_the_page_is(model, mine, tmp_path, capsys):
    line = ["demo", "--out", str(tmp_path / "out"), "--model", str(model), "--num-clips", "28"]
    code = run([*line, "-v", str(mine), "-l", "something grows", "-l", "a red star"])
    captured = capsys.readouterr()
    assert code == 0
    assert str(tmp_path / "out/index.html") in captured.out
    numbers = json.loads((tmp_path / "out/report.json").read_text("utf-8"))
    labels = {each["label"] for each in numbers["videos"][0]["predictions"]}
    assert labels == {"something grows", "a red star"}
    assert run([*line, "-v", "gone.mp4"]) == 2
    assert run([*line, "-v", "gone.mp4", "-v", str(mine)]) == 1


def test_default_labels_are_sentences_that_the_model_knows(model):
    labels = default_labels(load(model))
    assert len(set(labels)) == len(ACTIONS)
    tokenizer = WordTokenizer(vocabulary(), 32)
    assert tokenizer.unknown_words(" ".join(labels)) == ()
    reads_all = SimpleNamespace(tokenizer=CLIPTokenizer())
    assert "an animal" in default_labels(reads_all)  # type: ignore[arg-type]


def test_your_videos_are_shown_to_the_best_model_on_the_machine(mine, tmp_path, monkeypatch):
    best = tiny.save_viclip(tmp_path / "viclip")
    monkeypatch.setattr(demo, "load", lambda name, **options: load(
        best if name == "auto" else name, **options
    ))  # fmt: skip
    result = run_demo(tmp_path / "out", videos=[str(mine)], num_clips=28, device="cpu")
    assert result.report.model == "viclip-nano"
    assert result.videos[0].answer.model == "viclip"
    assert "Asked: viclip" in (tmp_path / "out/index.html").read_text("utf-8")
