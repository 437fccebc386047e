"""What a finished run keeps on disk."""

from __future__ import annotations

import filecmp
import os
from contextlib import suppress
from pathlib import Path

from internvideo.errors import ConfigError
from internvideo.recipe.loading import load_recipe
from internvideo.train.checkpoint import has_checkpoint

__all__ = ["refuse_trimmed", "trim_run"]


def trim_run(directory: Path, *, keep_state: bool) -> None:
    """Make a finished run small on disk.

    The state before the last one goes; files of `best/` that are those of `model/` become one file
    with two names, where the file system has such.

    Args:
        directory: of a run that is finished.
        keep_state: False takes the last state as well: the run cannot go on to a longer schedule.
    """
    (directory / "previous.ckpt").unlink(missing_ok=True)
    if not keep_state:
        (directory / "last.ckpt").unlink(missing_ok=True)
    for path in (directory / "best").glob("*.safetensors"):
        twin = directory / "model" / path.name
        if twin.is_file() and not path.samefile(twin) and filecmp.cmp(path, twin, shallow=False):
            draft = path.with_suffix(".link")
            with suppress(OSError):
                os.link(twin, draft)
                draft.replace(path)


def refuse_trimmed(directory: Path) -> None:
    """Refuse to begin anew where a finished run kept no state.

    Raises:
        ConfigError: there is such a run.
    """
    if not has_checkpoint(directory) and (directory / "model").is_dir():
        written = directory / "recipe.yaml"
        if written.is_file() and not load_recipe(written).runtime.keep_state:
            raise ConfigError(
                f"{directory} holds a finished run that kept no state (runtime.keep_state=false); "
                "it cannot go on: give another --out"
            )
