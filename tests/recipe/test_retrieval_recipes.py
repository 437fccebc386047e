"""The recipes of retrieval have the numbers of the published scripts (built on the meta device)."""

from __future__ import annotations

import pytest
import torch

from internvideo.models.internvideo_mm import InternVideoMM
from internvideo.recipe import list_recipes, load_recipe
from internvideo.recipe.building import build_preprocessing, build_task
from internvideo.tasks.retrieval.frames import FrameRetriever
from internvideo.train.optim import build_optimizer
from internvideo.train.schedules import Schedule
from internvideo.video.preprocessing import PRESETS
from internvideo.zoo import find_card

# data set: frames, rule, epochs, videos a step, GPUs, learning rate of the towers (lr · coef_lr)
PUBLISHED = {
    "msrvtt-1ka": (12, "per-second", 5, 128, 4, 1e-3 * 4e-3),
    "msvd": (8, "whole-second", 5, 64, 8, 1e-3 * 2.5e-3),
    "lsmdc": (8, "per-second", 5, 64, 8, 1e-3 * 2e-3),
    "anet-captions": (64, "whole-second", 30, 64, 8, 1e-3 * 2e-3),
    "didemo": (32, "per-second", 5, 16, 8, 1e-3 * 2e-3),
    "vatex": (8, "per-second", 5, 128, 8, 1e-3 * 5e-3),
}
CARDS = {"msrvtt-1ka": "msrvtt", "anet-captions": "activitynet"}


def on_meta(name: str):
    with torch.device("meta"):
        return build_task(load_recipe(name), with_weights=False)


def test_every_released_model_has_a_recipe():
    mine = {name for name in list_recipes() if load_recipe(name).task.kind == "retrieval"}
    assert {f"{data}_internvideo-mm-l" for data in PUBLISHED} == {
        name for name in mine if name.endswith("_internvideo-mm-l")
    }


@pytest.mark.parametrize("data", PUBLISHED)
def test_the_numbers_are_those_of_the_script(data):
    frames, rule, epochs, global_batch, gpus, lr = PUBLISHED[data]
    recipe = load_recipe(f"{data}_internvideo-mm-l")
    assert recipe.optim.lr == pytest.approx(lr)
    assert recipe.runtime.batch_size * gpus == global_batch
    assert recipe.runtime.precision == "32-true"
    schedule = Schedule(recipe.optim, recipe.schedule, lr=lr, steps_per_epoch=100)
    assert schedule.total_steps == epochs * 100
    rates = [schedule.lr(step) / lr for step in (0, epochs * 5, epochs * 10, epochs * 50)]
    assert rates == pytest.approx([0, 0.5, 0.97553, 0.5], abs=1e-5)
    assert (recipe.task.average_with is not None) == (data == "lsmdc")

    protocol = build_preprocessing(recipe)
    assert (protocol.num_frames, protocol.sampling) == (frames, rule)
    assert protocol.max_seconds == (31 if data == "didemo" else None)


def test_the_projection_of_the_video_is_frozen_and_norms_decay():
    task, recipe = on_meta("lsmdc_internvideo-mm-l"), load_recipe("lsmdc_internvideo-mm-l")
    assert isinstance(task.model, InternVideoMM)
    assert task.model.caption_decoder is None
    assert task.model.config.text.context_length == 77
    assert sum(p.requires_grad for p in task.model.parameters()) == 500
    groups = build_optimizer(task, recipe.optim, lr=1.0).param_groups
    assert {group["weight_decay"] for group in groups} == {0.2, 0.0}
    assert {group["lr_scale"] for group in groups} == {1.0}


@pytest.mark.parametrize("data", PUBLISHED)
def test_a_released_file_is_measured_with_the_frames_that_it_was_trained_with(data):
    card = find_card(f"internvideo-mm-l14-ret-{CARDS.get(data, data)}")
    recipe = load_recipe(f"{data}_internvideo-mm-l")
    assert card.is_available
    fields = {**PRESETS[card.preprocessing].to_dict(), **card.preprocessing_options}
    assert fields == build_preprocessing(recipe).to_dict()


def test_the_baseline_looks_at_each_frame_alone():
    task = on_meta("msrvtt-1ka_clip-b32")
    assert isinstance(task.model, FrameRetriever)
    assert task.model.config.frames == "alone"
    assert task.model.config.towers.text.context_length == 32
    trained = [name for name, p in task.model.named_parameters() if p.requires_grad]
    assert "towers.vision_encoder.proj" in trained
    assert "towers.vision_encoder.conv1.weight" not in trained
