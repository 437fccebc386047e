"""From a recipe to the parts of a run: the clips, the protocol, the augmentation, the task."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import nn

from internvideo.config import config_from_dict, config_to_dict
from internvideo.data.config import FeatureData, open_data
from internvideo.data.samples import EvaluationSource
from internvideo.errors import ConfigError, did_you_mean
from internvideo.models.layers import checkpoint_blocks
from internvideo.recipe.schema import Recipe
from internvideo.tasks.parts import Parts
from internvideo.tasks.registry import all_architectures, find_objective
from internvideo.train.task import TrainableTask
from internvideo.video.augment import AUGMENTATIONS, Augmentation
from internvideo.video.preprocessing import PRESETS, Preprocessing
from internvideo.zoo.external import describe_external, is_external
from internvideo.zoo.kinds.external import PROBE

__all__ = [
    "build_augmentation",
    "build_preprocessing",
    "build_source",
    "build_task",
    "with_described_model",
    "with_external_encoder",
    "with_feature_origin",
]


def with_external_encoder(recipe: Recipe) -> Recipe:
    """Return a recipe with what its `init` says, where that is an encoder of another library.

    The model gets the shape of the encoder, and the recipe its input protocol where it has none of
    its own. Whoever has the result needs neither the folder nor the hub to build the model.

    Raises:
        ConfigError: such an encoder does not start this task.
        CheckpointError: the encoder cannot be had, or is of a kind that is not supported.
    """
    if recipe.init is None or not is_external(recipe.init) or "encoder" in recipe.model:
        return recipe
    objective = find_objective(recipe.task)
    if PROBE.id not in objective.models:
        raise ConfigError(
            f"init {recipe.init} is an encoder of another library, which starts a probe, not a "
            f"{objective.kind} task"
        )
    found = describe_external(recipe.init, encoder_only=True)
    shape = {"architecture": PROBE.id, "encoder": config_to_dict(found.config)}
    changes: dict[str, Any] = {"model": {**shape, **recipe.model}}
    if "preprocessing" not in recipe.model_fields_set:
        changes["preprocessing"] = found.protocol.to_dict()
    return recipe.model_copy(update=changes)


def with_feature_origin(recipe: Recipe) -> Recipe:
    """Return a recipe whose model knows what made its features, where their folder says it.

    Raises:
        DataError: there is no such folder.
    """
    if not isinstance(recipe.data, FeatureData) or "origin" in recipe.model:
        return recipe
    name = recipe.model.get("architecture", find_objective(recipe.task).models[0])
    configs = [each.config for each in all_architectures() if each.id == name]
    origin = recipe.data.features.open().origin()
    if origin is None or not any(hasattr(config, "origin") for config in configs):
        return recipe
    return recipe.model_copy(update={"model": {**recipe.model, "origin": config_to_dict(origin)}})


def with_described_model(recipe: Recipe) -> Recipe:
    """Return a recipe whose model needs no other model to be told its shape.

    Raises:
        ConfigError: another model that the recipe names cannot be part of this one.
        CheckpointError: it cannot be had.
    """
    describe = find_objective(recipe.task).describe
    if describe is None:
        return recipe
    return recipe.model_copy(update={"model": describe(recipe.task, recipe.model)})


def build_task(recipe: Recipe, *, with_weights: bool = True) -> TrainableTask[nn.Module]:
    """Return the task with its model, started from `recipe.init` where that is given.

    Args:
        recipe: what to build.
        with_weights: False reads no file, neither `init` nor a teacher: for a task whose weights
            come from elsewhere, and which does not train.

    Raises:
        ConfigError: the model configuration does not fit the task's model class.
        CheckpointError: `init` cannot be read, or its encoder has another shape.
    """
    recipe = with_described_model(recipe)
    objective = find_objective(recipe.task)
    parts = Parts(
        task=objective.kind,
        models=objective.models,
        architectures=all_architectures(),
        model=recipe.model,
        preprocessing=build_preprocessing(recipe),
        augmentation=build_augmentation(recipe),
        init=recipe.init if with_weights else None,
        init_labels=recipe.init_labels if with_weights else None,
        with_weights=with_weights,
    )
    task = objective.build(recipe.task, parts)
    if recipe.runtime.activation_checkpointing:
        checkpoint_blocks(task.model)  # type: ignore[arg-type]
    return task


def build_source(recipe: Recipe) -> EvaluationSource:
    """Return the clips that the recipe trains on.

    Raises:
        DataError: the annotations cannot be used; the line is named.
    """
    return open_data(recipe.data, build_preprocessing(recipe), recipe.sampling)


def build_preprocessing(recipe: Recipe) -> Preprocessing:
    """Return the input protocol that the recipe names or spells out."""
    return _chosen(recipe.preprocessing, PRESETS, what="preprocessing")


def build_augmentation(recipe: Recipe) -> Augmentation | None:
    """Return the augmentation that the recipe names or spells out, or None."""
    if recipe.augmentation is None:
        return None
    protocol = build_preprocessing(recipe)
    chosen = _chosen(recipe.augmentation, AUGMENTATIONS, what="augmentation")
    # What the model sees in training and in the test must have one size, scale and channel order.
    return dataclasses.replace(
        chosen,
        size=protocol.crop_size,
        mean=protocol.mean,
        std=protocol.std,
        channel_order=protocol.channel_order,
    )


def _chosen(value: dict[str, Any] | str, presets: Mapping[str, Any], *, what: str) -> Any:
    """Return a preset by name, a preset with changed fields, or what the fields alone spell out."""
    fields = {"preset": value} if isinstance(value, str) else dict(value)
    kind = type(next(iter(presets.values())))
    preset = fields.pop("preset", None)
    if preset is None:
        return config_from_dict(kind, fields, source=what)
    if preset not in presets:
        raise ConfigError(
            f"no {what} preset {preset!r}; one of: {', '.join(presets)}."
            f"{did_you_mean(str(preset), presets)}"
        )
    return config_from_dict(kind, {**config_to_dict(presets[preset]), **fields}, source=what)
