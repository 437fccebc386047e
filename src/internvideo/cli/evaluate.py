"""`internvideo evaluate …`: how well a model does what it is for; a verb for each task."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from internvideo.cli.options import Card, Device, FirstLabel, model_names, recipe_names
from internvideo.cli.terminal import (
    DefaultVerb,
    add_verb,
    command_help,
    failure_list,
    note_line,
    output_file,
    output_folder,
    progress_bar,
    stdout_console,
)
from internvideo.cli.verbs import make_verb, room_help
from internvideo.errors import ConfigError, DataError, UnknownNameError

if TYPE_CHECKING:
    from internvideo.evaluation.report import Report
    from internvideo.recipe import Recipe
    from internvideo.tasks.task import Task

__all__ = ["build_app"]

_HELP = """Measure a model on annotated videos.

`internvideo evaluate RECIPE|MODEL` measures a classifier, as `evaluate recognition` does.

Examples:
  internvideo evaluate runs/mine/model --data test.csv --views center
  internvideo evaluate zero-shot viclip-l14 --data my-videos/
  internvideo evaluate multiple-choice viclip-l14 --data msrvtt_mc_test.jsonl
  torchrun --nproc-per-node 4 -m internvideo evaluate runs/mine -d test.csv --out results/
"""


def _subjects(incomplete: str) -> list[str]:
    return model_names(incomplete) + recipe_names(incomplete)


class _OrRecognition(DefaultVerb):
    default = "recognition"

    def is_verb(self, word: str) -> bool:
        misspelt = difflib.get_close_matches(word, self.commands, n=1, cutoff=0.8)
        return super().is_verb(word) or (bool(misspelt) and not Path(word).exists())


def build_app() -> typer.Typer:
    """Return the group with a verb for each task that is measured."""
    from internvideo.tasks.registry import TASKS

    app = typer.Typer(
        cls=_OrRecognition,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        help=command_help(_HELP),
    )
    for task in TASKS:
        room = task.evaluate or task.score
        if room is None:
            continue
        hidden = task.without if task.score else (*task.without, "predictions")
        verb = make_verb(_runner(task), room, skip=("loop",), hidden=hidden)
        text = room_help(room, task.evaluate_examples, command=f"evaluate {task.name}")
        add_verb(app, task.name, verb, text=text)
        for alias in task.aliases:
            add_verb(app, alias, verb, text=text, hidden=True)
    return app


def _runner(task: Task) -> Any:
    def run(
        subject: Annotated[
            str | None,
            typer.Argument(
                metavar="MODEL|RECIPE",
                help="Name, file, folder or hub id of a model; or a recipe.",
                autocompletion=_subjects,
            ),
        ] = None,
        overrides: Annotated[
            list[str] | None,
            typer.Argument(metavar="KEY=VALUE", help="Values of the recipe to replace."),
        ] = None,
        checkpoint: Annotated[
            str | None,
            typer.Option(
                "--checkpoint",
                "-c",
                help="For a recipe: run directory, model folder or weight file.",
            ),
        ] = None,
        data: Annotated[
            str | None,
            typer.Option("--data", "-d", help="Annotation list or folder; or the word world."),
        ] = None,
        kind: Annotated[
            str | None,
            typer.Option(
                "--format", "-f", help="Format of --data, where its content does not show it."
            ),
        ] = None,
        root: Annotated[
            str | None, typer.Option(help="Folder of the videos; by default that of --data.")
        ] = None,
        labels: Annotated[
            str | None,
            typer.Option(
                "--labels",
                "-l",
                help="Class list (any language), or e.g. kinetics-400/alphabetical.",
            ),
        ] = None,
        split: Annotated[str | None, typer.Option(help="For a --data of several splits.")] = None,
        first_label: FirstLabel = 0,
        num_clips: Annotated[
            int | None,
            typer.Option(
                "--num-clips", "-n", min=1, help="Clips of --data world, else 600; or episodes."
            ),
        ] = None,
        seed: Annotated[
            int | None, typer.Option(min=0, help="Another seed is another --data world.")
        ] = None,
        num_events: Annotated[
            int | None, typer.Option(min=1, help="Actions in a clip of --data world.")
        ] = None,
        predictions: Annotated[
            Path | None,
            typer.Option(help="Score this file of the official challenge; takes no MODEL."),
        ] = None,
        classes: Annotated[
            str | None,
            typer.Option(
                help="Put a classifier's outputs in this order, e.g. kinetics-400/alphabetical."
            ),
        ] = None,
        protocol: Annotated[
            str | None, typer.Option(help="Another input protocol, e.g. viclip-eval.")
        ] = None,
        card: Card = None,
        out: Annotated[
            Path | None,
            typer.Option(
                "--out",
                "-o",
                help="Folder for report.json and predictions.jsonl; goes on after a stop.",
            ),
        ] = None,
        plot: Annotated[Path | None, typer.Option(help="Draw the result into this file.")] = None,
        details: Annotated[
            bool, typer.Option("--details", "--per-class", help="Print the longer table as well.")
        ] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
        strict: Annotated[
            bool, typer.Option("--strict", help="Fail when a video cannot be read.")
        ] = False,
        batch_size: Annotated[int, typer.Option(min=1, help="Views at once in the model.")] = 16,
        workers: Annotated[int, typer.Option(min=0, help="Videos decoded at once.")] = 2,
        device: Device = "auto",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if plot is not None:
            from internvideo.evaluation.pictures import check_picture

            output_file(check_picture(plot))
        if out is not None:
            output_folder(out)
        asked = {
            "format": kind, "root": root, "labels": labels, "split": split,
            "first_label": first_label or None, "num_clips": num_clips, "seed": seed,
            "num_events": num_events,
        }  # fmt: skip
        if predictions is not None:
            report = _score(task, predictions, subject, data, asked, out=out, options=options or {})
            code = _show(report, as_json=as_json, plot=plot, strict=strict, details=details)
            raise typer.Exit(code)
        if task.evaluate is None:
            raise ConfigError(
                f"{task.name} measures no model; score a file of answers by --predictions "
                "ANSWERS --data ANNOTATIONS"
            )
        if subject is None:
            raise ConfigError("which model is to be measured? name one, or a recipe, as MODEL")
        recipe = _recipe(subject, overrides or [], checkpoint=checkpoint, data=data)
        with progress_bar("evaluating", unit="videos") as bar:
            running: dict[str, Any] = {
                "batch_size": batch_size, "num_workers": workers, "directory": out, "progress": bar,
            }  # fmt: skip
            if recipe is not None:
                _refuse(subject, {"data": data, **asked, "classes": classes, "protocol": protocol})
                from internvideo.evaluation.engine import EvalLoop
                from internvideo.recipe.run import evaluate_recipe

                report = evaluate_recipe(
                    recipe, str(checkpoint), task, loop=EvalLoop(**running), device=device,
                    card=card, options=options,
                )  # fmt: skip
            else:
                from internvideo.evaluation.data import AnnotatedData
                from internvideo.pipeline import load

                videos = AnnotatedData(path=str(data), **asked)
                loaded = load(subject, device=device, card=card, labels=classes)
                # a report names a model as the user did, unless a card does
                name = None if loaded.card else subject
                if protocol is not None:
                    loaded = loaded.with_preprocessing(protocol)
                report = loaded.evaluate(videos, task.name, name=name, **running, **(options or {}))
        code = _show(report, as_json=as_json, plot=plot, strict=strict, details=details)
        raise typer.Exit(code)

    return run


def _recipe(
    subject: str, overrides: list[str], *, checkpoint: str | None, data: str | None
) -> Recipe | None:
    """Return the recipe that the subject is, or None where it is a model."""
    from internvideo.recipe import find_recipe, load_recipe

    is_file = Path(subject).suffix in (".yaml", ".yml")
    try:
        is_model = not is_file and Path(subject).exists()
        if not is_model:
            find_recipe(subject)
    except UnknownNameError:
        if checkpoint is not None or is_file:
            raise
        is_model = True
    if not is_model:
        if checkpoint is None:
            raise ConfigError(
                f"{subject} is a recipe: give --checkpoint with the weights to measure, such as "
                f"--checkpoint runs/{Path(subject).stem}"
            )
        return load_recipe(subject, overrides)
    if overrides:
        raise ConfigError(f"{overrides[0]!r} changes a recipe, but {subject} is a model")
    if checkpoint is not None:
        raise ConfigError(
            f"--checkpoint goes with a recipe, but {subject} is a file or folder; give it alone "
            "and the videos by --data"
        )
    if data is None:
        raise ConfigError(f"on which videos is {subject} to be measured? give --data ANNOTATIONS")
    return None


def _score(
    task: Task,
    predictions: Path,
    subject: str | None,
    data: str | None,
    asked: Mapping[str, Any],
    *,
    out: Path | None,
    options: Mapping[str, Any],
) -> Report:
    """Score a file of answers; no model is asked.

    Raises:
        ConfigError: an option that belongs to a model is given.
    """
    from internvideo.evaluation.data import AnnotatedData
    from internvideo.evaluation.engine import EvalLoop

    assert task.score is not None
    if subject is not None:
        raise ConfigError(f"--predictions are scored without a model; leave out {subject}")
    if data is None:
        raise ConfigError(f"what are the answers in {predictions} to? give --data ANNOTATIONS")
    taken = inspect.signature(task.score).parameters
    usual = {} if task.evaluate is None else inspect.signature(task.evaluate).parameters
    for name, value in options.items():
        if name not in taken and value != usual[name].default:
            raise ConfigError(
                f"--{name.replace('_', '-')} belongs to a model, but {predictions} is scored "
                "without one; leave it out"
            )
    own = {name: value for name, value in options.items() if name in taken}
    report = task.score(AnnotatedData(path=data, **asked), predictions, **own)
    report = replace(report, data=data, model=predictions.name)
    EvalLoop(directory=out).write(report)
    return report


def _refuse(subject: str, given: Mapping[str, Any]) -> None:
    names = ", ".join(
        f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None
    )
    if names:
        raise ConfigError(
            f"{names} belongs to a model, but {subject} is a recipe, which says that itself; "
            "override its keys, such as evaluation.data.annotations=val.csv"
        )


def _show(report: Report, *, as_json: bool, plot: Path | None, strict: bool, details: bool) -> int:
    """Print a report and what could not be read; return the exit code.

    Raises:
        DataError: no video could be read.
    """
    failures = list(report.failures)
    if os.environ.get("RANK", "0") != "0":  # under torchrun the first process speaks for all
        return 1 if strict and failures else 0
    for note in report.notes():
        note_line(note)
    if as_json:
        print(report.to_json())
    else:
        stdout_console().print(report)
        if (more := report.details(complete=details)) is not None:
            stdout_console().print(more)
    if plot is not None:
        report.plot(plot)
        note_line(f"wrote {plot}")
    total = report.num_answered + len(failures)
    code = failure_list(failures, total=total, items=report.items)
    if failures and not report.num_answered:
        raise DataError(f"no video of {report.data} can be read, so nothing was measured")
    return code if strict else 0
