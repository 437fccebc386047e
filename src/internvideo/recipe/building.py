"""From a recipe to its task with the model; the data side is `recipe.inputs`."""

from __future__ import annotations

from typing import Any

from torch import nn

from internvideo.config import config_to_dict
from internvideo.errors import ConfigError
from internvideo.models.layers import checkpoint_blocks
from internvideo.recipe.inputs import build_augmentation, build_preprocessing
from internvideo.recipe.schema import Recipe
from internvideo.tasks.parts import Parts
from internvideo.tasks.registry import all_architectures, find_objective
from internvideo.train.task import TrainableTask
from internvideo.zoo.external import describe_external, is_external
from internvideo.zoo.kinds.external import PROBE

__all__ = ["build_task", "with_external_encoder"]


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
