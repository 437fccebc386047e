"""`curves.png`: what a run did, one small plot for each number, losses and metrics first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["draw_curves"]

_COLUMNS = 3
_MACHINE = {
    "lr": "learning rate",
    "grad_norm": "gradient norm",
    "clips_per_s": "clips per second",
    "data_wait": "share of time waiting for data",
    "memory_gib": "peak memory, GiB",
    "skipped": "videos skipped",
}
_FROM_ZERO = ("clips_per_s", "data_wait", "memory_gib", "skipped")
_HIDDEN = ("step", "data_wait_ms")


def draw_curves(records: Sequence[dict[str, Any]], path: Path) -> Path | None:
    """Draw every number of a log over the steps; None where matplotlib or a record is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    series = _series(records)
    if not series:
        return None
    names = [name for name in series if name not in _MACHINE]
    names += [name for name in _MACHINE if name in series]
    rows = -(-len(names) // _COLUMNS)
    figure = Figure(figsize=(4.2 * _COLUMNS, 2.8 * rows), layout="constrained")
    ends = (records[0]["step"] - 0.5, records[-1]["step"] + 0.5)
    for number, name in enumerate(names, start=1):
        axes = figure.add_subplot(rows, _COLUMNS, number)
        steps, values = zip(*series[name], strict=True)
        few = name.startswith("val_") or len(steps) == 1
        axes.plot(steps, values, marker="o" if few else None, markersize=4)
        if name in _FROM_ZERO:
            axes.set_ylim(0, 1.08 * max(values) or 1)
        axes.set_xlim(*ends)
        axes.set_title(_title(name), fontsize=10)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    return path


def _title(name: str) -> str:
    if name.startswith("val_"):
        return f"{name.removeprefix('val_').replace('_', ' ')} in evaluation"
    return _MACHINE.get(name, name)


def _series(records: Sequence[dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """Return the points (step, value) of every number; failures are left out where none was."""
    series: dict[str, list[tuple[int, float]]] = {}
    for record in records:
        for name, value in record.items():
            if name not in _HIDDEN:
                series.setdefault(name, []).append((record["step"], value))
    failures = [name for name in series if name in ("skipped", "val_num_failed")]
    for name in failures:
        if not any(value for _, value in series[name]):
            del series[name]
    return series
