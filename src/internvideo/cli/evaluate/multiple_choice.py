"""`internvideo evaluate multiple-choice`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from internvideo.cli.evaluate.loading import load_measured
from internvideo.cli.evaluate.options import (
    AsJson,
    BatchSize,
    Card,
    Device,
    InputProtocol,
    Model,
    Out,
    Plot,
    Root,
    Strict,
    Workers,
)
from internvideo.cli.evaluate.reporting import prepare_outputs, tell
from internvideo.cli.terminal import note_line, progress_bar

__all__ = ["multiple_choice"]


def multiple_choice(
    model: Model,
    data: Annotated[
        Path, typer.Option("--data", "-d", help="The questions: .jsonl, or LSMDC's csv.")
    ],
    root: Root = None,
    protocol: InputProtocol = None,
    card: Card = None,
    out: Out = None,
    plot: Plot = None,
    as_json: AsJson = False,
    strict: Strict = False,
    batch_size: BatchSize = 16,
    workers: Workers = 2,
    device: Device = "auto",
) -> None:
    """Measure how often a model picks the right one of some sentences for a video.

    A line of the .jsonl is {"video": "a.mp4", "options": ["…", "…"], "answer": 0}; the files of
    MSRVTT-MC and LSMDC-MC are read as they are. With --out, every answer is kept, and the same
    command goes on after a stop.

    Examples:
      internvideo evaluate multiple-choice viclip-l14 -d msrvtt_mc_test.jsonl --root videos/all
      internvideo world --out choices/ --format multiple-choice --num-clips 200
      internvideo evaluate multiple-choice viclip-nano -d choices/multiple_choice.jsonl
    """
    prepare_outputs(out, plot)
    from internvideo.evaluation import measure_multiple_choice

    loaded, name = load_measured(model, protocol=protocol, device=device, card=card)
    with progress_bar("evaluating", unit="videos") as bar:
        report = measure_multiple_choice(
            loaded, data, root=root, name=name,
            batch_size=batch_size, num_workers=workers, directory=out, progress=bar,
        )  # fmt: skip
    if report.left_out:
        note_line(f"{len(report.left_out)} rows are left out, such as {report.left_out[0]}")
    answered = len({answer.video for answer in report.answers})
    code = tell(report, answered, as_json=as_json, plot=plot, strict=strict)
    raise typer.Exit(code)
