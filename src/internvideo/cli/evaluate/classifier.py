"""`internvideo evaluate classifier`, also `internvideo evaluate RECIPE|MODEL`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from internvideo.cli.evaluate.loading import load_measured
from internvideo.cli.evaluate.options import (
    AsJson,
    BatchSize,
    Device,
    Out,
    Plot,
    Root,
    Split,
    Strict,
    Workers,
)
from internvideo.cli.evaluate.reporting import prepare_outputs, tell
from internvideo.cli.terminal import progress_bar
from internvideo.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from internvideo.evaluation import Subject

__all__ = ["classifier"]


class Views(str, Enum):
    """At how much of each video the model looks."""

    ALL = "all"
    CENTER = "center"


def classifier(
    subject: Annotated[
        str,
        typer.Argument(metavar="RECIPE|MODEL", help="A recipe, or a model: name, file or folder."),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Values of the recipe to replace."),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint", "-c", help="For a recipe: run directory, model folder or weight file."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", "-d", help="For a model: the annotation file.")
    ] = None,
    kind: Annotated[str, typer.Option("--format", "-f", help="Format of --data.")] = "kinetics",
    root: Root = None,
    labels: Annotated[
        Path | None, typer.Option(help="Class list, for formats that name classes in words.")
    ] = None,
    split: Split = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Put the model's outputs in this order, e.g. kinetics-400/alphabetical."),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Another input protocol, e.g. videomae-kinetics.")
    ] = None,
    views: Annotated[
        Views, typer.Option(help="All views of the protocol, or one clip and its centre.")
    ] = Views.ALL,
    out: Out = None,
    plot: Plot = None,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Also print a row for each class.")
    ] = False,
    as_json: AsJson = False,
    strict: Strict = False,
    batch_size: BatchSize = 16,
    workers: Workers = 2,
    device: Device = "auto",
) -> None:
    """Measure a classifier on annotated videos.

    The answers of all views of a video are averaged. The protocol is printed with the numbers. With
    --out, every answer is kept, and the same command goes on after a stop. Videos that cannot be
    read are listed; they are no part of top-1, and a second number counts them as misses.

    Examples:
      internvideo evaluate k400_videomae-b --checkpoint runs/k400_videomae-b --out results/
      internvideo evaluate runs/mine/model --data test.csv --views center
      internvideo evaluate videomae-b16-k400 -d val.csv --root videos/ --json --strict
      torchrun --nproc-per-node 4 -m internvideo evaluate runs/mine -d test.csv --out results/
    """
    prepare_outputs(out, plot)
    recipe = _recipe(subject, overrides or [], checkpoint=checkpoint, data=data)
    if recipe is not None:
        if given := _given(data=data, classes=classes, protocol=protocol, labels=labels):
            raise ConfigError(
                f"{given} belongs to a model, but {subject} is a recipe, which says that itself; "
                "override its keys, such as evaluation.data.annotations=val.csv"
            )
        from internvideo.evaluation import subject_of_recipe

        assert checkpoint is not None
        found = subject_of_recipe(recipe, checkpoint, device=device)
    else:
        found = _subject_of_model(
            subject, data, kind, protocol=protocol, classes=classes, device=device, root=root,
            labels=labels, split=split,
        )  # fmt: skip
    from internvideo.evaluation import measure

    with progress_bar("evaluating", unit="videos") as bar:
        report = measure(
            found,
            views=views.value,
            batch_size=batch_size,
            num_workers=workers,
            directory=out,
            progress=bar,
        )
    from internvideo.evaluation.accuracy import class_table

    code = tell(
        report,
        report.num_videos,
        as_json=as_json,
        plot=plot,
        strict=strict,
        further=class_table(report) if per_class else None,
    )
    raise typer.Exit(code)


def _recipe(subject: str, overrides: list[str], *, checkpoint: str | None, data: Any) -> Any:
    """Return the recipe that the subject is, or None where it is a model."""
    from internvideo.recipe import find_recipe, load_recipe

    try:
        if Path(subject).suffix not in (".yaml", ".yml") and Path(subject).exists():
            return _no_recipe(subject, overrides, checkpoint)
        find_recipe(subject)
    except UnknownNameError:
        if checkpoint is not None or Path(subject).suffix in (".yaml", ".yml"):
            raise
        return _no_recipe(subject, overrides, checkpoint)
    if checkpoint is None:
        raise ConfigError(
            f"{subject} is a recipe: give --checkpoint with the weights to measure, such as "
            f"--checkpoint runs/{Path(subject).stem}"
        )
    return load_recipe(subject, overrides)


def _no_recipe(subject: str, overrides: list[str], checkpoint: str | None) -> None:
    if overrides:
        raise ConfigError(f"{overrides[0]!r} changes a recipe, but {subject} is a model")
    if checkpoint is not None:
        raise ConfigError(
            f"--checkpoint goes with a recipe, but {subject} is a file or folder; give it alone "
            "and the videos by --data"
        )


def _given(**options: Any) -> str:
    return ", ".join(f"--{name}" for name, value in options.items() if value is not None)


def _subject_of_model(
    model: str,
    data: Path | None,
    kind: str,
    *,
    protocol: str | None,
    classes: str | None,
    device: str,
    root: str | None,
    labels: Path | None,
    split: str | None,
) -> Subject:
    if data is None:
        raise ConfigError(f"on which videos is {model} to be measured? give --data ANNOTATIONS")
    from internvideo.evaluation import subject_of_list

    loaded, name = load_measured(model, protocol=protocol, device=device, labels=classes)
    return subject_of_list(
        loaded, cast(Any, kind), data, name=name, root=root, labels=labels, split=split
    )
