"""`internvideo caption`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from internvideo.cli.answers import show_captions, write_subtitles
from internvideo.cli.options import Card, Device, JsonLines, Model, Videos
from internvideo.cli.terminal import failure_list, output_file, output_folder, progress_bar
from internvideo.errors import ConfigError, UnknownNameError, VideoError

if TYPE_CHECKING:
    from internvideo.pipeline import VideoModel
    from internvideo.results import VideoCaptions
    from internvideo.tasks.captioning.predict import CaptionStyle

__all__ = ["caption"]

_DEFAULT_MODEL = "mm-nano"


class Strategy(str, Enum):
    """How the words are chosen."""

    GREEDY = "greedy"
    BEAM = "beam"
    TOP_P = "top-p"


def caption(
    videos: Videos,
    model: Model = _DEFAULT_MODEL,
    card: Card = None,
    strategy: Annotated[
        Strategy,
        typer.Option(
            help="How words are chosen: greedy is the likeliest each time, beam the likeliest "
            "sentence, top-p a random draw from the likely words."
        ),
    ] = Strategy.GREEDY,
    num_beams: Annotated[
        int, typer.Option(min=1, help="With beam: sentences kept at each word.")
    ] = 5,
    length_penalty: Annotated[
        float, typer.Option(help="With beam: above 0 prefers longer sentences.")
    ] = 0.0,
    top_p: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="With top-p: draw from the likeliest words that have this probability together.",
        ),
    ] = 0.9,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="With top-p: below 1 is more predictable, above 1 less.")
    ] = 1.0,
    max_length: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens in a caption at most; by default what the model allows."),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="With top-p: the same seed gives the same words.")
    ] = 0,
    every: Annotated[
        float | None, typer.Option(help="Seconds: one caption for each stretch of this length.")
    ] = None,
    srt: Annotated[
        Path | None,
        typer.Option("--srt", help="Write subtitles here; for several videos, into this folder."),
    ] = None,
    as_json: JsonLines = False,
    device: Device = "auto",
) -> None:
    """Say in a sentence what is in each video, or in every stretch of a long one.

    The default model, mm-nano, ships with the package. It knows only the small words of the
    procedural world; load a full InternVideo-MM for real videos.

    Examples:
      internvideo caption clip.mp4
      internvideo caption clips/ --strategy beam --num-beams 5 --json > captions.jsonl
      internvideo caption film.mp4 --every 2 --srt film.srt
    """
    if srt is not None:
        output_folder(srt) if len(videos) > 1 or Path(videos[0]).is_dir() else output_file(srt)
    from internvideo.tasks.captioning.predict import CaptionStyle
    from internvideo.video.opening import expand_videos

    style = CaptionStyle(
        strategy=strategy.value, num_beams=num_beams, length_penalty=length_penalty, top_p=top_p,
        temperature=temperature, max_length=max_length, seed=seed,
    )  # fmt: skip
    paths, failures = expand_videos(videos)
    total = len(paths) + len(failures)
    writer = _load(model, card=card, device=device)
    answers: list[VideoCaptions] = []
    with progress_bar("captioning", unit="videos") as advance:
        results = _captions(writer, paths, style, every=every)
        for number, (path, result) in enumerate(zip(paths, results, strict=True), start=1):
            if isinstance(result, VideoError):
                failures.append((path, str(result)))
            else:
                answers.append(result)
                if result.incomplete:
                    failures.append((path, result.incomplete))
                if as_json:
                    print(result.to_json(), flush=True)
            advance(number, len(paths))
    if not as_json:
        show_captions(answers)
    if srt is not None:
        write_subtitles(answers, srt)
    raise typer.Exit(failure_list(failures, total=total))


def _load(model: str, *, card: str | None, device: str) -> VideoModel:
    from internvideo.pipeline import load
    from internvideo.tasks.captioning.predict import captioner

    try:
        loaded = load(model, device=device, card=card)
    except UnknownNameError:
        if model != _DEFAULT_MODEL:
            raise
        raise ConfigError(
            f"the default model {_DEFAULT_MODEL} is not part of this installation; give "
            "--model, such as internvideo-mm-l14 or a folder that `internvideo train` wrote"
        ) from None
    captioner(loaded.model, loaded.name)
    return loaded


def _captions(
    model: VideoModel, paths: Sequence[str], style: CaptionStyle, *, every: float | None
) -> Iterator[VideoCaptions | VideoError]:
    """Yield the captions of each video, or why it cannot be read."""
    if every is None:
        yield from model.caption_many(paths, style)
        return
    for path in paths:
        try:
            yield model.caption_timeline(path, every, style)
        except VideoError as error:
            yield error
