from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml

from internvideo.errors import ConfigError
from internvideo.recipe import load_recipe
from internvideo.recipe.building import build_preprocessing
from internvideo.recipe.explain import explain, explained_yaml
from internvideo.recipe.reference import keys_of, sections
from internvideo.train.config import OptimConfig

DOCS = Path(__file__).parents[2] / "docs"


def test_every_value_has_its_source():
    settings = {each.key: each for each in explain("k400_videomae-b", ["optim.lr=1e-5"])}
    assert settings["optim.lr"].value == 1e-5
    assert settings["optim.lr"].source == "command line"
    assert settings["schedule.epochs"].source == "k400_videomae-b.yaml"
    assert settings["schedule.rule"].source == "_kinetics.yaml"
    assert settings["optim.eps"].source == "default"
    assert settings["preprocessing.crop_size"].source == "preset videomae-kinetics"
    assert settings["data.annotations"].source == "_datasets.yaml: k400"
    assert "learning rate" in settings["optim.lr"].description


def test_what_is_shown_is_the_recipe(tmp_path):
    shown = "\n".join(
        text + comment for text, comment in explained_yaml(explain("k400_videomae-b"))
    )
    path = tmp_path / "shown.yaml"
    path.write_text(shown, encoding="utf-8")
    first, again = load_recipe("k400_videomae-b"), load_recipe(path)
    assert build_preprocessing(again) == build_preprocessing(first)
    changed = {"preprocessing": None, "augmentation": None}
    assert again.model_copy(update=changed) == first.model_copy(update=changed)
    assert yaml.safe_load(shown)["optim"]["lr"] == first.optim.lr


def test_keys_have_types_bounds_and_sentences():
    keys = keys_of(OptimConfig)
    assert keys["lr"].type == "number > 0"
    assert keys["rule"].type == "adamw, sgd"
    assert keys["lr_batch_size"].type == "whole number > 0 or null"
    assert keys["lr"].default == "0.001"
    places = [section.place for section in sections()]
    assert {"optim", "runtime", "task (kind: supervised)", "data (kind: world)"} <= set(places)


def test_the_keys_of_the_numbers_are_all_described():
    for section in sections():
        if section.place in ("the recipe itself", "evaluation", "optim", "schedule", "runtime"):
            assert [key.name for key in section.keys if not key.description] == []


def test_the_page_of_all_keys_has_those_that_no_task_owns():
    spec = importlib.util.spec_from_file_location("recipe_keys", DOCS / "recipe_keys.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (DOCS / "recipe-keys.md").read_text(encoding="utf-8")
    for section in sections():
        if section.place in ("the recipe itself", "evaluation", "optim", "schedule", "runtime"):
            assert module.table(section) in page, "run python docs/recipe_keys.py"


def test_paths_may_be_relative_to_the_recipe(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/start.pth").touch()
    (tmp_path / "mine/train.csv").touch()
    path = tmp_path / "mine/my.yaml"
    path.write_text(
        "base: k400_videomae-b\nname: my\ninit: start.pth\n"
        "data: {kind: kinetics, annotations: train.csv, root: elsewhere}\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(path)
    assert recipe.init == str(tmp_path / "mine/start.pth")
    assert recipe.data.annotations == tmp_path / "mine/train.csv"
    assert recipe.data.root == "elsewhere"  # nothing of that name lies beside the recipe
    assert recipe.description == ""  # that of the base is not true of this one


def test_a_preset_takes_single_changes():
    recipe = load_recipe("world_videomae-nano_actions", ["preprocessing.resize_size=48"])
    assert build_preprocessing(recipe).resize_size == 48
    recipe = load_recipe("world_videomae-nano_actions", ["preprocessing.resolution=48"])
    with pytest.raises(ConfigError, match="Did you mean 'crop_size'"):
        build_preprocessing(recipe)
