"""`internvideo world`, `train`, `recipes` and `demo`: the verbs that make something."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from internvideo.cli.labels import read_labels
from internvideo.cli.terminal import failure_list, output_folder, progress_bar, stdout_console

__all__ = ["demo", "recipes", "train", "world"]


class DatasetFormat(str, Enum):
    """In whose format the annotations of the world are written."""

    kinetics = "kinetics"
    msrvtt = "msrvtt"


def world(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")],
    num_clips: Annotated[
        int, typer.Option("--num-clips", "-n", min=1, help="Clips over all splits.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another world.")] = 0,
    fmt: Annotated[
        DatasetFormat, typer.Option("--format", "-f", help="Format of the annotations.")
    ] = DatasetFormat.kinetics,
    size: Annotated[int, typer.Option(min=8, help="Side of the rendered frames, pixels.")] = 64,
    num_frames: Annotated[int, typer.Option(min=4, help="Frames of a clip.")] = 16,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; all cores by default.")
    ] = None,
) -> None:
    """Write procedural clips with the truth about them.

    The clips are mp4 files, their annotations have the format of a public dataset: whatever reads
    that dataset reads this one. `truth.jsonl` tells everything: actors, boxes, tracks, captions,
    questions.

    Examples:
      internvideo world --out world/ --num-clips 2000
      internvideo world --out retrieval/ --format msrvtt --seed 5
    """
    output_folder(out)
    from internvideo.world import World, write_kinetics, write_msrvtt

    write = write_kinetics if fmt is DatasetFormat.kinetics else write_msrvtt
    with progress_bar("writing", unit="clips") as advance:
        written = write(
            out,
            num_clips,
            world=World(seed=seed, size=size, num_frames=num_frames),
            workers=workers or os.cpu_count() or 1,
            progress=advance,
        )
    names = ", ".join(path.name for path in (*written.annotations, written.truth))
    print(f"{len(written.videos)} clips in {out}: {names}")


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or file.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Values to replace, such as optim.lr=1e-4."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run directory; runs/RECIPE by default.")
    ] = None,
) -> None:
    """Train what a recipe says, or continue after a stop.

    The run directory holds the resolved recipe, the log, the curves, the last checkpoint and, in
    the end, the model in `model/`, which --model of the other verbs takes. Several processes are
    started by torchrun: `torchrun --nproc-per-node 4 -m internvideo train …`.

    Examples:
      internvideo recipes
      internvideo train world_viclip-nano --out runs/viclip
      internvideo train my.yaml optim.lr=1e-4 schedule.epochs=2
    """
    from internvideo.recipe import load_recipe

    resolved = load_recipe(recipe, overrides or [])
    directory = output_folder(out or Path("runs") / resolved.name)
    from internvideo.training import run_recipe

    print(f"the model is in {run_recipe(resolved, directory)}")


def recipes() -> None:
    """List the recipes that come with the library.

    Example:
      internvideo recipes
    """
    from rich.markup import escape
    from rich.table import Table

    from internvideo.recipe import list_recipes, load_recipe

    table = Table()
    for heading in ("recipe", "task", "what it does"):
        table.add_column(heading, overflow="fold")
    for name in list_recipes():
        resolved = load_recipe(name)
        table.add_row(*(escape(v) for v in (name, resolved.task.kind, resolved.description)))
    stdout_console().print(table)


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("demo"),
    video: Annotated[
        list[str] | None, typer.Option("--video", "-v", help="Also classify this video; repeat it.")
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option("--labels", "-l", help="Labels for your videos, as in `classify`."),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Name, file, folder or hub id of the model.")
    ] = "viclip-nano",
    num_clips: Annotated[
        int, typer.Option("--num-clips", "-n", min=28, help="World clips to measure on.")
    ] = 600,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
) -> None:
    """Measure the model, look at your videos, write a page.

    The model is measured on unseen clips of the procedural world, beside chance. The page is
    `index.html` in the folder of --out; the numbers are in `report.json` beside it.

    Examples:
      internvideo demo
      internvideo demo --video my.mp4 -l "something moves left" -l "something stays still"
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
    stdout_console().print(result.report)
    print(f"open {result.page} in a browser; the numbers are in {result.numbers}")
    raise typer.Exit(failure_list(list(result.failures), total=result.num_videos))
