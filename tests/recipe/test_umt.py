"""The fine-tuning recipes of the unmasked teacher: one for each released classifier."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from internvideo.models.umt_classifier import UMTClassifier, UMTClassifierConfig
from internvideo.recipe import list_recipes, load_recipe
from internvideo.recipe.building import build_preprocessing, build_task
from internvideo.train.optim import build_optimizer, scaled_lr
from internvideo.train.schedules import Schedule
from internvideo.zoo import find_card, find_cards, save_pretrained
from internvideo.zoo.labels import k710_rows
from internvideo.zoo.resolve import card_config, card_preprocessing

NAMES = [
    name for name in list_recipes() if "_umt-" in name and load_recipe(name).task.kind
    == "supervised"
]  # fmt: skip
NUM_GPUS = 16

# data set and model -> videos a GPU, copies, epochs, warm-up and rate of the published scripts
PUBLISHED = {
    "k710_umt-b": (16, 2, 35, 2, 2e-4),
    "k710_umt-l": (16, 2, 20, 2, 1e-4),
    "k400_umt-b_from-k710": (16, 2, 5, 1, 2e-5),
    "k400_umt-l_from-k710": (16, 2, 5, 1, 1e-5),
    "k400_umt-l_16f_from-k710": (8, 2, 5, 1, 1e-5),
    "mit_umt-b": (32, 1, 40, 5, 1e-4),
    "mit_umt-l": (32, 1, 20, 5, 1e-4),
    "mit_umt-b_384": (16, 1, 4, 1, 1e-5),
    "mit_umt-l_384": (8, 1, 4, 1, 1e-5),
    "ssv2_umt-b": (16, 2, 30, 5, 2e-4),
    "ssv2_umt-l": (16, 2, 14, 4, 4e-4),
}


def _row(name: str) -> tuple:
    return PUBLISHED[name.replace("k600", "k400").replace("k700", "k400")]


def _card_name(name: str) -> str:
    data, _, rest = name.partition("_umt-")
    size = "-384" if rest.endswith("_384") else ""
    frames = "16f" if "_16f" in rest else "8f"
    return f"umt-{rest[0]}16{size}-{data.replace('mit', 'mitv1')}-{frames}"


def test_every_released_classifier_has_its_recipe():
    cards = find_cards(family="Unmasked Teacher")
    released = {card.name for card in cards if (card.architecture or "").endswith("/classifier")}
    assert {_card_name(name) for name in NAMES} == released
    assert len(NAMES) == len(released) == 17


@pytest.mark.parametrize("name", NAMES)
def test_model_and_test_views_are_those_of_the_released_file(name):
    with torch.device("meta"):
        config = build_task(load_recipe(name), with_weights=False).model.config
    card = find_card(_card_name(name))
    assert replace(config, drop_path_rate=0.0) == card_config(card)
    protocol = build_preprocessing(load_recipe(name))
    if name == "mit_umt-l_384":  # the script tests six clips, the table says four
        assert protocol.num_clips == 6
        protocol = replace(protocol, num_clips=4)
    assert protocol == card_preprocessing(card)


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_are_the_published_ones(name):
    recipe, (videos, repeats, epochs, warmup, rate) = load_recipe(name), _row(name)
    assert recipe.runtime.batch_size == videos
    assert recipe.task.repeats == repeats
    assert (recipe.schedule.epochs, recipe.schedule.warmup_epochs) == (epochs, warmup)
    # The published rule counts the copies: rate x (videos x GPUs x copies) / 256.
    lr = scaled_lr(recipe.optim, global_batch_size=videos * NUM_GPUS)
    assert lr == pytest.approx(rate * videos * NUM_GPUS * repeats / 256)
    large = "_umt-l" in name
    assert recipe.optim.layer_decay == (0.85 if large else 0.75)
    assert recipe.model["drop_path_rate"] == (0.2 if large else 0.1)
    assert recipe.optim.weight_decay == (0.1 if name.endswith("_384") else 0.05)
    schedule = Schedule(recipe.optim, recipe.schedule, lr=lr, steps_per_epoch=100)
    scale = lr / recipe.optim.lr
    assert schedule.lr(0) == pytest.approx(1e-6 * scale)
    assert schedule.lr(schedule.total_steps) == pytest.approx(1e-6 * scale)


def test_the_rate_falls_towards_the_patches():
    recipe = load_recipe("k710_umt-b")
    with torch.device("meta"):
        task = build_task(recipe, with_weights=False)
    optimizer = build_optimizer(task, recipe.optim, lr=1.0)
    scales = {id(p): g["lr_scale"] for g in optimizer.param_groups for p in g["params"]}
    of = {name: scales[id(p)] for name, p in task.model.named_parameters()}
    assert of["patch_embed.proj.weight"] == pytest.approx(0.75**13)
    assert of["blocks.0.attn.qkv.weight"] == pytest.approx(0.75**12)
    assert of["blocks.11.mlp.fc2.bias"] == pytest.approx(0.75)
    assert of["fc_norm.weight"] == of["head.weight"] == 1
    assert "pos_embed" not in of


def test_sixteen_frames_start_from_the_head_and_encoder_of_eight(tmp_path):
    shape = {"image_size": 32, "width": 16, "depth": 1, "num_heads": 2}
    torch.manual_seed(0)
    start = UMTClassifier(UMTClassifierConfig(**shape, num_classes=710, init_scale=1.0))
    folder = save_pretrained(start, tmp_path / "k710")
    fields = [f"model.{name}={value}" for name, value in shape.items()]
    recipe = load_recipe("k600_umt-l_16f_from-k710", [f"init={folder}", "model.size=null", *fields])
    model = build_task(recipe).model
    assert model.config.grid == (16, 2, 2)
    rows = list(k710_rows("kinetics-600/authors"))
    assert torch.equal(model.head.weight, start.head.weight[rows])
    assert torch.equal(model.patch_embed.proj.weight, start.patch_embed.proj.weight)
    assert model.pos_embed.shape == (1, 64, 16)
