"""The embedded model on unseen clips: the numbers that the library promises, on a small sample.

`internvideo demo` measures the same on more clips, through real files.
"""

from __future__ import annotations

import pytest
import torch

import internvideo as iv
from internvideo.data import write_world
from internvideo.data.world import EVALUATION_SEED
from internvideo.demo.asking import SentenceScores, ask_clips
from internvideo.demo.report import world_report
from internvideo.world import COLORS, World, action_named, action_prompts

CODECS = {
    "h264": "mp4",
    "hevc": "mp4",
    "vp9": "webm",
    "av1": "mp4",
    "mpeg4": "avi",
    "mjpeg": "avi",
    "gif": "gif",
}


@pytest.fixture(scope="module")
def model():
    return iv.load("viclip-nano", device="cpu")


@pytest.fixture(scope="module")
def report(model):
    world = World(seed=EVALUATION_SEED)
    [scores] = ask_clips([SentenceScores(model)], world, 280)
    return world_report(scores, world)


def test_the_card_says_what_was_trained_and_how(model):
    card = model.card
    assert card.name == "viclip-nano"
    assert card.embedded
    assert card.is_available
    assert card.licence == "Apache-2.0"
    assert card.training_data
    assert card.provenance
    assert sum(parameter.numel() for parameter in model.model.parameters()) < 3e6


def test_actions_are_told_apart_without_having_been_labelled(report):
    assert len(report.labels) >= 24
    assert report.rates["accuracy"].percent >= 60


def test_an_action_is_told_from_its_time_reversal(report):
    assert report.rates["pair_accuracy"].total >= 100
    assert report.rates["pair_accuracy"].percent >= 75


def test_colours_are_told_apart(report):
    assert report.rates["color_accuracy"].total >= 50
    assert report.rates["color_accuracy"].percent >= 90


def test_one_frame_is_not_enough(report):
    chance = report.rates["single_frame_accuracy"].chance
    assert report.rates["single_frame_accuracy"].percent <= 300 * chance
    low, high = report.rates["single_frame_pair_accuracy"].interval
    assert low < 50 < high + 5


def test_written_to_disk_and_read_back_it_sees_the_same(model, tmp_path):
    world = World(seed=EVALUATION_SEED)
    written = write_world(tmp_path, 12, world=world, splits=(0.0, 0.0, 1.0))
    from_files = model.embed_video(list(written.videos))
    frames = torch.stack([torch.from_numpy(world[number].frames) for number in range(12)])
    cosines = (from_files * model.embed_video_batch(frames)).sum(dim=1)
    assert float(cosines.min()) > 0.9


def test_every_codec_gives_the_same_answer(model, tmp_path):
    clip = World(seed=EVALUATION_SEED, idle_objects=(0,), objects=("star", "circle")).clip(
        3, action="grow"
    )
    labels = [f"something {action_named(name).phrases[0]}" for name in ("grow", "shrink", "shake")]
    frames = torch.from_numpy(clip.frames).repeat_interleave(2, 1).repeat_interleave(2, 2)
    answers = {}
    for codec, ending in CODECS.items():
        path = iv.write_video(tmp_path / f"{codec}.{ending}", frames, fps=8, codec=codec)
        answers[codec] = model.classify(path, labels).label
    assert answers == dict.fromkeys(CODECS, labels[0])


def test_played_backwards_it_says_the_opposite(model):
    world = World(seed=EVALUATION_SEED, idle_objects=(0,))
    labels = [action_prompts(name, limit=1)[0] for name in ("grow", "shrink")]
    for number in range(5):
        frames = torch.from_numpy(world.clip(number, action="grow").frames.copy())
        assert model.classify(frames, labels).label == labels[0]
        assert model.classify(frames.flip(0), labels).label == labels[1]


def test_sentences_of_ones_own_work_too(model):
    world = World(seed=EVALUATION_SEED, idle_objects=(0,), objects=("star",))
    for number in range(5):
        clip = world.clip(number, action="still")
        answer = model.classify(clip.frames, [f"a {color} star" for color in COLORS])
        assert answer.label == f"a {clip.truth.actors[0].color} star"
