"""From a recipe to what its model is fed: the clips, the input protocol, the augmentation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from internvideo.config import config_from_dict, config_to_dict
from internvideo.data.clip_sampling import ClipSampling
from internvideo.data.mix import MixSource
from internvideo.data.samples import EvaluationSource
from internvideo.errors import ConfigError, did_you_mean
from internvideo.formats.columns import CaptionColumns
from internvideo.recipe.schema import (
    CaptionData,
    ListData,
    MixData,
    MSRVTTData,
    OneData,
    Recipe,
    ShardData,
    WorldData,
)
from internvideo.video.augment import AUGMENTATIONS, Augmentation
from internvideo.video.preprocessing import PRESETS, Preprocessing
from internvideo.zoo.labels import label_names

__all__ = ["build_augmentation", "build_preprocessing", "build_source", "class_names"]


def build_source(recipe: Recipe) -> EvaluationSource:
    """Return the clips that the recipe trains on.

    Raises:
        DataError: the annotations cannot be used; the line is named.
    """
    protocol, sampling = build_preprocessing(recipe), _sampling(recipe)
    if not isinstance(recipe.data, MixData):
        source = _one_source(recipe.data, protocol, sampling)
        still = getattr(source, "still", None)
        if still is None or still.all() or not still.any():
            return source
        return MixSource([source])  # no batch of videos and images
    sources = [_one_source(part.data, protocol, sampling) for part in recipe.data.sources]
    return MixSource(sources, [part.weight for part in recipe.data.sources])


def _one_source(
    data: OneData, protocol: Preprocessing, sampling: ClipSampling | None
) -> EvaluationSource:
    from internvideo.data.build import open_list

    more: dict[str, Any] = {}
    match data:
        case ListData():
            kind, root = data.kind, data.root
            more = {"labels": data.labels, "split": data.split}
        case CaptionData():
            kind, root = "captions", data.root
            if data.columns is not None:
                more = {"columns": CaptionColumns(**data.columns.model_dump())}
        case MSRVTTData():
            kind, root, more = "msrvtt", data.videos, {"split": data.split}
        case ShardData():
            from internvideo.data.shards import open_shards

            return open_shards(data.shards, protocol=protocol, sampling=sampling, cache=data.cache)
        case WorldData():
            return _world(data, sampling)
    return open_list(
        kind,
        data.annotations,
        protocol=protocol,
        sampling=sampling,
        root=root,
        skip_bad=data.skip_bad,
        **more,
    )


def _world(data: WorldData, sampling: ClipSampling | None) -> EvaluationSource:
    from internvideo.data.world import WorldSource
    from internvideo.world import CaptionMix, World

    return WorldSource(
        World(seed=data.seed),
        num_clips=data.num_clips,
        start=data.start,
        captions=config_from_dict(CaptionMix, data.captions),
        sampling=sampling,
    )


def class_names(recipe: Recipe, source: EvaluationSource) -> tuple[str, ...] | None:
    """Return what the classes of the recipe's model are called, where its data or labels tell."""
    if recipe.init_labels is not None:
        return label_names(recipe.init_labels)
    world = getattr(source, "world", None)
    if world is not None:
        return tuple(world.style.actions)
    return getattr(getattr(source, "clips", None), "class_names", None)


def _sampling(recipe: Recipe) -> ClipSampling | None:
    if recipe.sampling is None:
        return None
    return ClipSampling(
        clip_length=build_preprocessing(recipe).num_frames, **recipe.sampling.model_dump()
    )


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
        return config_from_dict(kind, fields)
    if preset not in presets:
        raise ConfigError(
            f"no {what} preset {preset!r}; one of: {', '.join(presets)}."
            f"{did_you_mean(str(preset), presets)}"
        )
    return config_from_dict(kind, {**config_to_dict(presets[preset]), **fields})
