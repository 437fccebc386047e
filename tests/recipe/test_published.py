"""Every recipe of ours, built on the meta device: model, optimiser groups, schedule."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import torch

from internvideo.recipe import list_recipes, load_recipe
from internvideo.recipe.building import build_task
from internvideo.train.optim import build_optimizer, scaled_lr
from internvideo.train.schedules import Schedule
from internvideo.zoo import find_card
from internvideo.zoo.resolve import card_config

NAMES = tuple(list_recipes())
PUBLISHED = tuple(name for name in NAMES if not name.startswith("world_"))
PLAIN_VIT = tuple(n for n in PUBLISHED if re.search(r"_(?:videomae|videomaev2|umt)-(?!mm)", n))
FINETUNED = tuple(name for name in PUBLISHED if load_recipe(name).task.kind == "supervised")
MILLIONS = {"b": 86, "l": 304, "h": 632, "g": 1011}
CLASSES = {
    "k400": 400, "k600": 600, "k700": 700, "k710": 710, "ssv1": 174, "ssv2": 174,
    "anet": 200, "hacs": 200, "ucf101": 101, "hmdb51": 51, "mit": 339,
}  # fmt: skip


@pytest.fixture(scope="module")
def on_meta(tmp_path_factory):
    tasks = {}
    words = tmp_path_factory.mktemp("words") / "words.txt"
    words.write_text("the\ncup\n")

    def build(name):
        if name not in tasks:
            with torch.device("meta"):
                recipe = load_recipe(name)
                if isinstance(recipe.model.get("vocabulary"), str) and name in PUBLISHED:
                    recipe = load_recipe(name, ["model.vocabulary=null"])  # a file of the user's
                if isinstance(recipe.model.get("text", {}).get("vocabulary"), str):
                    recipe = load_recipe(name, [f"model.text.vocabulary={words}"])
                if name == "world_internvideo-nano":  # an encoder of the same shape
                    recipe = load_recipe(name, ["task.multimodal=videomae-nano"])
                tasks[name] = build_task(recipe, with_weights=False)
        return tasks[name]

    return build


def test_names_are_unique_and_those_of_the_files():
    root = Path(__file__).parents[2] / "recipes"
    files = [path.stem.partition("_") for path in root.rglob("[!_]*.yaml")]
    names = [f"{data}_{rest}" for several, _, rest in files for data in several.split("+")]
    assert not [name for name, count in Counter(names).items() if count > 1]
    assert set(NAMES) == set(names)
    assert [load_recipe(name).name for name in NAMES] == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_model_groups_and_schedule_can_be_built(name, on_meta):
    recipe, task = load_recipe(name), on_meta(name)
    lr = scaled_lr(recipe.optim, global_batch_size=256)
    optimizer = build_optimizer(task, recipe.optim, lr=lr)
    trained = {id(p) for p in task.parameters() if p.requires_grad}
    grouped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert Counter(grouped) == Counter(trained), "each trainable tensor is in one group"
    for group in optimizer.param_groups:
        only_vectors = all(p.ndim <= 1 for p in group["params"])
        assert group["weight_decay"] in (0, recipe.optim.weight_decay)
        assert not (only_vectors and group["weight_decay"])
    per_epoch = 100 if recipe.schedule.warmup_steps is None else recipe.schedule.warmup_steps
    schedule = Schedule(recipe.optim, recipe.schedule, lr=lr, steps_per_epoch=per_epoch)
    rates = [schedule.lr(step) for step in range(0, schedule.total_steps, 7)]
    assert 0.95 * lr <= max(rates) <= lr * (1 + 1e-9)
    assert min(rates) >= 0
    end = lr * recipe.schedule.min_lr / recipe.optim.lr
    assert rates[-1] - end < 0.1 * (lr - end) * (1 + 1e-9)


@pytest.mark.parametrize("name", FINETUNED)
def test_classes_are_those_of_the_name(name, on_meta):
    assert on_meta(name).model.config.num_classes == CLASSES[name.split("_")[0]]


@pytest.mark.parametrize("name", PLAIN_VIT)
def test_sizes_are_those_of_the_name(name, on_meta):
    model = on_meta(name).model
    encoder = getattr(model, "encoder", model)
    size = re.search(r"_(?:videomae|videomaev2|umt)-([a-z])", name)[1]
    head = sum(p.numel() for p in encoder.head.parameters()) if hasattr(encoder, "head") else 0
    millions = (sum(p.numel() for p in encoder.parameters()) - head) / 1e6
    assert millions == pytest.approx(MILLIONS[size], rel=0.02)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_start_is_a_released_file_or_another_recipe(name):
    recipe = load_recipe(name)
    if recipe.task.kind == "interaction":
        for encoder in (recipe.task.masked, recipe.task.multimodal):
            assert encoder.split("/")[1] in NAMES
    elif recipe.init is None:
        fresh = ("masked", "unmasked-teacher", "localization", "language-queries", "state-change")
        assert recipe.task.kind in fresh
    elif recipe.init.startswith("runs/"):
        assert recipe.init.split("/")[1] in NAMES
    else:
        assert find_card(recipe.init).is_available


@pytest.mark.parametrize("name", [n for n in PUBLISHED if "_umt-" in n and "_pretrain" in n])
def test_the_teacher_is_a_released_image_clip_with_the_width_of_the_targets(name, on_meta):
    card = find_card(load_recipe(name).task.teacher)
    assert (card.is_available, card.architecture) == (True, "openai-clip")
    assert card_config(card).embed_dim == on_meta(name).model.config.target_width


@pytest.mark.parametrize("name", [n for n in PUBLISHED if n in {*PLAIN_VIT, *FINETUNED}])
def test_data_that_know_left_from_right_are_never_mirrored(name, on_meta):
    if load_recipe(name).task.kind == "action-detection":  # boxes are mirrored with the frames
        assert load_recipe(name).task.mirror == 0.5
        return
    if load_recipe(name).task.kind == "anticipation":  # likewise
        assert load_recipe(name).task.flip == 0.5
        return
    augmentation = on_meta(name).input.augmentation
    sided = name.startswith("ss") or load_recipe(name).task.kind == "masked"
    assert augmentation.flip_probability == (0 if sided else 0.5)


@pytest.mark.parametrize(
    "name", [n for n in FINETUNED if "_from-" in n and n.split("_from-")[0] in NAMES]
)
def test_intermediate_fine_tuning_is_gentler(name):
    direct = load_recipe(name.split("_from-")[0])
    assert load_recipe(name).optim.lr < direct.optim.lr
    assert load_recipe(name).schedule.epochs < direct.schedule.epochs
