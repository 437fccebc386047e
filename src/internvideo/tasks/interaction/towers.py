"""The encoders of an `InternVideo`: from the names of any models to shapes, and their weights."""

from __future__ import annotations

from typing import Any

from torch import nn

from internvideo.config import config_kind, config_to_dict
from internvideo.errors import CheckpointError, ConfigError
from internvideo.models.contract import num_classes_of
from internvideo.models.interaction import InternVideo, TowerConfig
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo.card import Card
from internvideo.zoo.external import describe_external, is_external
from internvideo.zoo.load import head_name, load_model, read_weights
from internvideo.zoo.resolve import card_config, card_preprocessing, look_up
from internvideo.zoo.transfer import load_weights

__all__ = ["describe_tower", "start_tower"]


def describe_tower(source: str, num_classes: int) -> dict[str, Any]:
    """Return the configuration of a tower as plain data.

    Args:
        source: a model, as `load_model` takes it; one on a card need not be on this machine.
        num_classes: outputs of its head, where it has one.

    Raises:
        ConfigError: a model that cannot be a tower, or is without an input protocol.
    """
    config, protocol = _shape_of(source)
    if protocol is None:
        raise ConfigError(f"{source} came without an input protocol; save it with one")
    if type(config) not in TowerConfig.kinds():
        known = ", ".join(sorted(config_kind(kind) for kind in TowerConfig.kinds()))
        kind = config_kind(config.__class__)
        raise ConfigError(f"{source} is of kind {kind}; an encoder must be one of {known}")
    tower = TowerConfig(
        encoder=config,
        mean=protocol.mean,
        std=protocol.std,
        channel_order=protocol.channel_order,
    )
    return config_to_dict(tower.with_classes(num_classes))


def _shape_of(source: str) -> tuple[Any, Preprocessing | None]:
    if is_external(source):
        found = describe_external(source)
        return found.config, found.protocol
    place = look_up(source)
    if isinstance(place, Card) and not place.embedded:
        return card_config(place), card_preprocessing(place)
    weights = read_weights(source)
    return weights.config, weights.record.preprocessing


def start_tower(model: InternVideo, name: str, source: str, labels: str | None) -> None:
    """Give an encoder its weights.

    The head goes on too where it has as many classes as the model; else it starts anew.

    Args:
        model: changed in place.
        name: "masked", "multimodal" or "third".
        source: as for `load_model`.
        labels: id of the label map whose rows of the head are wanted.

    Raises:
        CheckpointError: `labels` are wanted of a model that does not have them.
    """
    tower: nn.Module = model.get_submodule(name)
    loaded = load_model(source)
    has_head = model.config.towers[name].num_classes is not None
    if labels is not None and has_head:
        loaded = load_model(source, labels=labels)
    state, fresh = dict(loaded.model.state_dict()), ()
    given, wanted = num_classes_of(loaded.model), model.config.num_classes
    if has_head and given != wanted:
        if name == "third":
            raise CheckpointError(
                f"third: {source} has {given} classes; its head is not trained, so it must know "
                f"the {wanted} of the model"
            )
        own = head_name(tower)
        fresh = tuple(key for key in tower.state_dict() if key.startswith(f"{own}."))
        state = {key: tensor for key, tensor in state.items() if key not in fresh}
    load_weights(tower, state, source, fresh=fresh, what=f"the {name} encoder")
