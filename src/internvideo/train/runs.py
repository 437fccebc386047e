"""Several runs side by side: what each has reached, from their logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from internvideo.errors import ConfigError, DataError, require
from internvideo.train.log import read_log

__all__ = ["RunSummary", "draw_runs", "find_runs"]

_LOG = "log.jsonl"


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What a run has reached.

    Attributes:
        path: the run directory.
        description: of its recipe.
        steps: taken so far.
        finished: whether its model is there.
        loss: of the last record.
        metric: the number that the run is judged by, such as "top1"; None without an evaluation.
        best: its best value.
        best_step: where that was reached.
        val_loss: at that step; None where it was not measured.
        lr: peak of the learning rate so far.
        size: bytes of all its files, those with several names counted once.
    """

    path: Path
    description: str
    steps: int
    finished: bool
    loss: float | None
    metric: str | None
    best: float | None
    best_step: int | None
    val_loss: float | None
    lr: float | None
    size: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "path": str(self.path)}


def find_runs(directory: Path) -> list[RunSummary]:
    """Return the runs in a directory and below it, the best first.

    Raises:
        DataError: there is no run.
    """
    logs = sorted(directory.rglob(_LOG)) if directory.is_dir() else []
    runs = [_summary(log.parent) for log in logs]
    if not runs:
        raise DataError(f"no run in {directory}; a run directory holds {_LOG}")
    return sorted(runs, key=lambda run: (run.best is None, -(run.best or 0.0), str(run.path)))


def _summary(directory: Path) -> RunSummary:
    records = read_log(directory / _LOG)
    recipe = directory / "recipe.yaml"
    told: Any = yaml.safe_load(recipe.read_text(encoding="utf-8")) if recipe.is_file() else {}
    metric = next((name for each in records for name in each if name.startswith("val_")), "")
    measured = [each for each in records if metric and metric in each]
    best = max(measured, key=lambda each: float(each[metric])) if measured else {}
    losses = [float(each["loss"]) for each in records if "loss" in each]
    files = {
        (found.st_dev, found.st_ino): found.st_size
        for path in directory.rglob("*")
        if path.is_file()
        for found in [path.stat()]
    }
    return RunSummary(
        path=directory,
        description=str(told.get("description") or ""),
        steps=max((int(each["step"]) for each in records), default=0),
        finished=(directory / "model").is_dir(),
        loss=losses[-1] if losses else None,
        metric=metric.removeprefix("val_") or None,
        best=best.get(metric),
        best_step=best.get("step"),
        val_loss=best.get("val_loss"),
        lr=max((float(each["lr"]) for each in records if "lr" in each), default=None),
        size=sum(files.values()),
    )


def draw_runs(runs: Sequence[RunSummary], path: Path) -> Path:
    """Draw the losses, and what was measured, of several runs over their steps.

    Raises:
        MissingExtraError: matplotlib is not installed.
        ConfigError: a kind of picture that matplotlib does not write.
    """
    require("matplotlib", extra="plot")
    from matplotlib.figure import Figure

    metrics = list(dict.fromkeys(f"val_{run.metric}" for run in runs if run.metric is not None))
    names = ["loss", *metrics, *(["val_loss"] if any(run.val_loss for run in runs) else [])]
    figure: Any = Figure(figsize=(5.2 * len(names), 3.6), layout="constrained")
    for number, name in enumerate(names, start=1):
        axes = figure.add_subplot(1, len(names), number)
        for run in runs:
            points = [
                (each["step"], each[name]) for each in read_log(run.path / _LOG) if name in each
            ]
            if points:
                steps, values = cast("tuple[Any, Any]", zip(*points, strict=True))
                mark = "o" if name.startswith("val_") else None
                axes.plot(steps, values, marker=mark, markersize=3, label=str(run.path))
        title = name.removeprefix("val_").replace("_", " ")
        axes.set_title(f"{title} in evaluation" if name.startswith("val_") else title, fontsize=10)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(fontsize=7)
    try:
        figure.savefig(path, dpi=150)
    except ValueError as error:
        raise ConfigError(f"cannot draw {path}: {' '.join(str(error).split())}") from None
    return path
