"""The record of a run: JSON lines (the source of truth), TensorBoard, a progress bar, a plot."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["Journal", "read_log"]


class Journal(AbstractContextManager):
    """Writes one record per logged step; silent on all ranks but the first.

    Args:
        directory: the run directory; `log.jsonl` and TensorBoard events go there.
        total_steps: length of the run, for the progress bar.
        start_step: where this process begins; later records of an earlier attempt are dropped.
        active: whether this process is the one that writes.
    """

    def __init__(
        self, directory: Path, *, total_steps: int, start_step: int, active: bool = True
    ) -> None:
        self.path = directory / "log.jsonl"
        self.active = active
        self.total_steps = total_steps
        self.start_step = start_step
        self._began = time.perf_counter()

    def __enter__(self) -> Journal:
        if not self.active:
            return self
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining

        kept = [record for record in read_log(self.path) if record["step"] <= self.start_step]
        self._file = self.path.open("w", encoding="utf-8")
        for record in kept:
            self._write(record)
        self._board = _tensorboard(self.path.parent)
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            Remaining(),
            TextColumn("{task.fields[facts]}"),
            console=console,
            disable=not console.is_terminal,
        )
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
        if self._board is not None:
            self._board.close()

    def advance(self, step: int) -> None:
        """Move the progress bar."""
        if self.active:
            self._progress.update(self._bar, completed=step)

    def record(self, step: int, values: dict[str, Any]) -> None:
        """Log numbers for a step."""
        if not self.active:
            return
        self._write({"step": step, **values})
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        facts = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        self._progress.update(self._bar, facts=facts)
        if self._progress.disable:
            elapsed = time.perf_counter() - self._began
            left = elapsed / max(step - self.start_step, 1) * (self.total_steps - step)
            self._progress.console.print(
                f"step {step}/{self.total_steps}  {facts}  ETA {left / 60:.1f} min",
                highlight=False,
                soft_wrap=True,
            )

    def _write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def plot(self) -> Path | None:
        """Draw the curves into `curves.png`; None where matplotlib is not installed."""
        if not self.active:
            return None
        try:
            from matplotlib.figure import Figure
        except ImportError:
            return None
        records = read_log(self.path)
        names = [name for name in dict.fromkeys(_names(records)) if name != "step"]
        figure = Figure(figsize=(4 * len(names), 3), layout="constrained")
        for position, name in enumerate(names):
            axes = figure.add_subplot(1, len(names), position + 1)
            points = [(r["step"], r[name]) for r in records if name in r]
            axes.plot(*zip(*points, strict=True))
            axes.set(title=name, xlabel="step")
        path = self.path.with_name("curves.png")
        figure.savefig(path, dpi=120)
        return path


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the records of a `log.jsonl`; a last line cut off by a kill is ignored."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def _names(records: Iterable[dict[str, Any]]) -> Iterable[str]:
    return (name for record in records for name in record)


def _tensorboard(directory: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(directory / "tensorboard"))
