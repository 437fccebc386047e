"""The videos that could not be read in training: listed with reasons, counted, told at the end."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from internvideo.files import JsonLinesWriter, read_json_lines, replace_json_lines
from internvideo.train.data import Batch, SkippedVideo

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["SkipList"]

_LOG = logging.getLogger(__name__)
_SHOWN = 3


class SkipList:
    """Keeps `skipped.jsonl`: one line for each video, with the epoch and step that met it first.

    Args:
        directory: the run directory.
        fabric: the processes of the run; the first one writes.
        start_step: where this process begins; what a stopped attempt met later is dropped.
    """

    def __init__(self, directory: Path, fabric: Fabric, *, start_step: int) -> None:
        self.path = directory / "skipped.jsonl"
        self.fabric = fabric
        self._new: list[SkippedVideo] = []
        entries = [entry for _, entry in read_json_lines(self.path) if entry["step"] <= start_step]
        self._reasons: dict[str, str] = {entry["key"]: entry["reason"] for entry in entries}
        fabric.barrier()  # all have read what the first one now writes
        if self.path.exists() and fabric.is_global_zero:
            replace_json_lines(self.path, entries)

    def __len__(self) -> int:
        """Return how many videos were listed by `flush`."""
        return len(self._reasons)

    def add(self, batches: Iterable[Batch]) -> None:
        """Note the failures in the batches of this process."""
        for batch in batches:
            self._new.extend(batch.skipped)

    def flush(self, step: int) -> None:
        """Write down what all processes have noted; call it in all of them."""
        found, self._new = self._new, []
        if self.fabric.world_size > 1:
            import torch

            gathered: list[list[SkippedVideo]] = [[] for _ in range(self.fabric.world_size)]
            torch.distributed.all_gather_object(gathered, found)
            found = [video for part in gathered for video in part]
        fresh = {video.key: video for video in reversed(found) if video.key not in self._reasons}
        self._reasons.update({key: video.reason for key, video in fresh.items()})
        if fresh and self.fabric.is_global_zero:
            with JsonLinesWriter(self.path) as file:
                for key, video in fresh.items():
                    file.append(
                        {"epoch": video.epoch, "step": step, "key": key, "reason": video.reason}
                    )

    def warn(self) -> None:
        """Say how many videos were replaced by others, and where they are listed."""
        if self._reasons and self.fabric.is_global_zero:
            shown = ", ".join(list(self._reasons)[:_SHOWN])
            more = ", …" if len(self._reasons) > _SHOWN else ""
            _LOG.warning(
                "%d videos could not be read and were replaced by others: %s%s; all with reasons "
                "in %s",
                len(self._reasons),
                shown,
                more,
                self.path,
            )
