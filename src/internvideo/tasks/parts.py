"""What a recipe gives a task to build from, and how its model is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from internvideo.config import config_from_dict, config_to_dict, merged
from internvideo.errors import ConfigError, did_you_mean
from internvideo.models.external import ExternalProbe
from internvideo.video.augment import Augmentation
from internvideo.video.preprocessing import Preprocessing
from internvideo.world import vocabulary
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.architectures import ARCHITECTURES
from internvideo.zoo.external import start_probe
from internvideo.zoo.transfer import load_encoder_weights

__all__ = ["Parts"]

_WORLD = "world"
_SPECIAL_TOKENS = 4


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a recipe gives an objective to build from.

    Attributes:
        task: name of the task, for messages.
        models: ids of the architectures that it trains; the first is the usual one.
        model: the section `model`.
        preprocessing: the input protocol: frames per clip, resolution, pixel statistics.
        augmentation: of training clips; None resizes as the protocol does.
        init: where the weights start from, as `load_model` takes it.
        init_labels: keep the head of `init`, its rows in the order of this label map.
        with_weights: False reads no file: the weights come from elsewhere, nothing trains.
        architectures: where `models` are looked up.
    """

    task: str
    models: Sequence[str]
    model: Mapping[str, Any]
    preprocessing: Preprocessing
    augmentation: Augmentation | None = None
    init: str | None = None
    init_labels: str | None = None
    with_weights: bool = True
    architectures: Sequence[Architecture] = ARCHITECTURES

    def build_model(self, fields: Mapping[str, Any] | None = None) -> Any:
        """Return the model of the section `model`, with fresh weights.

        Args:
            fields: what the task adds to the section.

        Raises:
            ConfigError: another architecture, size or field than there is.
        """
        values = {**self.model, **(fields or {})}
        name = values.pop("architecture", self.models[0])
        known = {each.id: each for each in self.architectures if each.id in self.models}
        if name not in known:
            raise ConfigError(
                f"model.architecture {name!r} of a {self.task} task is not one of "
                f"{', '.join(self.models)}.{did_you_mean(str(name), self.models)}"
            )
        architecture = known[name]
        return architecture.model(_model_config(architecture, values))

    def start_encoder(self, model: nn.Module) -> None:
        """Give the encoder of a model the weights of `init`, if there is one."""
        if self.init is not None and isinstance(model, ExternalProbe):
            start_probe(model, self.init)
        elif self.init is not None:
            load_encoder_weights(model, self.init, architectures=self.architectures)

    def refuse(self, *names: str) -> None:
        """Refuse sections of the recipe that the task would not use.

        Raises:
            ConfigError: one of them is given.
        """
        for name in names:
            if getattr(self, name) is not None:
                raise ConfigError(f"the task {self.task!r} takes no {name}; remove it")


def _model_config(architecture: Architecture, values: Mapping[str, Any]) -> Any:
    """Return a model's configuration: the given fields on those of its `size`."""
    values = dict(values)
    size = values.pop("size", None)
    if size is not None:
        if size not in architecture.sizes:
            raise ConfigError(f"model.size {size!r} is not one of {', '.join(architecture.sizes)}")
        values = merged(config_to_dict(architecture.sizes[size]), values)
    towers: Any = values.get("towers")
    if isinstance(towers, dict):
        values["towers"] = _in_world_words(towers)  # pyright: ignore[reportUnknownArgumentType]
    values = _in_world_words(values)
    config: type[Any] = architecture.config
    return config_from_dict(config, values, source="model")


def _in_world_words(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a model with a text tower, its vocabulary "world" spelled out."""
    if values.get("vocabulary") != _WORLD:
        return dict(values)
    words = vocabulary()
    text = {**values.get("text", {}), "vocab_size": len(words) + _SPECIAL_TOKENS}
    return {**values, "vocabulary": list(words), "text": text}
