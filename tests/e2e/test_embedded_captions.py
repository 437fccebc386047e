"""The embedded captioner on clips that no training saw."""

from __future__ import annotations

import pytest

import internvideo as iv
from internvideo.evaluation.data import AnnotatedData
from internvideo.recipe import load_recipe
from internvideo.world import World
from internvideo.zoo import find_card

CLIPS = AnnotatedData(path="world", num_clips=140)


@pytest.fixture(scope="module")
def model():
    return iv.load("mm-nano", device="cpu")


def test_captions_name_actions_and_colours(model):
    report = model.evaluate(CLIPS, "captioning")
    assert report.cider > 2.2
    assert report.named["action"][0] > 80
    assert report.named["colour"][0] > 80


def test_its_towers_know_the_actions(model):
    report = model.evaluate(CLIPS, "zero-shot")
    assert report.top1 > 80


def test_a_caption_is_a_sentence_of_the_world(model):
    said = model.caption(World(seed=9)[0].frames)
    assert 3 <= len(said.split()) <= 24 if isinstance(said, str) else said.text


def test_the_card_tells_the_recipe(model):
    (step,) = find_card("mm-nano").provenance["steps"]
    assert step["recipe_sha256"] == load_recipe(step["recipe"]).fingerprint()
