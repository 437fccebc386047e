from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import internvideo
import tiny
from internvideo.data.world import EVALUATION_SEED
from internvideo.demo import asking
from internvideo.demo.asking import ClassScores, ClipScores, SentenceScores, ask_clips
from internvideo.demo.report import world_report
from internvideo.errors import ConfigError
from internvideo.world import ACTIONS, COLORS, World, is_held_out

NUM_CLIPS = 20
WORLD = World(seed=11)


class Watcher(ClipScores):
    """Keeps the clips that it is shown; its answer is their mean brightness."""

    def __init__(self, protocol):
        self.network, self.protocol, self.name = nn.Linear(1, 1), protocol, "watcher"
        self.seen = []

    def scores(self, clips):
        self.seen.append(clips)
        return clips.flatten(1).mean(dim=1, keepdim=True)


def test_the_control_repeats_one_frame_of_each_clip():
    watcher = Watcher(tiny.PROTOCOL)
    [scores] = ask_clips([watcher], WORLD, NUM_CLIPS)
    assert scores.shape == (NUM_CLIPS, 2, 1)
    clips, stills = torch.cat(watcher.seen).unflatten(0, (NUM_CLIPS, 2)).unbind(dim=1)
    assert torch.equal(stills, stills[:, :, :1].expand_as(stills))
    assert not torch.equal(clips, clips[:, :, :1].expand_as(clips))
    again = Watcher(tiny.PROTOCOL)
    assert torch.equal(ask_clips([again], WORLD, NUM_CLIPS)[0], scores)


def test_a_clip_is_read_once_for_all_models(monkeypatch):
    monkeypatch.setattr(asking, "_BATCH_VIEWS", 8)
    steps, reads = [], []

    def read(number):
        reads.append(number)
        return torch.from_numpy(WORLD[number].frames)

    models = [Watcher(tiny.PROTOCOL), Watcher(tiny.MULTI_VIEW)]
    found = ask_clips(models, WORLD, NUM_CLIPS, read, progress=lambda *step: steps.append(step))
    assert sorted(reads) == list(range(NUM_CLIPS))
    assert steps == [(done, NUM_CLIPS) for done in range(1, NUM_CLIPS + 1)]
    views = tiny.MULTI_VIEW.num_clips * tiny.MULTI_VIEW.num_crops
    assert len(torch.cat(models[1].seen)) == 2 * views * NUM_CLIPS
    [alone] = ask_clips([Watcher(tiny.MULTI_VIEW)], WORLD, NUM_CLIPS)
    torch.testing.assert_close(found[1], alone)


def test_only_held_out_sentences_are_asked_and_each_class_has_some():
    asked = SentenceScores(internvideo.load("viclip-nano", device="cpu"))
    prompts = asked.classifier.prompts
    assert tuple(prompts) == (*ACTIONS, *COLORS)
    assert all(is_held_out(text) for texts in prompts.values() for text in texts)


def test_the_shares_of_an_answer_are_those_of_the_actions(tmp_path):
    model = internvideo.load(tiny.save_viclip(tmp_path / "viclip"), device="cpu")
    asked = SentenceScores(model)
    [scores] = ask_clips([asked], WORLD, 2)
    answer = asked.classification("a.mp4", scores[0, 0])
    assert set(answer.labels) == set(ACTIONS)
    assert sum(answer.probabilities) == pytest.approx(1)
    assert answer.label == ACTIONS[int(scores[0, 0, : len(ACTIONS)].argmax())]


def test_the_embedded_classifier_needs_more_than_one_frame():
    model = internvideo.load("videomae-nano", device="cpu")
    world = World(seed=99)
    [scores] = ask_clips([ClassScores(model)], world, 112)
    rates = world_report(scores, world).rates
    assert rates["accuracy"].percent > 80
    assert rates["pair_accuracy"].percent > 70
    assert rates["single_frame_accuracy"].percent < 15
    expected = model.classify(np.asarray(world[5].frames))
    shares = dict(zip(expected.labels, expected.probabilities, strict=True))
    assert scores[5, 0].tolist() == pytest.approx([shares[a] for a in ACTIONS], abs=1e-6)


def test_models_that_cannot_be_asked_are_named(tmp_path):
    other = internvideo.load(tiny.save_classifier(tmp_path / "other"), device="cpu")
    for kind in (ClassScores, SentenceScores):
        with pytest.raises(ConfigError, match=other.name):
            kind(other)


def test_the_seed_of_the_report_is_out_of_the_way_of_recipes():
    from internvideo.recipe import list_recipes, load_recipe

    for name in list_recipes():
        data = load_recipe(name).data
        assert getattr(data, "seed", None) != EVALUATION_SEED
