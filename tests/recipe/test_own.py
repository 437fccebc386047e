from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from internvideo.errors import ConfigError, DataError
from internvideo.recipe import load_recipe
from internvideo.recipe.own import own_recipe


@pytest.fixture(autouse=True)
def _laptop(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def folder_of(root: Path, **counts: int) -> Path:
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number}.mp4").touch()
    return root


def test_a_folder_of_classes_becomes_a_recipe(tmp_path):
    videos = folder_of(tmp_path / "videos", a=12, b=12, c=12)
    recipe = load_recipe(own_recipe(videos, tmp_path / "run"))
    assert recipe.init == "videomae-nano"
    assert recipe.model["num_classes"] == 3
    assert recipe.name == "run"
    assert recipe.data.annotations == tmp_path / "run/lists/train.csv"
    assert recipe.evaluation.data.annotations == tmp_path / "run/lists/val.csv"
    assert "3 classes" in recipe.description
    assert recipe.runtime.save_every <= 10  # a kill loses little
    steps = 26 // recipe.runtime.batch_size * recipe.schedule.epochs
    assert 50 <= steps <= 400


def test_many_videos_get_few_epochs_and_a_handful_small_batches(tmp_path):
    many = load_recipe(own_recipe(folder_of(tmp_path / "m", a=900, b=900), tmp_path / "many"))
    few = load_recipe(own_recipe(folder_of(tmp_path / "f", a=2, b=2), tmp_path / "few"))
    assert many.schedule.epochs <= 3
    assert few.runtime.batch_size == 1


def test_a_gpu_gets_a_model_of_full_size(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    recipe = load_recipe(own_recipe(folder_of(tmp_path / "v", a=9, b=9), tmp_path / "run"))
    assert recipe.init == "videomae-b16-hybrid-pt"
    assert recipe.model["size"] == "B"
    assert recipe.optim.lr_batch_size is None


def test_another_recipe_may_be_the_base(tmp_path):
    videos = folder_of(tmp_path / "v", a=9, b=9)
    recipe = load_recipe(own_recipe(videos, tmp_path / "run", base="k400_videomae-b"))
    assert (recipe.model["size"], recipe.model["num_classes"]) == ("B", 2)
    assert recipe.optim == load_recipe("k400_videomae-b").optim
    assert (recipe.data.root, recipe.evaluation.data.root) == (None, None)  # not data/k400
    with pytest.raises(ConfigError, match="based on k400_videomae-b; give another --out"):
        own_recipe(videos, tmp_path / "run", base="world_videomae-nano_actions")


@pytest.mark.parametrize("relative", [False, True])
def test_a_second_call_keeps_what_the_first_wrote_and_says_what_is_new(
    tmp_path, caplog, monkeypatch, relative
):
    videos = folder_of(tmp_path / "v", a=9, b=9)
    if relative:
        monkeypatch.chdir(tmp_path)
        videos = Path("v")
    path = own_recipe(videos, tmp_path / "run")
    written = path.read_text()
    (videos / "a" / "later.mp4").touch()
    with caplog.at_level(logging.WARNING, "internvideo"):
        assert own_recipe(videos, tmp_path / "run") == path
    assert path.read_text() == written
    assert "1 videos" in caplog.text
    assert "later.mp4" in caplog.text


def test_single_videos_are_too_few(tmp_path):
    with pytest.raises(DataError, match="no class with two videos"):
        own_recipe(folder_of(tmp_path / "v", a=1, b=1), tmp_path / "run")
