"""The zoo: what has been released, where it is, how it becomes our model, how ours are kept.

Cards (`list_models`, `find_card`) and labels cost nothing to import; torch and the models are
loaded with the first name that needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from internvideo.zoo.card import Card
    from internvideo.zoo.checkpoint import read_checkpoint
    from internvideo.zoo.hub import Pretrained, Record, save_pretrained
    from internvideo.zoo.labels import detect_order, index_map, k710_rows, label_names
    from internvideo.zoo.load import (
        LoadedModel,
        load_encoder_weights,
        load_model,
        official_state,
        reorder_outputs,
    )
    from internvideo.zoo.registry import bibtex, families, find_card, list_models
    from internvideo.zoo.teachers import load_clip_teacher
    from internvideo.zoo.verification import Verification, verify

_HOMES = {
    "Card": "card",
    "LoadedModel": "load",
    "Pretrained": "hub",
    "Record": "hub",
    "Verification": "verification",
    "bibtex": "registry",
    "detect_order": "labels",
    "families": "registry",
    "find_card": "registry",
    "index_map": "labels",
    "k710_rows": "labels",
    "label_names": "labels",
    "list_models": "registry",
    "load_clip_teacher": "teachers",
    "load_encoder_weights": "load",
    "load_model": "load",
    "official_state": "load",
    "read_checkpoint": "checkpoint",
    "reorder_outputs": "load",
    "save_pretrained": "hub",
    "verify": "verification",
}

__all__ = [
    "Card",
    "LoadedModel",
    "Pretrained",
    "Record",
    "Verification",
    "bibtex",
    "detect_order",
    "families",
    "find_card",
    "index_map",
    "k710_rows",
    "label_names",
    "list_models",
    "load_clip_teacher",
    "load_encoder_weights",
    "load_model",
    "official_state",
    "read_checkpoint",
    "reorder_outputs",
    "save_pretrained",
    "verify",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = (
        value  # `verify` and `download` are also modules, which an import would put here
    )
    return value


def __dir__() -> list[str]:
    return __all__
