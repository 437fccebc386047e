"""`internvideo predict …`: what a task's model says about your videos."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from internvideo.cli.answers import plot_answers, show_answers
from internvideo.cli.labels import read_labels
from internvideo.cli.options import Card, Device, Videos
from internvideo.cli.terminal import (
    command_help,
    failure_list,
    output_file,
    output_folder,
    progress_bar,
    stdout_console,
)
from internvideo.errors import ConfigError, VideoError

if TYPE_CHECKING:
    from internvideo.pipeline import VideoModel
    from internvideo.results import ActionTimeline, Classification

__all__ = ["app"]

_DEFAULT_MODEL = "videomae-nano"

app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help=command_help(
        """Ask a classifier about your videos: which of its classes is in them, and when.

        Examples:
          internvideo predict actions clip.mp4
          internvideo predict actions long.mp4 --stream --window 4 --stride 2
        """
    ),
)


@app.callback()
def _group() -> None:
    """Keep `actions` a verb of its own while it is the only one."""


def actions(
    videos: Videos,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Name, file, folder or hub id of a classifier.")
    ] = _DEFAULT_MODEL,
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
    ] = 5,
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
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw the answer into this file; for several videos, into this folder."),
    ] = None,
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
    if not stream and (window is not None or stride is not None or in_frames):
        raise ConfigError("--window, --stride and --frames belong to --stream; add it")
    texts = read_labels(labels)
    if plot is not None:
        from internvideo.evaluation.pictures import check_picture

        several = len(videos) > 1 or Path(videos[0]).is_dir()
        output_folder(plot) if several else output_file(check_picture(plot))
    from internvideo.video.opening import expand_videos

    paths, failures = expand_videos(videos)
    total = len(paths) + len(failures)
    video_model = _load(model, card=card, device=device, labels=texts)
    answers: Sequence[Any]
    if stream:
        cut = {"window": window, "stride": stride, "in_frames": in_frames}
        answers = _stream(
            video_model, paths, failures, texts, top_k=top_k, as_json=as_json, cut=cut
        )
    else:
        answers = _classify(video_model, paths, failures, texts, top_k=top_k, as_json=as_json)
    if plot is not None:
        plot_answers(answers, plot)
    raise typer.Exit(failure_list(failures, total=total))


app.command("actions", help=command_help(actions.__doc__ or ""))(actions)


def _load(model: str, *, card: str | None, device: str, labels: list[str] | None) -> VideoModel:
    from internvideo.errors import UnknownNameError
    from internvideo.pipeline import load

    try:
        loaded = load(model, device=device, card=card)
    except UnknownNameError:
        if model != _DEFAULT_MODEL:
            raise
        raise ConfigError(
            f"the default model {_DEFAULT_MODEL} is not part of this installation; give --model, "
            "such as videomae-b16-k400 or a folder that `internvideo train` wrote"
        ) from None
    if labels is None and loaded.labels is None:
        raise ConfigError(
            f"{loaded.name} has no classes of its own; give --model a classifier, such as "
            "videomae-b16-k400" + (", or --labels" if loaded.tokenizer is not None else "")
        )
    return loaded


def _classify(
    model: VideoModel,
    paths: list[str],
    failures: list[tuple[str, str]],
    labels: list[str] | None,
    *,
    top_k: int,
    as_json: bool,
) -> list[Classification]:
    """Return the answers for whole videos; those that cannot be read join the failures."""
    answers = []
    with progress_bar("recognising", unit="videos") as advance:
        results = model.classify_many(paths, labels, top_k=top_k)
        for number, (path, result) in enumerate(zip(paths, results, strict=True), start=1):
            if isinstance(result, VideoError):
                failures.append((path, str(result)))
            else:
                answers.append(result)
                if as_json:
                    print(result.to_json(), flush=True)
            advance(number, len(paths))
    if not as_json:
        show_answers(answers)
    return answers


def _stream(
    model: VideoModel,
    paths: list[str],
    failures: list[tuple[str, str]],
    labels: list[str] | None,
    *,
    top_k: int,
    as_json: bool,
    cut: dict[str, Any],
) -> list[ActionTimeline]:
    """Print the answer of every window when it is there; return what they make together."""
    from internvideo.results import ActionTimeline
    from internvideo.video.windows import window_protocol

    timelines = []
    protocol = window_protocol(model.preprocessing).describe()
    for path in paths:
        windows = []
        try:
            for answer in model.stream_actions(path, labels, top_k=top_k, **cut):
                windows.append(answer)
                line = {"video": path, **answer.to_dict()}
                print(json.dumps(line, ensure_ascii=False) if as_json else answer, flush=True)
        except VideoError as error:
            failures.append((path, str(error)))
        if not windows:
            continue
        timeline = ActionTimeline(
            video=path,
            windows=tuple(windows),
            model=model.name,
            protocol=f"windows of {windows[0].end - windows[0].start:g} s · {protocol}",
        )
        timelines.append(timeline)
        if as_json:
            whole = timeline.to_dict()
            del whole["windows"]  # every one of them has been printed
            print(json.dumps(whole, ensure_ascii=False), flush=True)
        else:
            stdout_console().print(timeline)
    return timelines
