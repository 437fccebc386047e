"""`internvideo classify`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from internvideo.cli.labels import read_labels
from internvideo.cli.terminal import (
    failure_list,
    output_file,
    output_folder,
    progress_bar,
    stdout_console,
)
from internvideo.errors import ConfigError, VideoError

if TYPE_CHECKING:
    from internvideo.results import Classification

__all__ = ["classify"]

_OWN_CLASSES = 5
_MAX_TABLES = 3


def classify(
    videos: Annotated[
        list[str], typer.Argument(metavar="VIDEO...", help="Files, folders, or URLs.")
    ],
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--labels", "-l", help="A label; repeat it. A file, or @FILE, gives one label a line."
        ),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Name, file, folder or hub id of the model.")
    ] = "viclip-nano",
    card: Annotated[
        str | None, typer.Option(help="For a weight file: the released model that it is.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", "-k", min=1, help="Show only the best K answers.")
    ] = None,
    template: Annotated[
        str, typer.Option(help="Sentences around each label: none, action16, or 'a video of {}'.")
    ] = "none",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line for each video.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw the scores into this file; for several videos, into this folder."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
) -> None:
    """Say which of your labels fits each video best.

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
        output_folder(plot) if len(videos) > 1 or Path(videos[0]).is_dir() else output_file(plot)
    from internvideo.pipeline import load
    from internvideo.views import expand_videos

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
        _show(answers)
    if plot is not None:
        _plot(answers, plot)
    raise typer.Exit(failure_list(failures, total=total))


def _show(answers: Sequence[Classification]) -> None:
    """Print a table for each of a few videos, or one row for each of many."""
    console = stdout_console()
    if len(answers) <= _MAX_TABLES:
        for answer in answers:
            console.print(answer)
        return
    from rich.markup import escape
    from rich.table import Table

    folder = _common_folder([answer.video for answer in answers])
    table = Table(caption=f"videos in {escape(folder)}" if folder else None)
    table.add_column("video", overflow="fold")
    table.add_column("answer")
    table.add_column("", justify="right")
    table.add_column("next")
    for answer in answers:
        (best, share), *rest = answer.top(2)
        follower = f"{rest[0][0]} {rest[0][1]:.1%}" if rest else ""
        name = answer.video[len(folder) :].lstrip(os.sep)
        table.add_row(escape(name), escape(best), f"{share:.1%}", escape(follower))
    console.print(table)


def _common_folder(videos: Sequence[str]) -> str:
    """Return the folder that all videos are in, or nothing where there is none worth telling."""
    try:
        folder = os.path.commonpath([os.path.dirname(video) for video in videos])  # noqa: PTH120
    except ValueError:
        return ""
    return folder if all(video.startswith(folder) for video in videos) else ""


def _plot(answers: Sequence[Classification], target: Path) -> None:
    """Draw one answer into a file, or several into a folder under the names of their videos."""
    if not target.is_dir():
        for answer in answers:
            answer.plot(target)
        return
    taken: set[str] = set()
    for answer in answers:
        stem = name = Path(answer.video).stem or "video"
        number = 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        answer.plot(target / f"{name}.png")
