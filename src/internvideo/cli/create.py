"""`internvideo world` and `demo`: the verbs that make something from procedural clips."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from internvideo.cli.labels import read_labels
from internvideo.cli.options import Device, model_names
from internvideo.cli.terminal import (
    failure_list,
    output_folder,
    progress_bar,
    stdout_console,
    warning_line,
)
from internvideo.formats import WRITABLE, find_format

__all__ = ["demo", "world"]

_SHOWN_FILES = 10


def world(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")],
    num_clips: Annotated[
        int, typer.Option("--num-clips", "-n", min=1, help="Clips of all splits together.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another world.")] = 0,
    fmt: Annotated[
        str, typer.Option("--format", "-f", help=f"Of the annotations: {', '.join(WRITABLE)}.")
    ] = "kinetics",
    size: Annotated[
        int,
        typer.Option(
            min=8, help="Side of a painted frame in pixels; video files are twice as large."
        ),
    ] = 64,
    num_frames: Annotated[
        int, typer.Option(min=4, help="Frames of a clip; untrimmed videos last 1 to 5 minutes.")
    ] = 16,
    held_out: Annotated[
        Literal["none", "actions", "shapes"],
        typer.Option(help="For open-set tests: keep some of these in a folder of their own."),
    ] = "none",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; all cores by default.")
    ] = None,
) -> None:
    """Write procedural clips with the truth about them.

    The clips are video files (frames, for ssv2-rawframes), and their annotations have the format of
    a public dataset: whatever reads that dataset reads this one. `truth.jsonl` has everything:
    objects, boxes, tracks, captions, questions.

    Examples:
      internvideo world --out world/ --num-clips 2000
      internvideo world --out ssv2/ --format ssv2
      internvideo world --out retrieval/ --format msrvtt --seed 5
      internvideo world --out open-set/ --held-out actions
      internvideo world --out untrimmed/ --format thumos14 --num-clips 40 --size 32
    """
    find_format(fmt, WRITABLE)
    output_folder(out)
    from internvideo.data import write_world
    from internvideo.world import World

    whole = World(seed=seed, size=size, num_frames=num_frames)
    parts = {out: whole}
    if held_out != "none":
        parts = {
            out / "known": whole.part(held_out, unknown=False),
            out / "unknown": whole.part(held_out, unknown=True),
        }
    for folder, part in parts.items():
        with progress_bar("writing", unit="clips") as advance:
            written = write_world(
                folder,
                num_clips,
                kind=fmt,
                world=part,
                workers=workers or os.cpu_count() or 1,
                progress=advance,
            )
        files = [path.relative_to(folder) for path in (*written.annotations, written.truth)]
        if len(files) > _SHOWN_FILES:
            files = [files[0], Path("…"), files[-1]]
        print(f"{len(written.videos)} clips in {folder}: {', '.join(map(str, files))}")


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("demo"),
    video: Annotated[
        list[str] | None,
        typer.Option("--video", "-v", metavar="VIDEO", help="Also classify this video; repeat it."),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--labels", "-l", metavar="LABEL", help="Labels for your videos, as in `classify`."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            autocompletion=model_names,
            help="Name, file, folder or hub id of the model that is measured and looks at your "
            "videos; by default viclip-nano is measured, and `auto` looks.",
        ),
    ] = None,
    num_clips: Annotated[
        int, typer.Option("--num-clips", "-n", min=28, help="World clips to measure on.")
    ] = 600,
    device: Device = "auto",
) -> None:
    """Measure the embedded models, look at your videos, write a page about both.

    The models are measured on clips of the procedural world that they have never seen. The page is
    `index.html` in the folder of --out; the numbers are in `report.json` beside it.

    Examples:
      internvideo demo
      internvideo demo --video my.mp4 -l "a dog in the snow" -l "a concert" -l "cooking"
    """
    texts = read_labels(labels)
    output_folder(out)
    from internvideo.demo.run import run_demo

    with progress_bar("loading the model", unit="clips") as bar:
        result = run_demo(
            out,
            model,
            videos=video or [],
            labels=texts,
            num_clips=num_clips,
            device=device,
            progress=bar.stage,
        )
    if result.caution:
        warning_line(result.caution)
    console = stdout_console()
    console.print(result.report)
    for shown in result.videos:
        console.print(shown.answer)
    page, numbers = out / "index.html", out / "report.json"
    print(f"open {page} in a browser; the numbers are in {numbers}")
    total = len(result.videos) + len(result.failures)
    raise typer.Exit(failure_list(list(result.failures), total=total))
