"""`internvideo evaluate zero-shot`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

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
from internvideo.errors import ConfigError

if TYPE_CHECKING:
    from internvideo.evaluation import LabelledVideos
    from internvideo.pipeline import VideoModel

__all__ = ["zero_shot"]

_WORLD = "world"
_WORLD_CLIPS = 600
_SHOWN_CLASSES = 40


class Rule(str, Enum):
    """How the sentences of a class are joined."""

    COSINE = "cosine"
    PROBABILITY = "probability"


def zero_shot(
    model: Model,
    data: Annotated[
        str,
        typer.Option(
            "--data", "-d", help="Annotation list, folder of one folder a class, or: world."
        ),
    ],
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels", "-l", help="Class list (any language), or e.g. kinetics-400/alphabetical."
        ),
    ] = None,
    templates: Annotated[
        str | None,
        typer.Option(
            "--templates", "-t", help="action16, single, doing, none; 'a clip of {}'; or a file."
        ),
    ] = None,
    rule: Annotated[
        Rule | None, typer.Option(help="How the sentences of a class are joined.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--format", "-f", help="Format of --data, where not told by it.")
    ] = None,
    root: Root = None,
    split: Split = None,
    num_clips: Annotated[
        int | None, typer.Option("--num-clips", "-n", min=1, help="For --data world.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="For --data world.")] = None,
    protocol: InputProtocol = None,
    card: Card = None,
    out: Out = None,
    plot: Plot = None,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Print all classes, also where there are many.")
    ] = False,
    as_json: AsJson = False,
    strict: Strict = False,
    batch_size: BatchSize = 16,
    workers: Workers = 2,
    device: Device = "auto",
) -> None:
    """Measure how well a model recognises classes that it is told in words.

    The classes come from --labels: a file of one a line in the order of their numbers, or a json
    object from the name in the data to a label, or to sentences, in any language. A file of
    --templates has a sentence a line, with {} for the label. With --out, every answer is kept, and
    the same command goes on after a stop.

    Examples:
      internvideo evaluate zero-shot viclip-l14 --data my-videos/
      internvideo evaluate zero-shot viclip-l14 -d val.csv -l kinetics-400/alphabetical -o results/
      internvideo evaluate zero-shot my-model -d list.csv -l labels_zh.txt -t templates_zh.txt
      internvideo evaluate zero-shot viclip-nano --data world
    """
    prepare_outputs(out, plot)
    from internvideo.evaluation import measure_zero_shot
    from internvideo.evaluation.accuracy import class_table

    loaded, name = load_measured(model, protocol=protocol, device=device, card=card)
    videos = _videos(
        loaded, data, kind, root=root, labels=labels, split=split, num_clips=num_clips, seed=seed
    )
    with progress_bar("evaluating", unit="videos") as bar:
        report = measure_zero_shot(
            loaded, videos, templates=templates, ensemble=None if rule is None else rule.value,
            name=name, batch_size=batch_size, num_workers=workers, directory=out, progress=bar,
        )  # fmt: skip
    classes = class_table(report, most=None if per_class else _SHOWN_CLASSES)
    code = tell(
        report, report.num_videos, as_json=as_json, plot=plot, strict=strict, further=classes
    )
    raise typer.Exit(code)


def _videos(
    model: VideoModel,
    data: str,
    kind: str | None,
    *,
    root: str | None,
    labels: str | None,
    split: str | None,
    num_clips: int | None,
    seed: int | None,
) -> LabelledVideos:
    from internvideo.data.world import EVALUATION_SEED
    from internvideo.evaluation import labelled_videos, world_videos

    for option, value in (("--num-clips", num_clips), ("--seed", seed)):
        if value is not None and data != _WORLD:
            raise ConfigError(f"{option} belongs to --data world, but the data is {data}")
    if data != _WORLD:
        return labelled_videos(
            Path(data), protocol=model.preprocessing, kind=cast(Any, kind), root=root,
            labels=labels, split=split,
        )  # fmt: skip
    given = {"--format": kind, "--root": root, "--labels": labels, "--split": split}
    if wrong := [option for option, value in given.items() if value is not None]:
        raise ConfigError(
            f"{wrong[0]} belongs to a list or folder; the world is rendered and knows its classes "
            "(a folder of that name is given as ./world)"
        )
    return world_videos(num_clips or _WORLD_CLIPS, seed=EVALUATION_SEED if seed is None else seed)
