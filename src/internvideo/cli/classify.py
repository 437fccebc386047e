"""`internvideo classify` and `predict actions`: labels of your own, or the classes of the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from internvideo.cli.answers import prepare_files, show_all
from internvideo.cli.labels import read_labels
from internvideo.cli.options import Card, Device, JsonLines, Model, Videos
from internvideo.cli.verbs import load_default
from internvideo.errors import ConfigError

__all__ = ["actions", "classify"]

_OWN_CLASSES = 5
_CLASSIFIER, _TWO_TOWERS = "videomae-nano", "viclip-nano"

Plot = Annotated[
    Path | None,
    typer.Option(help="Draw the answer into this file; for several videos, into this folder."),
]


def classify(
    videos: Videos,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--labels", "-l", help="A label; repeat it. A file, or @FILE, gives one label a line."
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
    plot: Plot = None,
    device: Device = "auto",
) -> None:
    """Say which of your labels fits each video best.

    The probabilities are shares among the labels that you give, so give at least two: they say
    which fits best, never that one is true.

    The default model, viclip-nano, ships with the package. It knows only the small words of the
    procedural world; load a full ViCLIP for real videos, or a classifier with its own classes.

    Examples:
      internvideo classify clip.mp4 -l "something moves left" -l "something moves right"
      internvideo classify clips/ --labels labels.txt --json > answers.jsonl
      internvideo classify clip.mp4 -m videomae-b16-k400 --top-k 5
      internvideo classify clip.mp4 -m viclip-l14 -l archery -l juggling --template action16
    """
    _name(
        videos, labels, model, _TWO_TOWERS, card, device, template=template,
        top_k=top_k, as_json=as_json, plot=plot,
    )  # fmt: skip


def actions(
    videos: Videos,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Name, file, folder or hub id of a classifier.")
    ] = _CLASSIFIER,
    card: Card = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--labels",
            "-l",
            help="Only these classes; repeat it, or give a file. A ViCLIP needs some.",
        ),
    ] = None,
    top_k: Annotated[
        int,
        typer.Option(
            "--top-k", "-k", min=1, help="Best answers that are shown for each video or window."
        ),
    ] = _OWN_CLASSES,
    stream: Annotated[
        bool, typer.Option("--stream", help="Answer window by window, for videos of any length.")
    ] = False,
    window: Annotated[
        float | None,
        typer.Option(help="Length of a window in seconds; by default that of the model's clip."),
    ] = None,
    stride: Annotated[
        float | None,
        typer.Option(
            help="Seconds from one window to the next; by default the length of a window."
        ),
    ] = None,
    in_frames: Annotated[
        bool, typer.Option("--frames", help="--window and --stride count frames, not seconds.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line for each video, or window.")
    ] = False,
    plot: Plot = None,
    device: Device = "auto",
) -> None:
    """Name the actions in videos, with the classes of the model.

    The default model, videomae-nano, ships with the package and knows the 28 actions of the
    procedural world only; for real videos name a classifier.

    The model looks at each video in the way that it was made for: so many clips and crops, whose
    answers are averaged. With --stream, the video is cut into windows that are answered one after
    the other while it is decoded; in the table, neighbours with the same answer are one row. Memory
    does not grow with the length of the video.

    Examples:
      internvideo predict actions clip.mp4
      internvideo predict actions clip.mp4 --model videomae-b16-k400
      internvideo predict actions clips/ -m runs/mine/model --json > answers.jsonl
      internvideo predict actions match.mp4 -m videomae-b16-k400 --stream --window 4 --stride 2
    """
    cut = {"window": window, "stride": stride, "in_frames": in_frames}
    _name(
        videos, labels, model, _CLASSIFIER, card, device,
        top_k=top_k, as_json=as_json, plot=plot, stream=stream, cut=cut,
    )  # fmt: skip


def _name(
    videos: Sequence[str],
    labels: Sequence[str] | None,
    model: str,
    default: str,
    card: str | None,
    device: str,
    *,
    template: str = "none",
    top_k: int | None,
    as_json: bool,
    plot: Path | None,
    stream: bool = False,
    cut: dict[str, Any] | None = None,
) -> None:
    """Name what is in each video, and leave with the exit code."""
    texts = read_labels(labels)
    from internvideo.evaluation.videos import Cut, label_timelines, label_videos
    from internvideo.tasks.task import PLOT
    from internvideo.video.opening import expand_videos

    windows = Cut(**(cut or {}))
    if not stream:
        windows.refuse()
    targets = {} if plot is None else {PLOT: plot}
    prepare_files(targets, videos)
    loaded = load_default(model, default=default, card=card, device=device)
    if texts is None and loaded.tokenizer is not None:
        raise ConfigError(
            f"{loaded.name} answers with labels that you give: add --labels 'something grows' for "
            "each, or --labels FILE; or give --model a classifier"
        )
    if texts is None and top_k is None:
        top_k = _OWN_CLASSES
    paths, failures = expand_videos(videos)
    namer = loaded.labelling(texts, template)
    results: Any = label_videos(namer, paths, top_k=top_k)
    if stream:
        results = label_timelines(
            namer, paths, windows, model=loaded.name, top_k=top_k or _OWN_CLASSES
        )
    code = show_all(
        results, paths, failures, description="recognising", as_json=as_json, targets=targets
    )
    raise typer.Exit(code)
