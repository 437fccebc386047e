"""The report is tested with oracles, whose every number is known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from internvideo.data import write_world
from internvideo.data.world import EVALUATION_SEED
from internvideo.demo.world_report import (
    ClipBatch,
    rendered_clips,
    world_report,
    written_clips,
)
from internvideo.world import (
    ACTIONS,
    COLORS,
    World,
    action_prompts,
    color_prompts,
    is_held_out,
    reversal_of,
)

NUM_CLIPS = 56
SEED = 11
PALETTE = list(COLORS)


class Oracle:
    """Knows each clip by its pixels; its space has one axis per action and one per colour.

    Args:
        answer: action of a clip → the action that the oracle says.
        seed: of the world that it knows.
        color: colour of a clip → the colour that the oracle says.
    """

    def __init__(self, answer=lambda action: action, *, seed=SEED, color=lambda color: color):
        self.vectors = {}
        world = World(seed=seed)
        for number in range(NUM_CLIPS):
            clip = world[number]
            vector = torch.zeros(len(ACTIONS) + len(PALETTE))
            vector[ACTIONS.index(answer(clip.truth.action))] = 1
            vector[len(ACTIONS) + PALETTE.index(color(clip.truth.actors[0].color))] = 1
            self.vectors[clip.frames.tobytes()] = vector
        self.axes = {p: ACTIONS.index(a) for a in ACTIONS for p in action_prompts(a)}
        self.axes |= {p: len(ACTIONS) + PALETTE.index(c) for c in PALETTE for p in color_prompts(c)}
        self.texts = set()
        self.unknown_clips = 0

    def embed_video_batch(self, frames):
        rows = []
        for clip in frames:
            vector = self.vectors.get(clip.numpy().tobytes())
            self.unknown_clips += vector is None
            rows.append(torch.zeros(len(ACTIONS) + len(PALETTE)) if vector is None else vector)
        return torch.stack(rows)

    def embed_text(self, texts):
        self.texts.update(texts)
        return torch.eye(len(ACTIONS) + len(PALETTE))[[self.axes[text] for text in texts]]


def truths():
    return [World(seed=SEED).scene(number) for number in range(NUM_CLIPS)]


def test_one_who_knows_everything_is_always_right():
    report = world_report(Oracle(), NUM_CLIPS, seed=SEED)
    scenes = truths()
    for name in ("accuracy", "pair_accuracy", "merged_accuracy", "color_accuracy"):
        assert report[name].value == 1.0
    assert report["accuracy"].total == NUM_CLIPS
    assert report["pair_accuracy"].total == sum(reversal_of(s.action) is not None for s in scenes)
    assert report["color_accuracy"].total == sum(len(s.actors) == 1 for s in scenes)
    assert report["accuracy"].chance == 1 / 28
    assert report["pair_accuracy"].chance == 0.5
    assert report["color_accuracy"].chance == 1 / 8
    assert report.confusion == tuple(
        tuple(int(r == c) * sum(s.action == a for s in scenes) for c in range(28))
        for r, a in enumerate(ACTIONS)
    )
    assert all(row.mistaken_for is None for row in report.per_action)
    assert report.num_clips == NUM_CLIPS


def test_one_who_sees_time_backwards_fails_every_pair_but_not_the_merged_classes():
    report = world_report(Oracle(lambda a: reversal_of(a) or a), NUM_CLIPS, seed=SEED)
    scenes = truths()
    symmetric = sum(reversal_of(scene.action) is None for scene in scenes)
    assert report["accuracy"].correct == symmetric
    assert report["pair_accuracy"].correct == 0
    assert report["merged_accuracy"].correct == NUM_CLIPS
    for row in report.per_action:
        if row.reversal is None:
            assert row.pair_accuracy is None
        elif row.accuracy.total:
            assert row.accuracy.correct == 0
            assert row.mistaken_for == row.reversal
            assert row.pair_accuracy.value == 0


def test_an_undecided_pair_does_not_count_as_won():
    report = world_report(Oracle(lambda _: "still"), NUM_CLIPS, seed=SEED)
    assert report["pair_accuracy"].correct == 0
    assert report["accuracy"].correct == sum(s.action == "still" for s in truths())


def test_colours_count_for_single_objects_only():
    shifted = Oracle(color=lambda c: PALETTE[(PALETTE.index(c) + 1) % len(PALETTE)])
    assert world_report(shifted, NUM_CLIPS, seed=SEED)["color_accuracy"].value == 0


def test_the_control_repeats_one_frame_of_each_clip():
    seen = []

    class Watcher(Oracle):
        def embed_video_batch(self, frames):
            seen.append(frames)
            return super().embed_video_batch(frames)

    oracle = Watcher()
    report = world_report(oracle, NUM_CLIPS, seed=SEED)
    clips, stills = torch.cat(seen[::2]), torch.cat(seen[1::2])
    assert clips.shape == stills.shape
    assert torch.equal(stills, stills[:, :1].expand_as(stills))
    inside = (clips == stills[:, :1]).flatten(2).all(dim=2)
    assert inside.any(dim=1).all()
    chosen = inside.int().argmax(dim=1)
    assert len(chosen.unique()) > 8, "different frames of different clips"
    assert report["single_frame_accuracy"].total == NUM_CLIPS
    again = world_report(Watcher(), NUM_CLIPS, seed=SEED)
    assert torch.equal(torch.cat(seen[3::4][:1]), torch.cat(seen[1::4][:1]))
    assert again.rates == report.rates


def test_the_control_can_be_left_out():
    oracle = Oracle()
    report = world_report(oracle, NUM_CLIPS, seed=SEED, single_frame=False)
    assert "single_frame_accuracy" not in report.rates
    assert oracle.unknown_clips == 0


def test_only_held_out_sentences_are_asked():
    oracle = Oracle()
    report = world_report(oracle, NUM_CLIPS, seed=SEED, single_frame=False)
    assert oracle.texts
    assert all(is_held_out(text) for text in oracle.texts)
    assert report.prompts_per_action >= 8
    assert len(report.actions) >= 24


def test_progress_is_told():
    steps = []
    clips = rendered_clips(World(seed=SEED), NUM_CLIPS, batch_size=20)
    world_report(
        Oracle(), NUM_CLIPS, seed=SEED, clips=clips, progress=lambda *step: steps.append(step)
    )
    assert steps == [(20, 56), (40, 56), (56, 56)]


def test_the_clips_do_not_depend_on_the_batch():
    small = list(rendered_clips(World(seed=SEED), 10, batch_size=3))
    [whole] = rendered_clips(World(seed=SEED), 10)
    assert [len(batch.truths) for batch in small] == [3, 3, 3, 1]
    assert torch.equal(torch.cat([batch.frames for batch in small]), whole.frames)
    assert [truth.index for batch in small for truth in batch.truths] == list(range(10))


def test_written_clips_are_the_rendered_ones(tmp_path):
    world = World(seed=SEED, objects=("star", "circle"))
    written = write_world(tmp_path, 11, world=world, splits=(0.0, 0.0, 1.0))
    batches = list(written_clips(world, written.videos, batch_size=4))
    assert [len(batch.truths) for batch in batches] == [4, 4, 3]
    frames = torch.cat([batch.frames for batch in batches])
    assert frames.shape == (11, 16, 128, 128, 3)
    halved = frames.float().unflatten(2, (64, 2)).unflatten(4, (64, 2)).mean(dim=(3, 5))
    rendered = torch.from_numpy(np.stack([world[number].frames for number in range(11)]))
    assert float((halved - rendered.float()).abs().mean()) < 3
    for number, truth in enumerate(t for batch in batches for t in batch.truths):
        assert truth.to_dict() == world.scene(number).to_dict()


def test_the_seed_of_the_report_is_out_of_the_way_of_recipes():
    from internvideo.recipe import list_recipes, load_recipe

    for name in list_recipes():
        data = load_recipe(name).data
        assert getattr(data, "seed", None) != EVALUATION_SEED


def test_a_batch_holds_what_it_is_given():
    [batch] = rendered_clips(World(seed=1), 2)
    assert isinstance(batch, ClipBatch)
    assert batch.frames.dtype == torch.uint8
    with pytest.raises(AttributeError):
        batch.frames = None
