"""`internvideo reproduce`: the claims of the paper, put to the test."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from internvideo.cli.terminal import output_folder, stdout_console

__all__ = ["reproduce"]


def reproduce(
    budget: Annotated[
        str,
        typer.Option(
            "--budget", "-b", help="small, or tiny: a smoke run whose numbers say nothing."
        ),
    ] = "small",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the study.")] = Path(
        "reproduce"
    ),
    real: Annotated[
        Path | None,
        typer.Option(
            help="Folder with fir_activitynet.json and the videos in fir/: real people too."
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Processes of one thread; by default one a core."),
    ] = None,
) -> None:
    """Test the claims of the paper on a procedural world, from scratch, over three seeds.

    Is masked pretraining better than none? Does contrast give zero-shot recognition? And so on:
    each claim gets paired differences over the seeds, their 95 % interval and a verdict, which may
    be that it does not hold. The page is `index.html` in the folder of --out, the numbers are in
    `report.json`; every step has a folder with its recipe, log and result.

    The same command goes on after a stop, whatever stopped it, to the same numbers.

    Examples:
      internvideo reproduce --budget small
      internvideo reproduce --budget tiny --out smoke
      internvideo reproduce --real videos/
    """
    output_folder(out)
    from internvideo.reproduce import reproduce as run

    report = run(out, budget=budget, jobs=jobs, real=real)
    stdout_console().print(report)
    print(f"open {out / 'index.html'} in a browser; the numbers are in {out / 'report.json'}")
