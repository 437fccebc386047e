"""From a recipe to a trained model: build the parts, run the loop, save what came out."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from internvideo.data.samples import ClipSource
from internvideo.errors import ConfigError
from internvideo.models.config import config_from_dict
from internvideo.models.layers import checkpoint_blocks
from internvideo.recipe import Recipe
from internvideo.recipe.schema import ContrastiveTask, ListData, MSRVTTData
from internvideo.train.loop import Plan, Task, build_fabric, train
from internvideo.video.preprocessing import PRESETS, Preprocessing
from internvideo.zoo import load_encoder_weights, save_pretrained

__all__ = ["build_preprocessing", "build_source", "build_task", "run_recipe"]


def run_recipe(recipe: Recipe, directory: Path) -> Path:
    """Train what the recipe says; run again with the same arguments to continue after a stop.

    Args:
        recipe: the resolved recipe.
        directory: the run directory: `recipe.yaml`, `log.jsonl`, `last.ckpt`, curves, `model/`.

    Returns:
        The directory of the trained model (safetensors and config.json).
    """
    fabric = build_fabric(recipe.runtime)
    task = build_task(recipe)
    source = build_source(recipe)
    plan = Plan(
        optim=recipe.optim,
        schedule=recipe.schedule,
        runtime=recipe.runtime,
        fingerprint=recipe.fingerprint(),
    )
    if fabric.is_global_zero:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    train(task, source, plan, directory, fabric=fabric)
    model_directory = directory / "model"
    if fabric.is_global_zero:
        save_pretrained(
            task.model,
            model_directory,
            preprocessing=build_preprocessing(recipe),
            provenance=_provenance(recipe),
        )
    fabric.barrier()
    return model_directory


def build_task(recipe: Recipe) -> Task:
    """Return the task with its model, started from `recipe.init` where that is given.

    Raises:
        ConfigError: the model configuration does not fit the task's model class.
    """
    preprocessing = build_preprocessing(recipe)
    if isinstance(recipe.task, ContrastiveTask):
        from internvideo.models.viclip import ViCLIP, ViCLIPConfig
        from internvideo.tasks.pretraining.contrastive import ContrastivePretraining

        model = ViCLIP(_model_config(ViCLIPConfig, recipe))
        task: Task = ContrastivePretraining(
            model, preprocessing, model.tokenizer, mask_ratio=recipe.task.mask_ratio
        )
    else:
        from internvideo.models.videomae import VideoMAE, VideoMAEConfig
        from internvideo.tasks.pretraining.masked import MaskedPretraining

        model = VideoMAE(_model_config(VideoMAEConfig, recipe))
        task = MaskedPretraining(
            model, preprocessing, mask=recipe.task.mask, mask_ratio=recipe.task.mask_ratio
        )
    if recipe.init is not None:
        load_encoder_weights(model, recipe.init)
    if recipe.runtime.activation_checkpointing:
        checkpoint_blocks(model)
    return task


def build_source(recipe: Recipe) -> ClipSource:
    """Return the clips that the recipe names."""
    from internvideo.data.sources import KineticsSource, MSRVTTSource, WorldSource

    data, preprocessing = recipe.data, build_preprocessing(recipe)
    if isinstance(data, ListData):
        return KineticsSource(data.annotations, preprocessing, root=data.root)
    if isinstance(data, MSRVTTData):
        return MSRVTTSource(data.annotations, preprocessing, videos=data.videos, split=data.split)
    from internvideo.world import CaptionMix, World

    return WorldSource(
        World(seed=data.seed), num_clips=data.num_clips, captions=CaptionMix(**data.captions)
    )


def build_preprocessing(recipe: Recipe) -> Preprocessing:
    """Return the input protocol that the recipe names or spells out."""
    if isinstance(recipe.preprocessing, str):
        if recipe.preprocessing not in PRESETS:
            raise ConfigError(
                f"no preprocessing preset '{recipe.preprocessing}'; one of: {', '.join(PRESETS)}"
            )
        return PRESETS[recipe.preprocessing]
    return Preprocessing.from_dict(recipe.preprocessing)


def _model_config(kind: type, recipe: Recipe) -> Any:
    values = dict(recipe.model)
    if values.get("vocabulary") == "world":
        from internvideo.world import vocabulary

        words = vocabulary()
        special_tokens = 4
        values["vocabulary"] = list(words)
        values["text"] = {**values.get("text", {}), "vocab_size": len(words) + special_tokens}
    return config_from_dict(kind, values)


def _provenance(recipe: Recipe) -> dict[str, Any]:
    import torch

    return {
        "recipe": recipe.name,
        "recipe_sha256": recipe.fingerprint(),
        "internvideo": version("internvideo"),
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
