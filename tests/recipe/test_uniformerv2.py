"""The recipes of UniFormerV2: one for each released classifier, with its numbers and its input."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from internvideo.models.uniformerv2_classifier import (
    UniFormerV2Classifier,
    UniFormerV2ClassifierConfig,
)
from internvideo.recipe import list_recipes, load_recipe
from internvideo.recipe.building import build_preprocessing, build_source, build_task
from internvideo.train.optim import build_optimizer, scaled_lr
from internvideo.train.schedules import Schedule
from internvideo.zoo import find_card, list_models, save_pretrained
from internvideo.zoo.labels import k710_rows
from internvideo.zoo.resolve import card_config, card_preprocessing

NAMES = [name for name in list_recipes() if "_uniformerv2-" in name and "world" not in name]
NUM_GPUS = 32
# A step on the way to the 336 pixels of Moments in Time, of which no file was released.
UNRELEASED = "k400_uniformerv2-l-336_from-k710"

# data set, model, whether from Kinetics-710 -> videos a step, learning rate, epochs, warm-up,
# frames of each released file, as in the published scripts and tables
PUBLISHED = {
    ("k710", "b", False): (256, 1e-5, 55, 5, (8,)),
    ("k710", "l", False): (512, 1e-5, 40, 5, (8,)),
    ("k710", "l-336", False): (256, 5e-6, 40, 5, (8,)),
    ("k710", "l-336-frozen", False): (512, 8e-4, 50, 0, (8,)),
    ("k400", "b", False): (256, 1e-5, 55, 5, (8,)),
    ("k400", "l-336-frozen", False): (512, 8e-4, 50, 0, (8,)),
    ("k400", "b", True): (256, 2e-6, 5, 1, (8,)),
    ("k400", "l", True): ({8: 256, 16: 256, 32: 128}, 1.5e-6, 5, 1, (8, 16, 32)),
    ("k400", "l-336", True): ({8: 256, 32: 128, 64: 128}, 1.5e-6, 5, 1, (32, 64)),
    ("k400", "l-336-frozen", True): ({8: 512, 32: 256}, 5e-5, 5, 1, (8, 32)),
    ("mit", "b", False): (512, 2e-5, 24, 5, (8,)),
    ("mit", "l", False): (512, 1e-5, 18, 5, (8,)),
    ("mit", "l-336", False): (512, 1e-5, 18, 5, (8,)),
    ("ssv", "b", False): (128, 4e-5, 22, 5, (16, 32)),
    ("ssv", "l", False): (128, 2e-5, 22, 5, (16, 32)),
    ("untrimmed", "l", False): (64, 5e-6, 20, 5, (16, 32)),
}
SAME_NUMBERS = {
    "k600": "k400", "k700": "k400", "ssv1": "ssv", "ssv2": "ssv", "anet": "untrimmed",
    "hacs": "untrimmed",
}  # fmt: skip


def _row(name: str) -> tuple:
    data, _, rest = name.partition("_uniformerv2-")
    model, *_ = rest.split("_")
    return PUBLISHED[SAME_NUMBERS.get(data, data), model, name.endswith("_from-k710")]


def _card_name(name: str) -> str:
    data, _, rest = name.partition("_uniformerv2-")
    model, *_ = rest.split("_")
    size, _, variant = model.partition("-")
    parts = ["uniformerv2", {"b": "b16", "l": "l14"}[size], variant, data.replace("mit", "mitv1")]
    parts.append(f"{load_recipe(name).model.get('num_frames', 16 if 'ssv' in data else 8)}f")
    from_clip = data in ("k400", "k600", "k700") and not name.endswith("_from-k710")
    return "-".join([part for part in parts if part] + (["clip"] if from_clip else []))


def test_every_released_classifier_has_its_recipe():
    released = set(list_models(family="UniFormerV2"))
    assert {_card_name(name) for name in NAMES if name != UNRELEASED} == released
    assert len(NAMES) == len(released) + 1


@pytest.mark.parametrize("name", [name for name in NAMES if name != UNRELEASED])
def test_model_and_test_views_are_those_of_the_released_file(name):
    with torch.device("meta"):
        config = build_task(load_recipe(name), with_weights=False).model.config
    card = find_card(_card_name(name))
    rates, bare = (0.0, 0.0), {"drop_path_rate": 0.0, "global_drop_path_rate": 0.0}
    if name.startswith(("ssv", "anet", "hacs")):  # by token positions, as the reference does
        rates, bare = (0.2, 0.4), {**bare, "drop_path_axis": "clips"}
        assert config.drop_path_axis == "positions"
    assert (config.drop_path_rate, config.global_drop_path_rate) == rates
    assert replace(config, **bare) == replace(card_config(card), num_frames=config.num_frames)
    assert config.num_frames == card.num_frames
    assert build_preprocessing(load_recipe(name)) == card_preprocessing(card)


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_are_the_published_ones(name):
    recipe, (videos, lr, epochs, warmup, frames) = load_recipe(name), _row(name)
    num_frames = build_preprocessing(recipe).num_frames
    assert num_frames in frames or name == UNRELEASED
    if isinstance(videos, dict):
        videos = videos[num_frames]
    assert recipe.runtime.batch_size * NUM_GPUS == videos
    assert scaled_lr(recipe.optim, global_batch_size=videos) == lr
    assert (recipe.schedule.epochs, recipe.schedule.warmup_epochs) == (epochs, warmup)
    optim = recipe.optim
    assert (optim.betas, optim.weight_decay, optim.clip_grad_norm) == ((0.9, 0.999), 0.05, 20)
    assert optim.layer_decay is None
    assert recipe.task.repeats == (2 if name.startswith("ssv") else 1)
    assert recipe.task.mixup == recipe.task.cutmix == recipe.task.label_smoothing == 0


@pytest.mark.parametrize("name", ["k400_uniformerv2-b", "k400_uniformerv2-l-336-frozen"])
def test_the_learning_rate_starts_low_and_ends_low(name):
    recipe = load_recipe(name)
    schedule = Schedule(recipe.optim, recipe.schedule, lr=recipe.optim.lr, steps_per_epoch=100)
    warmup = int(100 * recipe.schedule.warmup_epochs)
    assert schedule.lr(0) == (1e-6 if warmup else recipe.optim.lr)
    assert schedule.lr(warmup) == pytest.approx(recipe.optim.lr)
    assert schedule.lr(schedule.total_steps) == pytest.approx(1e-6)
    assert schedule.lr(schedule.total_steps - 1) > 1e-6


def test_a_frozen_backbone_gets_no_learning_rate():
    recipe = load_recipe("k400_uniformerv2-l-336-frozen")
    with torch.device("meta"):
        task = build_task(recipe, with_weights=False)
    optimizer = build_optimizer(task, recipe.optim, lr=recipe.optim.lr)
    grouped = {id(p) for group in optimizer.param_groups for p in group["params"]}
    trained = {name for name, p in task.model.named_parameters() if id(p) in grouped}
    kept = {name for name, _ in task.model.named_parameters()} - trained
    assert {name.split(".")[1] for name in trained} == {"temporal_cls_token", "dpe", "dec", "proj"}
    assert all(".resblocks." in name for name in kept if name.startswith("transformer."))


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("ssv")])
def test_something_something_is_read_as_bgr_and_never_mirrored(name):
    with torch.device("meta"):
        task = build_task(load_recipe(name), with_weights=False)
    assert task.preprocessing.channel_order == task.input.augmentation.channel_order == "bgr"
    assert task.input.augmentation.flip_probability == 0
    assert (task.preprocessing.num_clips, task.preprocessing.num_crops) == (1, 3)
    frames = torch.zeros(16, 8, 8, 3, dtype=torch.uint8)
    frames[..., 0] = 255  # red
    clips = task.input.finish({"video": frames[None]})
    assert clips[0, 2].min() > 0 > clips[0, 0].max()


@pytest.mark.parametrize("name", ["anet_uniformerv2-l", "hacs_uniformerv2-l"])
def test_long_videos_are_trained_in_parts_and_tested_whole(name, tmp_path):
    (tmp_path / "list.csv").write_text("a.mp4 100.0 20.0 30.0 7\n")
    recipe = load_recipe(name, [f"data.annotations={tmp_path / 'list.csv'}", "data.root=null"])
    source = build_source(recipe)
    assert source.whole_videos
    assert (source.clips[0].start, source.clips[0].end) == (20.0, 30.0)
    assert recipe.evaluation.data.kind == recipe.data.kind
    assert recipe.sampling.rule == "uniform"


def test_the_head_of_kinetics_710_gives_the_rows_that_are_wanted(tmp_path):
    shape = {"image_size": 32, "width": 16, "depth": 2, "num_heads": 2, "global_layers": (1,)}
    torch.manual_seed(0)
    start = UniFormerV2Classifier(UniFormerV2ClassifierConfig(**shape, num_classes=710))
    folder = save_pretrained(start, tmp_path / "k710")
    fields = [f"model.{n}={list(v) if n == 'global_layers' else v}" for n, v in shape.items()]
    recipe = load_recipe("k700_uniformerv2-b_from-k710", [f"init={folder}", *fields])
    model = build_task(recipe).model
    rows = list(k710_rows("kinetics-700/authors"))
    assert torch.equal(model.head.weight, start.head.weight[rows])
    assert torch.equal(model.transformer.proj[0].weight, start.transformer.proj[0].weight)
    assert torch.equal(model.conv1.weight, start.conv1.weight)
