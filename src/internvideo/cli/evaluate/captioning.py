"""`internvideo evaluate captioning`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

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
    Split,
    Strict,
    Workers,
)
from internvideo.cli.evaluate.reporting import prepare_outputs, tell
from internvideo.cli.terminal import progress_bar

__all__ = ["captioning"]


def captioning(
    model: Model,
    data: Annotated[
        str, typer.Option("--data", "-d", help="A list of captions, or the word world.")
    ],
    kind: Annotated[
        str | None, typer.Option("--format", "-f", help="Format of --data; told by its content.")
    ] = None,
    root: Root = None,
    split: Split = None,
    num_clips: Annotated[int, typer.Option(min=1, help="For --data world.")] = 600,
    num_beams: Annotated[
        int, typer.Option(min=1, help="Sentences that are followed at once; 1 is greedy.")
    ] = 1,
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
    """Measure how near the captions that a model writes are to the true ones.

    Exact match and CIDEr-D, after lower-casing and without punctuation. With --out, every caption
    is kept, and the same command goes on after a stop.

    Examples:
      internvideo evaluate captioning mm-nano --data world
      internvideo evaluate captioning runs/mine/model -d MSRVTT_data.json --root videos --split test
    """
    prepare_outputs(out, plot)
    from internvideo.evaluation import captioned_videos, captioned_world, measure_captioning
    from internvideo.tasks.captioning.predict import CaptionStyle

    loaded, name = load_measured(model, protocol=protocol, device=device, card=card)
    if data == "world":
        videos = captioned_world(num_clips)
    else:
        videos = captioned_videos(
            Path(data), protocol=loaded.preprocessing, kind=cast(Any, kind), root=root, split=split
        )
    style = CaptionStyle(strategy="beam" if num_beams > 1 else "greedy", num_beams=num_beams)
    with progress_bar("captioning", unit="videos") as bar:
        report = measure_captioning(
            loaded, videos, style=style, name=name,
            batch_size=batch_size, num_workers=workers, directory=out, progress=bar,
        )  # fmt: skip
    code = tell(report, len(report.videos), as_json=as_json, plot=plot, strict=strict)
    raise typer.Exit(code)
