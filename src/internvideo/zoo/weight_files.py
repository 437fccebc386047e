"""Which files hold the weights of a model: one under a usual name, or shards with their index."""

from __future__ import annotations

import json
import re
from pathlib import Path

from internvideo.errors import CheckpointError

__all__ = [
    "CONFIG_FILE",
    "INDEX_FILES",
    "WEIGHT_FILES",
    "holds_weights",
    "is_saved_model",
    "shard_names",
    "weight_files",
]

WEIGHT_FILES = (
    "model.safetensors",
    "pytorch_model.bin",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
)
"""Names of files that hold all weights."""

CONFIG_FILE = "config.json"

INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
"""Names of files that say which shard holds which tensor."""

_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}(\.safetensors|\.bin)")
_TRAINING_STATES = ("last.ckpt", "previous.ckpt")


def is_saved_model(directory: Path) -> bool:
    """Tell whether a folder was written by `save_pretrained` of this library."""
    try:
        values = json.loads((directory / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and "kind" in values and "format" in values


def holds_weights(folder: Path) -> bool:
    """Tell whether a folder has weights under a usual name."""
    return any((folder / name).is_file() for name in (*WEIGHT_FILES, *INDEX_FILES))


def weight_files(path: Path) -> tuple[Path, ...]:
    """Return the weight files that a path means.

    Args:
        path: a file, a folder, the index of shards, or one of the shards, which means all.

    Raises:
        CheckpointError: a folder without weights, a shard without the others, or the training state
            of a run.
    """
    if path.is_dir():
        names = [name for name in (*WEIGHT_FILES, *INDEX_FILES) if (path / name).is_file()]
        if not names:
            raise CheckpointError(
                f"{path} is a folder without weights: expected one of {', '.join(WEIGHT_FILES)}, or"
                f" shards with {' or '.join(INDEX_FILES)}"
            )
        path = path / names[0]
    elif path.name in _TRAINING_STATES and (path.parent / "recipe.yaml").is_file():
        raise CheckpointError(
            f"{path} is the training state of a run; give the folder of the run, {path.parent}"
            " (its model is there once the run has evaluated or ended)"
        )
    if match := _SHARD.fullmatch(path.name):
        index = path.with_name(f"{match[1]}{match[2]}.index.json")
        if not index.is_file():
            raise CheckpointError(
                f"{path} is one of several shards; {index.name} and the others must lie beside it"
            )
        path = index
    return _shards(path) if path.name.endswith(".index.json") else (path,)


def shard_names(index: Path) -> tuple[str, ...]:
    """Return the names of the shards of an index, which lie beside it.

    Raises:
        CheckpointError: it is not the index of shards.
    """
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{index} is not the index of shards ({error})") from error
    if not names or any(not isinstance(name, str) or Path(name).name != name for name in names):
        raise CheckpointError(f"{index}: shards must be files beside it, got {list(names)[:3]}")
    return tuple(sorted(names))


def _shards(index: Path) -> tuple[Path, ...]:
    paths = tuple(index.with_name(name) for name in shard_names(index))
    if missing := [path.name for path in paths if not path.is_file()]:
        raise CheckpointError(f"{index} names {', '.join(missing)}, which are not there")
    return paths
