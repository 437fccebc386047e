"""The record of a run: JSON lines (the source of truth), and what is drawn or sent from them.

`log.jsonl` has one record for each logged step; `log.csv`, TensorBoard, Weights & Biases, the
progress bar and `curves.png` show the same numbers.
"""

from __future__ import annotations

import csv
import time
import uuid
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

from internvideo.errors import ConfigError, require
from internvideo.files import JsonLinesWriter, read_json_lines, replace_json_lines
from internvideo.train.curves import draw_curves

__all__ = ["Journal", "read_log"]

_SLOW_DATA = 0.2
_MACHINE = ("clips_per_s", "data_wait_ms", "data_wait", "memory_gib", "skipped")


class Journal(AbstractContextManager):
    """Writes one record per logged step; silent on all ranks but the first.

    Args:
        directory: the run directory.
        total_steps: length of the run, for the progress bar.
        start_step: where this process begins; later records of an earlier attempt are dropped.
        active: whether this process is the one that writes.
        wandb_project: also log there; needs the package `wandb`.

    Raises:
        MissingExtraError: `wandb_project` is given and the package is not installed.
        ConfigError: Weights & Biases cannot be reached, or nobody is logged in.
    """

    def __init__(
        self,
        directory: Path,
        *,
        total_steps: int,
        start_step: int,
        active: bool = True,
        wandb_project: str | None = None,
    ) -> None:
        self.path = directory / "log.jsonl"
        self.active = active
        self.total_steps = total_steps
        self.start_step = start_step
        self.wandb_project = wandb_project
        self._began = time.perf_counter()

    def __enter__(self) -> Journal:
        if not self.active:
            return self
        kept = [record for record in read_log(self.path) if record["step"] <= self.start_step]
        self._remote = _wandb(self.path.parent, self.wandb_project)
        self._board = _tensorboard(self.path.parent, purge_step=self.start_step + 1)
        replace_json_lines(self.path, kept)
        self._file = JsonLinesWriter(self.path)
        self._table = _Table(self.path.with_suffix(".csv"), kept)
        self._progress = _progress_bar()
        self._progress.start()
        self._bar = self._progress.add_task(
            self.path.parent.name, total=self.total_steps, completed=self.start_step, facts=""
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.active:
            return
        self._progress.stop()
        self._file.close()
        self._table.close()
        if self._board is not None:
            self._board.close()
        if self._remote is not None:
            self._remote.finish(exit_code=0 if error is None else 1)
        draw_curves(read_log(self.path), self.path.with_name("curves.png"))

    def advance(self, step: int) -> None:
        """Move the progress bar."""
        if self.active:
            self._progress.update(self._bar, completed=step)

    def record(self, step: int, values: dict[str, float]) -> None:
        """Log numbers for a step."""
        if not self.active:
            return
        self._write({"step": step, **values})
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        if self._remote is not None:
            self._remote.log(values, step=step)
        facts = describe(values)
        self._progress.update(self._bar, facts=facts)
        if self._progress.disable:
            elapsed = time.perf_counter() - self._began
            left = elapsed / max(step - self.start_step, 1) * (self.total_steps - step)
            self._progress.console.print(
                f"step {step}/{self.total_steps}  {facts}  ETA {_duration(left)}",
                highlight=False,
                soft_wrap=True,
            )

    def _write(self, record: dict[str, Any]) -> None:
        self._file.append(record)
        self._table.write(record)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the records of a `log.jsonl`; a last line cut off by a kill is ignored."""
    return [record for _, record in read_json_lines(path)]


def describe(values: dict[str, float]) -> str:
    """Return the numbers of a record as one readable line."""
    told = {
        "clips_per_s": "{:.3g} clips/s",
        "data_wait_ms": "waited {:.0f} ms a step",
        "memory_gib": "{:.2f} GiB",
        "skipped": "{:.0f} videos skipped",
    }
    learnt = [f"{name} {value:.4g}" for name, value in values.items() if name not in _MACHINE]
    machine = [
        told[name].format(value)
        for name, value in values.items()
        if name in told and (value or name != "skipped")
    ]
    parts = [*learnt, *machine]
    if values.get("data_wait", 0.0) > _SLOW_DATA:
        parts.append(
            f"data loading is the bottleneck ({values['data_wait']:.0%} of the time): "
            "raise runtime.num_workers"
        )
    return "  ".join(parts)


class _Table:
    """A CSV file whose columns grow: a record with a new name rewrites what was there."""

    def __init__(self, path: Path, records: Iterable[dict[str, Any]]) -> None:
        self.path = path
        self._columns: list[str] = []
        self._rows: list[dict[str, Any]] = []
        self._file = path.open("w", encoding="utf-8", newline="")
        for record in records:
            self.write(record)

    def write(self, record: dict[str, Any]) -> None:
        new = [name for name in record if name not in self._columns]
        self._columns += new
        self._rows.append(record)
        writer = csv.DictWriter(self._file, self._columns)
        if new:
            self._file.seek(0)
            self._file.truncate()
            writer.writeheader()
            writer.writerows(self._rows)
        else:
            writer.writerow(record)
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _progress_bar() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[facts]}"),
        console=console,
        disable=not console.is_terminal,
    )


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def _tensorboard(directory: Path, *, purge_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(directory / "tensorboard"), purge_step=purge_step)


def _wandb(directory: Path, project: str | None) -> Any:
    """Begin, or go on with, the run of this directory in a project; None without a project."""
    if project is None:
        return None
    wandb = require("wandb", extra="wandb")
    identity = directory / "wandb-id.txt"
    if not identity.exists():
        identity.write_text(uuid.uuid4().hex, encoding="utf-8")
    try:
        return wandb.init(
            project=project,
            name=directory.name,
            dir=str(directory),
            id=identity.read_text(encoding="utf-8"),
            resume="allow",
        )
    except wandb.Error as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(
            f"runtime.wandb_project={project}: {reason}; or set WANDB_MODE=offline"
        ) from None
