"""What all evaluations share: processes, the folder of the results."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from internvideo.evaluation.engine import Running
from internvideo.pipeline import VideoModel
from internvideo.train.config import RuntimeConfig
from internvideo.train.loop import build_fabric

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["in_processes", "running", "write_report"]


class _Report(Protocol):
    def to_json(self) -> str: ...


def in_processes(model: VideoModel) -> Fabric | None:
    """Return what joins the processes of `torchrun`, with the model on its device; else None."""
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        return None
    on_cpu = model.device.type == "cpu"
    fabric = build_fabric(RuntimeConfig(accelerator="cpu" if on_cpu else "auto"))
    model.model.to(fabric.device)
    return fabric


def running(
    model: VideoModel,
    directory: Path | None,
    *,
    batch_size: int,
    num_workers: int,
    progress: Callable[[int, int], None] | None,
) -> Running:
    """Return how an evaluation runs; `predictions.jsonl` in the folder takes the answers."""
    return Running(
        batch_size=batch_size,
        num_workers=num_workers,
        fabric=in_processes(model),
        predictions=None if directory is None else directory / "predictions.jsonl",
        progress=progress,
    )


def write_report(report: _Report, directory: Path | None, fabric: Fabric | None) -> None:
    """Write `report.json` to a folder; one process does so."""
    if directory is not None and (fabric is None or fabric.is_global_zero):
        (directory / "report.json").write_text(report.to_json() + "\n", encoding="utf-8")
