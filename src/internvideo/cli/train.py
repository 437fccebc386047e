"""`internvideo train` and `recipes`: from a recipe to a trained model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from internvideo.cli.terminal import note_line, output_folder, stdout_console

__all__ = ["recipes", "train"]

_SIGNALLED = 128  # a shell's exit code for a command that signal n ended is 128 + n


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or file.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Values to replace, such as optim.lr=1e-4."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run directory; runs/RECIPE by default.")
    ] = None,
    extend: Annotated[
        bool,
        typer.Option("--extend", help="Go on with the run in --out to a longer schedule."),
    ] = False,
) -> None:
    """Train what a recipe says, or continue after a stop.

    The run directory holds the resolved recipe, the log (log.jsonl, log.csv, TensorBoard,
    curves.png), the last two checkpoints and, in the end, the model in `model/`, which --model of
    the other verbs takes. A recipe with an `evaluation` also leaves `best/` and report.json.

    The same command goes on after a stop, whatever stopped it, also where the data were moved. With
    --extend and a larger schedule.epochs a run, finished or not, goes on for longer: the learning
    rate then follows the longer schedule, so that of a finished run jumps back up.

    On SIGTERM, and on the first Ctrl-C, the step is finished, saved, and the exit code is 143 or
    130.

    Several processes are started by torchrun, on one machine or many; runtime.strategy=fsdp shards
    the model.

    Keys that are often replaced: init, data.annotations, data.root, optim.lr, schedule.epochs,
    runtime.batch_size (of a process), runtime.accumulate, runtime.precision (32-true, bf16-mixed,
    16-mixed), runtime.num_workers, runtime.compile, runtime.activation_checkpointing,
    runtime.wandb_project.

    Examples:
      internvideo recipes
      internvideo train world_viclip-nano --out runs/viclip
      internvideo train my.yaml optim.lr=1e-4 schedule.epochs=2
      internvideo train my.yaml --out runs/my --extend schedule.epochs=3
      torchrun --nproc_per_node=8 -m internvideo train k400_videomae-b runtime.strategy=fsdp
    """
    from internvideo.recipe import load_recipe

    resolved = load_recipe(recipe, overrides or [])
    directory = output_folder(out or Path("runs") / resolved.name)
    from internvideo.recipe.run import run_recipe
    from internvideo.train.stop import PreemptedError

    first = os.environ.get("RANK", "0") == "0"
    try:
        model = run_recipe(resolved, directory, extend=extend)
    except PreemptedError as stop:
        if first:
            note_line(str(stop))
        raise typer.Exit(_SIGNALLED + stop.signal_number) from None
    if first:
        print(f"the model is in {model}")


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
