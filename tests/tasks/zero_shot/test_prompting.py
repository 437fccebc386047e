from __future__ import annotations

import json

import pytest

from internvideo.errors import ConfigError, DataError, UnknownNameError
from internvideo.evaluation.text import prompt_rule
from internvideo.tasks.zero_shot.prompting import (
    DEFAULT_TEMPLATES,
    class_prompts,
    described_classes,
    find_templates,
    prompt_templates,
    readable_name,
)
from internvideo.zoo.labels import label_maps, label_names


@pytest.mark.parametrize(
    ("name", "count"),
    [("action16", 16), ("single", 1), ("doing", 1), ("none", 1), ("kinetics28", 28)],
)
def test_published_templates(name, count):
    assert len(prompt_templates(name)) == count
    assert find_templates(name) == prompt_templates(name)


def test_unknown_templates_name_the_nearest():
    with pytest.raises(UnknownNameError, match=r"'action'.*'action16'"):
        find_templates("action")


def test_templates_of_ones_own(tmp_path):
    assert find_templates("a clip of {}") == ("a clip of {}",)
    assert find_templates(["{}", "so {}"]) == ("{}", "so {}")
    text = tmp_path / "zh.txt"
    text.write_text("\ufeff一段{}的视频\n\n  有人在{}  \n", encoding="utf-8")
    assert find_templates(str(text)) == find_templates(text) == ("一段{}的视频", "有人在{}")
    listed = tmp_path / "zh.json"
    listed.write_text(json.dumps(["一段{}的视频"]), encoding="utf-8")
    assert find_templates(str(listed)) == ("一段{}的视频",)


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("a.txt", "a video\n", ConfigError, r"a\.txt.*'a video'.*\{\}"),
        ("a.txt", " \n", DataError, r"a\.txt.*empty"),
        ("a.json", '{"a": 1}', DataError, r"a\.json.*list"),
        ("a.json", "[1", DataError, r"a\.json:1: "),
        ("b.txt", None, DataError, r"b\.txt"),
    ],
)
def test_unusable_template_files(tmp_path, name, content, error, message):
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(error, match=message):
        find_templates(str(tmp_path / name))
    with pytest.raises(ConfigError, match="templates"):
        find_templates([])


def test_prompts_are_filled_and_cleaned():
    prompts = class_prompts(["Air-drumming"], ["{}, an action", "Look, {}!"])
    assert prompts == {"Air-drumming": ("air drumming an action", "look air drumming")}
    assert class_prompts(["A {b}"], clean=False) == {"A {b}": ("A {b}",)}
    assert class_prompts(["打篮球"], ["一段{}的视频"]) == {"打篮球": ("一段打篮球的视频",)}


@pytest.mark.parametrize(
    ("names", "templates", "message"),
    [
        ([], ["{}"], "no labels"),
        (["a", "a"], ["{}"], "'a'"),
        (["a", "  "], ["{}"], "empty"),
        (["a"], ["a video"], "'a video'.*{}"),
        (["!!"], ["{}"], "'!!'"),
        (["air-drumming", "Air drumming"], ["a {}"], "'air-drumming'.*'Air drumming'"),
    ],
)
def test_unusable_prompts_are_refused(names, templates, message):
    with pytest.raises(ConfigError, match=message):
        class_prompts(names, templates)


@pytest.mark.parametrize("labels", label_maps())
def test_no_two_classes_of_a_known_data_set_become_the_same(labels):
    prompts = class_prompts(label_names(labels), prompt_templates(DEFAULT_TEMPLATES))
    assert tuple(prompts) == label_names(labels)


def test_the_rules_of_the_families():
    assert (prompt_rule("viclip").ensemble, prompt_rule("viclip").clean) == ("cosine", True)
    rule = prompt_rule("internvideo-mm")
    assert (rule.ensemble, rule.clean) == ("probability", False)
    assert prompt_rule("internvideo-mm/two-towers") == rule
    assert prompt_rule("something else") == prompt_rule("viclip")


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("ucf101", "ApplyEyeMakeup", "Apply Eye Makeup"),
        ("ucf101", "YoYo", "Yo Yo"),
        ("hmdb51", "brush_hair", "brush hair"),
        ("moments", "adult+female+singing", "adult female singing"),
        ("moments", "drawing/painting", "drawing or painting"),
        ("something-something", "Pushing [something] off", "Pushing something off"),
        ("class-folders", "打_篮球", "打 篮球"),
        ("kinetics", "shooting goal (soccer)", "shooting goal (soccer)"),
    ],
)
def test_class_names_as_words(kind, name, words):
    assert readable_name(name, kind) == words


def test_classes_described_in_words(tmp_path):
    path = tmp_path / "labels.json"
    said = {"basketball": "打篮球", "c007": ["a man juggles", "somebody juggles"]}
    path.write_text(json.dumps(said), encoding="utf-8")
    assert described_classes(path) == {
        "basketball": ("打篮球",),
        "c007": ("a man juggles", "somebody juggles"),
    }
    for numbers in ({"a": 0, "b": 1}, {"a": "0", "b": "1"}, ["a", "b"]):
        path.write_text(json.dumps(numbers), encoding="utf-8")
        assert described_classes(path) is None
    assert described_classes(tmp_path / "labels.txt") is None
    for wrong in ({"a": []}, {"a": "x", "b": " "}, {"a": {"b": 1}}):
        path.write_text(json.dumps(wrong), encoding="utf-8")
        with pytest.raises(DataError, match=r"labels\.json: class .[ab]."):
            described_classes(path)
