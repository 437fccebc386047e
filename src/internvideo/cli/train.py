"""`internvideo train`: from a recipe, or from a folder of classes, to a trained model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from internvideo.cli.options import recipe_names
from internvideo.cli.terminal import SignalledError, note_line, output_folder
from internvideo.errors import ConfigError

__all__ = ["train"]

_SIGNALLED = 128  # a shell's exit code for a command that signal n ended is 128 + n


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="A recipe's name or file; not needed with --data.", autocompletion=recipe_names
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Values to replace, such as optim.lr=1e-4."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run directory; runs/RECIPE by default.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", "-d", help="A folder with a folder of videos for each class: your own data."
        ),
    ] = None,
    extend: Annotated[
        bool,
        typer.Option("--extend", help="Go on with the run in --out to a longer schedule."),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Build all, read a clip, print sizes, steps and memory; no training.",
        ),
    ] = False,
) -> None:
    """Train what a recipe says, or continue after a stop.

    With --data no recipe is needed: the videos of a folder of classes are divided into lists to
    train, choose and test on, and a recipe that suits their number and this machine is written to
    the run directory, printed, and trained. A recipe beside --data is the one to base it on.

    The run directory holds the resolved recipe, the log (log.jsonl, log.csv, TensorBoard,
    curves.png), the last two checkpoints and, in the end, the model in `model/`, which --model of
    the other verbs takes. A recipe with an `evaluation` also leaves `best/` and report.json.

    The same command goes on after a stop, whatever stopped it, also where the data were moved. With
    --extend and a larger schedule.epochs a run, finished or not, goes on for longer: the learning
    rate then follows the longer schedule, so that of a finished run jumps back up.

    Before the first step all of the recipe is checked, and that the memory will do. Where the
    recipe asks for more than this machine has (bfloat16, workers), a line says what is taken.

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
      internvideo train --data my_folder/ --out runs/mine
      internvideo train world_viclip-nano --out runs/viclip
      internvideo train my.yaml --dry-run
      internvideo train my.yaml optim.lr=1e-4 schedule.epochs=2
      internvideo train my.yaml --out runs/my --extend schedule.epochs=3
      torchrun --nproc_per_node=8 -m internvideo train k400_videomae-b runtime.strategy=fsdp
    """
    from internvideo.recipe import load_recipe

    overrides = list(overrides or [])
    if data is not None:
        if recipe is not None and "=" in recipe:  # of the values, the first
            recipe, overrides = None, [recipe, *overrides]
        recipe = _own_recipe(data, out, recipe)
    if recipe is None:
        raise ConfigError("give a recipe (`internvideo recipes` lists ours), or --data FOLDER")
    resolved = load_recipe(recipe, overrides)
    directory = output_folder(out or Path("runs") / resolved.name)
    from internvideo.recipe.run import prepare_run, run_recipe
    from internvideo.train.stop import PreemptedError

    first = os.environ.get("RANK", "0") == "0"
    if dry_run:
        from internvideo.recipe.preview import describe_run

        for name, value in describe_run(prepare_run(resolved, directory)).items():
            print(f"{name + ':':15}{value}")
        return
    try:
        model = run_recipe(resolved, directory, extend=extend)
    except PreemptedError as stop:
        if first:
            note_line(str(stop))
        raise SignalledError(_SIGNALLED + stop.signal_number) from None
    if first:
        print(f"the model is in {model}")


def _own_recipe(data: Path, out: Path | None, base: str | None) -> str:
    """Write the recipe for a folder of classes, unless it is there, and show it."""
    if not data.is_dir():
        raise ConfigError(
            f"--data {data} is no folder; expected one with a folder of videos for each class"
        )
    directory = output_folder(out or Path("runs") / data.resolve().name)
    from internvideo.recipe.own import own_recipe

    path = own_recipe(data, directory, base=base)
    if os.environ.get("RANK", "0") == "0":
        print(f"# {path}, to change and to train by `internvideo train {path} --out {directory}`")
        print(path.read_text(encoding="utf-8"), flush=True)
    return str(path)
