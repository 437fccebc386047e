"""The recipes of ViCLIP and InternVideo-MM, built on the meta device."""

from __future__ import annotations

import pytest
import torch

from internvideo.errors import ConfigError
from internvideo.models.internvideo_mm import InternVideoMM
from internvideo.models.viclip import ViCLIP
from internvideo.recipe import list_recipes, load_recipe
from internvideo.recipe.building import build_task
from internvideo.zoo import find_card

VICLIP = [name for name in list_recipes() if "_viclip-" in name and not name.startswith("world_")]
MM = [name for name in list_recipes() if "_internvideo-mm-" in name and name.startswith("webvid")]


def on_meta(name: str, *overrides: str):
    with torch.device("meta"):
        return build_task(load_recipe(name, overrides), with_weights=False)


def test_every_size_and_stage_has_a_recipe():
    assert sorted(VICLIP) == [
        "internvid_viclip-b", "internvid_viclip-b_unmasked", "internvid_viclip-l",
        "internvid_viclip-l_unmasked",
    ]  # fmt: skip
    assert {name.split("_")[0] for name in MM} == {"webvid", "webvid-laion"}
    assert len(MM) == 4


@pytest.mark.parametrize("name", VICLIP)
def test_viclip_trains_the_video_tower_with_its_own_statistics(name):
    task, recipe = on_meta(name), load_recipe(name)
    assert isinstance(task.model, ViCLIP)
    assert task.model.config.vision.width == (1024 if "-l" in name else 768)
    trained = {n.removeprefix("model.") for n, p in task.named_parameters() if p.requires_grad}
    assert {n.split(".")[0] for n in trained} == {"vision_encoder", "temp"}
    assert task.config.mask_ratio == (0 if name.endswith("_unmasked") else 0.9)
    assert task.input.augmentation.mean == task.preprocessing.mean == (0.485, 0.456, 0.406)
    assert recipe.task.clean_captions
    assert recipe.optim.betas == (0.9, 0.98)
    vision = task.model.config.vision
    assert (vision.drop_path_rate, vision.drop_path_axis) == (0.1, "positions")


@pytest.mark.parametrize("size", ["b", "l"])
def test_the_second_stage_of_viclip_is_half_an_epoch(size):
    first, second = (load_recipe(f"internvid_viclip-{size}{end}") for end in ("", "_unmasked"))
    assert second.init == f"runs/{first.name}/model"
    assert second.schedule.total_steps(5000) == 2500
    assert second.optim.lr == 4e-6
    assert first.optim.lr == {"b": 2e-4, "l": 4e-4}[size]
    assert find_card(first.init).architecture == "openai-clip"


@pytest.mark.parametrize("name", MM)
def test_internvideo_mm_writes_captions_in_the_paper_only(name):
    task, paper = on_meta(name), "laion" in name
    assert isinstance(task.model, InternVideoMM)
    assert (task.model.caption_decoder is not None) == paper
    assert task.config.caption_weight == (1.0 if paper else 0.0)
    trained = [n for n, p in task.named_parameters() if p.requires_grad]
    assert any("text_encoder" in n for n in trained) == paper
    assert task.input.augmentation.flip_probability == 0
    recipe = load_recipe(name)
    assert recipe.schedule.warmup_steps == 4000
    assert recipe.schedule.total_steps(977) == (400_000 if paper else 9770)


def test_an_unknown_architecture_names_the_nearest():
    with pytest.raises(ConfigError, match=r"'viclp'.*viclip, internvideo-mm"):
        on_meta("internvid_viclip-b", "model.architecture=viclp")
