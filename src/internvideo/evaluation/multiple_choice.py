"""Measure a two-tower model on multiple-choice questions about videos."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from internvideo.data.build import read_multiple_choice
from internvideo.errors import ConfigError
from internvideo.evaluation.running import running, write_report
from internvideo.models.dual_encoder import DualEncoder
from internvideo.pipeline import VideoModel
from internvideo.results import MultipleChoiceReport
from internvideo.tasks.multiple_choice.evaluate import evaluate_multiple_choice

__all__ = ["measure_multiple_choice"]


def measure_multiple_choice(
    model: VideoModel,
    data: Path,
    *,
    root: str | Path | None = None,
    name: str | None = None,
    batch_size: int = 16,
    num_workers: int = 2,
    directory: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> MultipleChoiceReport:
    """Measure how often the true sentence of a question is the nearest to its video.

    Args:
        model: with a text tower, and with the protocol to use.
        data: the questions, see `data.formats.multiple_choice.read_multiple_choice`.
        root: folder of the videos; by default that of `data`.
        name: of the weights, for the report; by default that of the model.
        batch_size: views that go through the model together.
        num_workers: videos that are decoded at once.
        directory: takes `predictions.jsonl` while it runs, from which it goes on after a stop, and
            `report.json` in the end.
        progress: called with (videos done, videos in all).

    Raises:
        ConfigError: the model has no text tower, or `directory` holds another evaluation.
        DataError: the questions cannot be used.
    """
    if not isinstance(model.model, DualEncoder):
        raise ConfigError(f"{model.name} has no text tower; load a ViCLIP or an InternVideo-MM")
    choices = read_multiple_choice(data, root=root)
    how = running(
        model, directory, batch_size=batch_size, num_workers=num_workers, progress=progress
    )
    report = evaluate_multiple_choice(
        model.model,
        choices,
        model.preprocessing,
        clean=model.prompt_rule.clean,
        running=how,
    )
    named = dataclasses.replace(report, model=name or model.name, data=str(data))
    write_report(named, directory, how.fabric)
    return named
