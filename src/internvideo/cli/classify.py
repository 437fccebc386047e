"""`internvideo classify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from internvideo.cli.answers import plot_answers, show_answers
from internvideo.cli.labels import read_labels
from internvideo.cli.options import Card, Device, JsonLines, Model, Videos
from internvideo.cli.terminal import (
    failure_list,
    output_file,
    output_folder,
    progress_bar,
)
from internvideo.errors import ConfigError, VideoError

if TYPE_CHECKING:
    from internvideo.results import Classification

__all__ = ["classify"]

_OWN_CLASSES = 5


def classify(
    videos: Videos,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--labels", "-l", help="A label; repeat it. A file, or @FILE, gives one label a line."
        ),
    ] = None,
    model: Model = "viclip-nano",
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
        typer.Option(help="Draw the scores into this file; for several videos, into this folder."),
    ] = None,
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
    texts = read_labels(labels)
    if plot is not None:
        from internvideo.evaluation.pictures import check_picture

        several = len(videos) > 1 or Path(videos[0]).is_dir()
        output_folder(plot) if several else output_file(check_picture(plot))
    from internvideo.pipeline import load
    from internvideo.video.opening import expand_videos

    paths, failures = expand_videos(videos)
    total = len(paths) + len(failures)
    video_model = load(model, device=device, card=card)
    if texts is None and video_model.tokenizer is not None:
        raise ConfigError(
            f"{video_model.name} answers with labels that you give: "
            "add --labels 'something grows' for each, or --labels FILE"
        )
    if texts is None and top_k is None:
        top_k = _OWN_CLASSES
    answers: list[Classification] = []
    with progress_bar("classifying", unit="videos") as advance:
        results = video_model.classify_many(paths, texts, top_k=top_k, templates=template)
        for number, (path, result) in enumerate(zip(paths, results, strict=True), start=1):
            if isinstance(result, VideoError):
                failures.append((path, str(result)))
            elif as_json:
                print(result.to_json(), flush=True)
            if not isinstance(result, VideoError):
                answers.append(result)
            advance(number, len(paths))
    if not as_json:
        show_answers(answers)
    if plot is not None:
        plot_answers(answers, plot)
    raise typer.Exit(failure_list(failures, total=total))
