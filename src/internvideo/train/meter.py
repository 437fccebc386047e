"""What a run counts between two log records: losses, speed, memory, and videos that it skipped."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from internvideo.files import JsonLinesWriter, read_json_lines, replace_json_lines
from internvideo.train.data import Batch, SkippedVideo, fetch
from internvideo.train.step import StepReport

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Meter", "SkipList"]

_LOG = logging.getLogger(__name__)
_GIB = 2**30
_SKIPS_SHOWN = 3


class Meter:
    """Adds up what goes into a log record; nothing is read from the device before `read`."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.restart()

    def restart(self) -> None:
        """Begin a new interval now."""
        self._sums: dict[str, Tensor] = {}
        self._steps = self._clips = 0
        self._waited = 0.0
        self._began = time.perf_counter()

    def fetch(self, batches: Iterator[Batch], count: int) -> list[Batch]:
        """Return the micro-batches of a step, and note how long they took to come."""
        asked = time.perf_counter()
        fetched = [fetch(batches, self.fabric.device) for _ in range(count)]
        self._waited += time.perf_counter() - asked
        self._clips += sum(len(batch.keys) for batch in fetched)
        return fetched

    def add(self, report: StepReport) -> None:
        """Note what came out of a step."""
        values = dict(report.losses)
        if report.grad_norm is not None:
            values["grad_norm"] = report.grad_norm
        for name, value in values.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._steps += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the sums so far, as plain values: a resumed run logs what it would have logged."""
        return {"steps": self._steps, "sums": {n: v.item() for n, v in self._sums.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from sums that `state_dict` returned."""
        self.restart()
        self._steps = state["steps"]
        self._sums = {
            name: torch.tensor(value, device=self.fabric.device)
            for name, value in state["sums"].items()
        }

    def read(self) -> dict[str, float]:
        """Return the means over the interval and over all processes, and begin a new one.

        `clips_per_s` counts what the model saw, repeats included; `data_wait` is the share of the
        time in which the first process had no batch; `memory_gib` is the peak of this process, on
        the accelerator if there is one.
        """
        means = {name: value.float() / self._steps for name, value in self._sums.items()}
        if self.fabric.world_size > 1:
            # (its dictionaries are typed without what is in them)
            reduced = self.fabric.all_reduce(means, reduce_op="mean")  # type: ignore[no-untyped-call]
            means = cast("dict[str, Tensor]", reduced)
        values = {name: float(value) for name, value in means.items()}  # waits for the device
        elapsed = time.perf_counter() - self._began
        values["clips_per_s"] = self._clips * self.fabric.world_size / elapsed
        values["data_wait_ms"] = self._waited / self._steps * 1e3
        values["data_wait"] = self._waited / elapsed
        peak = _peak_memory(self.fabric.device)
        if peak is not None:
            values["memory_gib"] = peak / _GIB
        self.restart()
        return values


def _peak_memory(device: torch.device) -> int | None:
    """Return the most bytes that this process had on the device; None where it is not known."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


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
        """Warn of the number of videos that were replaced, and where they are listed."""
        if self._reasons and self.fabric.is_global_zero:
            shown = ", ".join(list(self._reasons)[:_SKIPS_SHOWN])
            more = ", …" if len(self._reasons) > _SKIPS_SHOWN else ""
            _LOG.warning(
                f"{len(self._reasons)} videos could not be read and were replaced by others: "
                f"{shown}{more}; all with reasons in {self.path}"
            )
