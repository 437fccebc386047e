"""How far a run is, on a terminal of any width and in a file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["TrainingProgress", "describe"]

_SLOW_DATA = 0.2
_KEPT_LINES = 20  # of training, above the moving line of a terminal; evaluations are all kept


class TrainingProgress:
    """A moving line on a terminal, with a line above it every so often; elsewhere a line a record.

    Step, epoch and remaining time come first and are never cut; the numbers are, from the right.

    Args:
        start_step: where this process begins.
        total_steps: length of the run.
        steps_per_epoch: None leaves the epoch out.
    """

    def __init__(
        self, start_step: int, total_steps: int, *, steps_per_epoch: int | None = None
    ) -> None:
        from rich.console import Console
        from rich.live import Live

        self.start_step = start_step
        self.total_steps = total_steps
        self.steps_per_epoch = steps_per_epoch
        self._step, self._facts = start_step, ""
        self._began = time.perf_counter()
        self._kept = start_step
        self._console = Console(stderr=True)
        self._live = (
            Live(console=self._console, get_renderable=self.line, refresh_per_second=4)
            if self._console.is_terminal
            else None
        )
        if self._live is not None:
            self._live.start()

    def advance(self, step: int) -> None:
        """Move to a step."""
        self._step = step

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Show the numbers of a record."""
        self._step, facts = step, describe(numbers)
        measured = any(name.startswith("val_") for name in numbers)
        self._facts = self._facts if measured else facts
        if self._live is None:
            self._console.print(
                f"{self._place()}  {facts}  ETA {self._left()}", highlight=False, soft_wrap=True
            )
            return
        if measured or step - self._kept >= self.total_steps / _KEPT_LINES:
            self._kept = self._kept if measured else step
            lines = self._lines(f"{self._place()}  {facts}")
            self._live.console.print(*(lines if measured else lines[:1]), sep="\n")

    def close(self, *, failed: bool) -> None:
        """Leave the line as it is."""
        if self._live is not None:
            self._live.stop()

    def line(self) -> Text:
        """Return the moving line."""
        return self._lines(f"{self._place()}  ETA {self._left()}  {self._facts}")[0]

    def _place(self) -> str:
        place = f"step {self._step}/{self.total_steps}"
        if self.steps_per_epoch is None:
            return place
        epochs = -(-self.total_steps // self.steps_per_epoch)
        epoch = min(max(-(-self._step // self.steps_per_epoch), 1), epochs)
        return f"{place}  epoch {epoch}/{epochs}"

    def _left(self) -> timedelta:
        elapsed = time.perf_counter() - self._began
        rest = self.total_steps - self._step
        return timedelta(seconds=round(elapsed / max(self._step - self.start_step, 1) * rest))

    def _lines(self, text: str) -> list[Text]:
        """Return a text in lines that fit, and end in "…" but for the last; no number is cut."""
        from rich.text import Text

        first, *parts = text.split("  ")
        lines, room = [first], self._console.width - len("  …") - 1
        for part in parts:
            if len(lines[-1]) + 2 + len(part) <= room:
                lines[-1] += f"  {part}"
            else:
                lines.append(part)
        dotted = [f"{line}  …" for line in lines[:-1]]
        return [Text(line, no_wrap=True, overflow="ellipsis") for line in (*dotted, lines[-1])]


def describe(numbers: Mapping[str, float]) -> str:
    """Return the numbers of a record as one readable line: what was learnt, then the machine."""
    machine = {
        "clips_per_s": "{:.3g} clips/s",
        "data_wait_ms": "waited {:.0f} ms a step",
        "data_wait": "",
        "memory_gib": "{:.2f} GiB",
        "skipped": "{:.0f} videos skipped" if numbers.get("skipped") else "",
        "val_num_failed": "{:.0f} videos failed" if numbers.get("val_num_failed") else "",
    }
    parts = [f"{name} {value:.4g}" for name, value in numbers.items() if name not in machine]
    parts += [machine[name].format(value) for name, value in numbers.items() if machine.get(name)]
    if numbers.get("data_wait", 0.0) > _SLOW_DATA:
        parts.append(
            f"data loading is the bottleneck ({numbers['data_wait']:.0%} of the time): "
            "raise runtime.num_workers"
        )
    return "  ".join(parts)
