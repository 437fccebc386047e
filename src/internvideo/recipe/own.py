"""A recipe for a folder of classes: lists by video, a small start, numbers that fit how many."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import NamedTuple

import yaml

from internvideo.data.split import Lists, unlisted, write_lists
from internvideo.errors import ConfigError, DataError
from internvideo.files import write_whole

__all__ = ["own_recipe"]

_LOG = logging.getLogger(__name__)
_STEPS = 200  # of a training, about
_MAX_EPOCHS = 40
_LIST = (  # without the root that a base may have
    "{{kind: kinetics, annotations: lists/{}.csv, root: null, labels: lists/labels.txt}}"
)
_LINES = 20  # of the log, and saved states, about


class _Start(NamedTuple):
    """What a recipe for a few classes is based on."""

    base: str
    batch_size: int
    about: str = ""
    keys: str = ""


_NANO = _Start(
    "world_videomae-nano_actions",
    16,
    "# A start that a laptop trains in minutes: it sees 16 frames of 32 x 32 pixels. With a GPU\n"
    "# `--data` starts from k400_videomae-b; `train k400_videomae-b --data FOLDER` always.\n",
    "init: videomae-nano\noptim: {lr: 1.0e-3}\n",
)
_LARGE = _Start(
    "k400_videomae-b",
    8,
    "",
    "init: videomae-b16-hybrid-pt\ntask: {repeats: 1}\noptim: {lr: 2.0e-4, lr_batch_size: null}\n",
)


def own_recipe(videos: Path, directory: Path, *, base: str | None = None) -> Path:
    """Write lists and a recipe for a folder of classes; keep those that an earlier call wrote.

    Args:
        videos: has one folder of videos for each class.
        directory: the run directory; the recipe is `own.yaml` there, the lists are below `lists`.
        base: name or file of another recipe to start from than the one that suits this machine.

    Returns:
        The file of the recipe.

    Raises:
        DataError: not such a folder, or too few videos.
        ConfigError: the recipe that is there has another base.
    """
    path = directory / "own.yaml"
    if path.is_file():
        _check_same(path, videos, base)
        return path
    lists = write_lists(videos, directory / "lists")
    if not lists.counts["val"]:
        raise DataError(
            f"{videos} has no class with two videos; one to train on and one to choose by are "
            "the least"
        )
    if lists.scarce:
        _LOG.warning("too few videos to be in every list: %s", ", ".join(lists.scarce))
    start = _start() if base is None else _NANO._replace(base=base, about="", keys="")
    write_whole(path, _text(start, lists, videos, directory.name))
    return path


def _check_same(path: Path, videos: Path, base: str | None) -> None:
    """Compare with what an earlier call was asked for."""
    before = yaml.safe_load(path.read_text(encoding="utf-8")).get("base")
    if base not in (None, before):
        raise ConfigError(f"{path} is based on {before}; give another --out to start from {base}")
    if new := unlisted(videos, path.parent / "lists"):
        _LOG.warning(
            "%d videos of %s are in none of the lists of the run, such as %s; they stay out, "
            "another --out begins with all",
            len(new),
            videos,
            new[0],
        )


def _start() -> _Start:
    """Return what suits this machine: the embedded model, or with a GPU one of full size."""
    import torch

    return _LARGE if torch.cuda.is_available() else _NANO


def _text(start: _Start, lists: Lists, videos: Path, name: str) -> str:
    num_train = lists.counts["train"]
    batch = max(min(start.batch_size, num_train // 3), 1)
    steps = num_train // batch
    epochs = min(max(math.ceil(_STEPS / steps), 1), _MAX_EPOCHS)
    every = max(round(epochs / 10), 1)
    text, dumps = f"{len(lists.classes)} classes of {videos}", json.dumps  # JSON is YAML
    return (
        f"{start.about}base: {start.base}\n"
        f"name: {dumps(name, ensure_ascii=False)}\n"
        f"description: {dumps(text, ensure_ascii=False)}\n"
        f"{start.keys}model: {{num_classes: {len(lists.classes)}}}\n"
        f"data: {_LIST.format('train')}\n"
        "evaluation:\n"
        f"  data: {_LIST.format('val')}\n"
        f"  every_epochs: {every}\n"
        "  final_views: true\n"
        f"schedule: {{epochs: {epochs}, warmup_epochs: {min(epochs / 10, 5):g}}}\n"
        f"runtime: {{batch_size: {batch}, log_every: {max(epochs * steps // _LINES, 1)}, "
        f"save_every: {max(epochs * steps // _LINES, 1)}}}\n"
    )
