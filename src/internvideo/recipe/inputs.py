"""From a recipe to what its model is fed: the clips, the input protocol, the augmentation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from internvideo.config import config_from_dict, config_to_dict
from internvideo.data.config import open_data
from internvideo.data.samples import EvaluationSource
from internvideo.errors import ConfigError, did_you_mean
from internvideo.recipe.schema import Recipe
from internvideo.video.augment import AUGMENTATIONS, Augmentation
from internvideo.video.preprocessing import PRESETS, Preprocessing

__all__ = ["build_augmentation", "build_preprocessing", "build_source"]


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
