"""`auto`: the best model that is here, and no answer at all where none understands."""

from __future__ import annotations

import pytest
import torch

import internvideo as iv
from internvideo.cli.application import run
from internvideo.errors import ConfigError
from internvideo.pipeline.auto import automatic_card, what_it_never_saw
from internvideo.world import World
from internvideo.zoo import find_card, offline
from internvideo.zoo.download import cached_path

DOG = ["a dog plays in the snow", "something grows"]
WORLD = ["something grows", "something shrinks"]


@pytest.fixture(autouse=True)
def bare(tmp_path, monkeypatch):
    """Nothing has been downloaded, and no extra is installed."""
    monkeypatch.setenv("INTERNVIDEO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("INTERNVIDEO_MIRROR", raising=False)
    monkeypatch.setattr(offline, "_version", lambda package: None)


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    iv.write_video(path, World(seed=1).clip(0).frames, fps=8)
    return path


def put_on_disk(name: str) -> None:
    path = cached_path(find_card(name))
    path.parent.mkdir(parents=True)
    path.touch()


def test_the_best_official_model_on_disk_comes_first(monkeypatch):
    monkeypatch.setattr(offline, "_version", lambda package: "1.0")
    assert automatic_card().name == "offline-objects"
    put_on_disk("openai-clip-vit-b-16")
    assert automatic_card().name == "openai-clip-vit-b-16"
    put_on_disk("viclip-b16")
    assert automatic_card() == find_card("viclip-b16")
    put_on_disk("viclip-l14")
    put_on_disk("videomae-b16-k400")  # of no use for sentences
    assert automatic_card() == find_card("viclip-l14")


def test_the_embedded_model_answers_its_own_words(clip):
    model = iv.load("auto")
    assert model.name == "viclip-nano"
    assert model.classify(clip, WORLD).model == "viclip-nano"
    assert model.with_preprocessing("nano").embed_text("a star moves").shape[0] == 1


def test_it_refuses_the_words_that_it_does_not_know(clip):
    model = iv.load("auto")
    for ask in (
        lambda: model.classify(clip, DOG),
        lambda: model.embed_text(DOG),
        lambda: model.with_preprocessing("nano").classify(clip, DOG),
        lambda: model.predict("zero-shot", clip, labels=DOG),
    ):
        with pytest.raises(ConfigError) as caught:
            ask()
        for told in ("'dog'", "'snow'", "internvideo models download viclip-b16", "MIT", "598 MB",
                     "internvideo[offline]", "--model viclip-nano"):  # fmt: skip
            assert told in str(caught.value)


@pytest.mark.parametrize("verb", [("classify",), ("predict", "zero-shot")])
def test_the_command_says_it_in_one_line_without_a_percentage(verb, clip, capsys):
    assert run([*verb, str(clip), "-l", DOG[0], "-l", DOG[1]]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "%" not in err
    assert [line.split(":")[0] for line in err.splitlines()] == ["note", "error"]


def test_the_command_insists_where_the_model_is_named(clip, capsys):
    assert run(["classify", str(clip), "-l", DOG[0], "-l", DOG[1], "-m", "viclip-nano"]) == 0
    out, err = capsys.readouterr()
    assert "%" in out
    assert "dog" in err


def test_the_command_tells_which_model_it_asked(clip, capsys):
    assert run(["classify", str(clip), "-l", WORLD[0], "-l", WORLD[1]]) == 0
    assert "viclip-nano" in capsys.readouterr().err


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "dog.mp4"
    iv.write_video(path, torch.randint(0, 256, (20, 48, 64, 3), dtype=torch.uint8), fps=8)
    return path


@pytest.mark.parametrize(
    "line",
    [
        ["classify", "-m", "viclip-nano", "-l", WORLD[0], "-l", WORLD[1]],
        ["classify", "-l", WORLD[0], "-l", WORLD[1]],
        ["caption"],
        ["predict", "actions"],
    ],
)
def test_a_model_of_the_world_is_said_to_guess_about_other_videos_once(line, clip, film, capsys):
    assert run([*line, str(clip)]) == 0
    assert "never seen" not in capsys.readouterr().err
    assert run([*line, str(clip), str(film), str(film)]) == 0
    assert capsys.readouterr().err.count("has never seen anything else") == 1


def test_a_model_of_ones_own_is_not_said_to_guess(film):
    model = iv.load("viclip-nano").loaded
    assert "64x48" in what_it_never_saw(model, [film])
    assert not what_it_never_saw(model.with_record(card=None), [film])


def test_shares_of_one_label_are_refused(clip, capsys):
    assert run(["classify", str(clip), "-l", "something grows"]) == 2
    assert "at least two" in capsys.readouterr().err


def test_labels_that_are_the_same_to_the_model_are_refused(clip, capsys):
    line = ["classify", str(clip), "-m", "viclip-nano", "-l", "something grows"]
    assert run([*line, "-l", "一个物体向左移动", "-l", "一个物体变大"]) == 2
    err = capsys.readouterr().err
    assert "'一个物体向左移动', '一个物体变大'" in err
    assert "something grows" not in err.splitlines()[-1]
