"""The embedded action classifier on unseen clips, and the autoencoder it was fine-tuned from."""

from __future__ import annotations

import pytest
import torch

import internvideo as iv
from internvideo.data import write_world
from internvideo.data.world import EVALUATION_SEED
from internvideo.models.videomae import VideoMAE
from internvideo.recipe import load_recipe
from internvideo.world import ACTIONS, REVERSAL_PAIRS, World
from internvideo.zoo import find_card, load_model

REVERSED = {a: b for pair in REVERSAL_PAIRS for a, b in (pair, pair[::-1])}
NUM_CLIPS = 280


@pytest.fixture(scope="module")
def model():
    return iv.load("videomae-nano", device="cpu")


@pytest.fixture(scope="module")
def clips():
    return [World(seed=EVALUATION_SEED)[number] for number in range(NUM_CLIPS)]


def test_it_brings_its_labels(model):
    assert tuple(model.labels) == ACTIONS
    assert model.card.embedded


def test_actions_and_their_time_reversals_are_told_apart(model, clips):
    answers = list(model.classify_many([clip.frames for clip in clips]))
    truth = [clip.truth.action for clip in clips]
    assert sum(a.label == t for a, t in zip(answers, truth, strict=True)) >= 0.80 * NUM_CLIPS
    paired = [
        answer.labels.index(action) < answer.labels.index(REVERSED[action])
        for answer, action in zip(answers, truth, strict=True)
        if action in REVERSED
    ]
    assert sum(paired) >= 0.85 * len(paired) >= 100


def test_one_frame_is_not_enough(model, clips):
    stills = [clip.frames[8:9].repeat(16, axis=0) for clip in clips]
    hits = [
        answer.label == clip.truth.action
        for answer, clip in zip(model.classify_many(stills), clips, strict=True)
        if clip.truth.action != "still"
    ]
    assert sum(hits) <= 3 / len(ACTIONS) * len(hits)


def test_it_reads_files(model, tmp_path):
    world = World(seed=EVALUATION_SEED)
    written = write_world(tmp_path, 40, world=world, splits=(0.0, 0.0, 1.0))
    answers = list(model.classify_many(written.videos))
    truth = [world.scene(number).action for number in range(40)]
    assert sum(a.label == t for a, t in zip(answers, truth, strict=True)) >= 28


def test_the_autoencoder_fills_hidden_tubes_better_than_nothing(clips):
    loaded = load_model("videomae-nano-pretrain")
    assert isinstance(loaded.model, VideoMAE)
    rng = torch.Generator().manual_seed(0)
    video = torch.stack([torch.from_numpy(clip.frames) for clip in clips[:96]])
    frames = torch.stack([loaded.preprocessing.resize(clip) for clip in video])
    masks = torch.rand(96, 16, generator=rng).argsort(dim=1) < 8
    with torch.inference_mode():
        output = loaded.model.eval()(loaded.preprocessing.normalize(frames), masks.repeat(1, 16))
    assert output.loss < output.target.square().mean()


@pytest.mark.parametrize("name", ["videomae-nano", "videomae-nano-pretrain"])
def test_the_cards_name_the_recipes_that_made_the_weights(name):
    steps = find_card(name).provenance["steps"]
    assert steps[0]["recipe"] == "world_videomae-nano_tube"
    for step in steps:
        recipe = load_recipe(step["recipe"])
        assert step["recipe_sha256"] == recipe.fingerprint()
        assert step["clips"] == recipe.data.num_clips * recipe.schedule.epochs
