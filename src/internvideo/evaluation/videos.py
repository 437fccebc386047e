"""Asking about the videos that a user names: whole ones, and long ones window by window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from internvideo.errors import ConfigError, VideoError
from internvideo.evaluation.answer import Partial
from internvideo.evaluation.classification import Classification
from internvideo.evaluation.engine import Answerer, Seen, Unreadable, answers
from internvideo.evaluation.timeline import ActionTimeline, ActionWindow
from internvideo.video.opening import AnyVideo, name_of, open_video
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.read_ahead import in_background
from internvideo.video.windows import sliding_windows, spans, window_protocol

__all__ = [
    "Cut",
    "ask_videos",
    "ask_windows",
    "label_timelines",
    "label_videos",
    "label_windows",
    "name_videos",
]

A = TypeVar("A")

_WINDOWS = 4  # answered together: more are faster, but their answers come later


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """How a long video is cut into windows, see `video.windows.spans`.

    Attributes:
        window: length in seconds; None is what a clip of the protocol covers, and two seconds
            where that is the whole video.
        stride: seconds from one window to the next; None sets window to window.
        in_frames: both count frames.
    """

    window: float | None = None
    stride: float | None = None
    in_frames: bool = False

    def refuse(self) -> None:
        """Refuse to cut where whole videos are asked about.

        Raises:
            ConfigError: anything but the defaults.
        """
        if self != Cut():
            raise ConfigError("--window, --stride and --frames belong to --stream; add it")


def ask_videos(
    answerer: Answerer[A], videos: Iterable[AnyVideo]
) -> Iterator[tuple[Seen | Unreadable, A | VideoError]]:
    """Yield each video with its answer, or why it cannot be read; a few are decoded ahead."""
    return answers(answerer, videos, partial(_read, answerer.protocol))


def ask_windows(answerer: Answerer[A], video: AnyVideo, cut: Cut) -> Iterator[tuple[Seen, A]]:
    """Yield each window of a video of any length with its answer, in bounded memory.

    The video is decoded once, in order; each window is looked at through one clip and the central
    crop.

    Raises:
        VideoError: the video cannot be read, or not further; the answers before have come.
        ConfigError: a length or stride that is not positive.
    """
    protocol = answerer.protocol
    with open_video(video) as (name, opened):
        plan = spans(
            opened, protocol, window=cut.window, stride=cut.stride, in_frames=cut.in_frames
        )
        windows = in_background(sliding_windows(opened, protocol, plan), depth=2 * _WINDOWS)
        seen = (
            Seen(name, each.clip[None], number, each.start, each.end)
            for number, each in enumerate(windows)
        )
        # a window that cannot be read raises
        yield from answers(answerer, seen, batch_size=_WINDOWS)  # type: ignore[misc]


def label_videos(
    answerer: Answerer[Classification], videos: Iterable[AnyVideo], *, top_k: int | None
) -> Iterator[Classification | VideoError]:
    """Yield the best labels of each video, or why it cannot be read."""
    for _, answer in ask_videos(answerer, videos):
        yield answer if isinstance(answer, VideoError) else answer.best(top_k)


def label_windows(
    answerer: Answerer[Classification], video: AnyVideo, cut: Cut, *, top_k: int
) -> Iterator[ActionWindow]:
    """Yield the best labels of each window of a long video; raises as `ask_windows` does."""
    for window, answer in ask_windows(answerer, video, cut):
        best = answer.best(top_k)
        yield ActionWindow(
            start=window.start, end=window.end, labels=best.labels, probabilities=best.probabilities
        )


def label_timelines(
    answerer: Answerer[Classification],
    videos: Iterable[AnyVideo],
    cut: Cut,
    *,
    model: str,
    top_k: int,
) -> Iterator[Partial | ActionTimeline | VideoError]:
    """Yield each window of a long video as soon as it is answered, then the whole timeline.

    Where a video cannot be read to its end, its timeline stops there, and `incomplete` says why.
    """
    protocol = window_protocol(answerer.protocol).describe()
    for video in videos:
        windows: list[ActionWindow] = []
        incomplete = ""
        try:
            for window in label_windows(answerer, video, cut, top_k=top_k):
                windows.append(window)
                yield Partial(name_of(video), window, model)
        except VideoError as error:
            if not windows:
                yield error
                continue
            incomplete = str(error)
        length = windows[0].end - windows[0].start
        yield ActionTimeline(
            video=name_of(video),
            windows=tuple(windows),
            model=model,
            protocol=f"windows of {length:g} s · {protocol}",
            incomplete=incomplete,
        )


def name_videos(
    answerer: Answerer[Classification],
    videos: Iterable[AnyVideo],
    *,
    model: str,
    top_k: int,
    stream: bool,
    window: float | None,
    stride: float | None,
    in_frames: bool,
) -> Iterator[Classification | ActionTimeline | Partial | VideoError]:
    """Yield the best labels of each video, or with `stream` those of its windows and its timeline.

    Raises:
        ConfigError: options of a stream without one.
    """
    cut = Cut(window=window, stride=stride, in_frames=in_frames)
    if stream:
        return label_timelines(answerer, videos, cut, model=model, top_k=top_k)
    cut.refuse()
    return label_videos(answerer, videos, top_k=top_k)


def _read(protocol: Preprocessing, video: AnyVideo) -> Seen | Unreadable:
    try:
        with open_video(video) as (name, opened):
            return Seen(name, protocol.load(opened), end=opened.num_frames / opened.fps)
    except VideoError as error:
        return Unreadable(name_of(video), error)
