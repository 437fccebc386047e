"""Sentences about videos, by a model with a caption decoder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, get_args

import torch
from internvideo.results import CaptionSpan, VideoCaptions
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.errors import ConfigError, VideoError, did_you_mean
from internvideo.models.caption_writer import CaptionStrategy
from internvideo.pipeline.clips import BATCH_CLIPS
from internvideo.video.opening import AnyVideo, open_video, read_windows
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.read_ahead import read_ahead
from internvideo.video.windows import window_protocol

__all__ = [
    "DEFAULT_CAPTIONER",
    "CaptionStyle",
    "Captioner",
    "caption_spans",
    "caption_timeline",
    "caption_videos",
    "captioner",
]

DEFAULT_CAPTIONER = "mm-nano"
"""The model that writes captions where none is named; it comes with the package."""

_READ_AHEAD = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionStyle:
    """How the words of a caption are chosen.

    Attributes:
        strategy: "greedy" the likeliest word each time, "beam" the likeliest sentence of a beam
            search, "top-p" draws from the likeliest words.
        num_beams: sentences that a beam search follows at once.
        length_penalty: above 0, a beam search likes longer sentences, see `generation.beam_search`.
        top_p: share of the probability that the drawn words come from.
        temperature: below 1 draws likelier words, above 1 stranger ones.
        max_length: of a caption in tokens; None is what the model was made for.
        seed: of the draws; the same seed gives the same words.

    Raises:
        ConfigError: a value is impossible.
    """

    strategy: CaptionStrategy = "greedy"
    num_beams: int = 5
    length_penalty: float = 0.0
    top_p: float = 0.9
    temperature: float = 1.0
    max_length: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        known = get_args(CaptionStrategy)
        if self.strategy not in known:
            raise ConfigError(
                f"strategy {self.strategy!r} is not one of {', '.join(known)}."
                f"{did_you_mean(self.strategy, known)}"
            )
        if self.num_beams < 1:
            raise ConfigError(f"num_beams must be at least 1, got {self.num_beams}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p must be above 0 and at most 1, got {self.top_p:g}")
        if not self.temperature > 0:
            raise ConfigError(f"temperature must be above 0, got {self.temperature:g}")
        if self.max_length is not None and self.max_length < 1:
            raise ConfigError(f"max_length must be at least 1, got {self.max_length}")

    def describe(self) -> str:
        """Return the style in words."""
        if self.strategy == "beam":
            return f"beam search of {self.num_beams}"
        if self.strategy == "top-p":
            return f"drawn from top-p {self.top_p:g} at temperature {self.temperature:g}"
        return "greedy"


class _Writer(Protocol):
    """A model that writes captions."""

    def caption(
        self,
        video: Float[Tensor, "b c t y x"],
        *,
        strategy: CaptionStrategy,
        num_beams: int,
        length_penalty: float,
        top_p: float,
        temperature: float,
        max_length: int | None,
        generator: torch.Generator | None,
    ) -> list[str]:
        """Return one sentence for each clip."""
        ...


@dataclass(frozen=True, slots=True)
class Captioner:
    """A model that writes, on its device.

    Attributes:
        model: has a method `caption`.
        name: of the model.
    """

    model: Any
    name: str

    def write(self, clips: Float[Tensor, "b c t y x"], style: CaptionStyle) -> list[str]:
        """Return one sentence for each clip; the clips may be on any device."""
        parameter: Tensor = next(self.model.parameters())
        options = asdict(style)
        seed = options.pop("seed")
        generator = None
        if style.strategy == "top-p":
            generator = torch.Generator(parameter.device).manual_seed(seed)
        writer: _Writer = self.model
        with torch.inference_mode():
            return writer.caption(
                clips.to(parameter.device, parameter.dtype), generator=generator, **options
            )


def captioner(model: nn.Module, name: str) -> Captioner:
    """Return a model as one that writes.

    Raises:
        ConfigError: it has no caption decoder.
    """
    if not callable(getattr(model, "caption", None)):
        raise ConfigError(
            f"{name} writes no captions: it has no caption decoder; load {DEFAULT_CAPTIONER} or an "
            "InternVideo-MM"
        )
    return Captioner(model, name)


class _Read(NamedTuple):
    name: str
    clip: Float[Tensor, "1 c t y x"] | VideoError
    duration: float


def caption_videos(
    writer: Captioner,
    videos: Iterable[AnyVideo],
    protocol: Preprocessing,
    style: CaptionStyle,
) -> Iterator[VideoCaptions | VideoError]:
    """Yield the caption of each video, or why it cannot be read.

    Args:
        writer: the model.
        videos: as a user names them; they are decoded a few ahead, and captioned together.
        protocol: frames and resolution; of its views one clip and the central crop are looked at.
        style: how the words are chosen.
    """
    protocol = window_protocol(protocol)
    told = _describe(protocol, style)
    threads = min(_READ_AHEAD, os.cpu_count() or 1)
    waiting: list[_Read] = []
    for read in read_ahead(
        partial(_read, protocol), videos, threads=threads, depth=2 * _READ_AHEAD
    ):
        waiting.append(read)
        if len(waiting) == BATCH_CLIPS:
            yield from _written(writer, waiting, style, told)
            waiting = []
    yield from _written(writer, waiting, style, told)


def _read(protocol: Preprocessing, video: AnyVideo) -> _Read:
    try:
        with open_video(video) as (name, opened):
            return _Read(name, protocol.load(opened), opened.num_frames / opened.fps)
    except VideoError as error:
        return _Read("", error, 0.0)


def _written(
    writer: Captioner, reads: Sequence[_Read], style: CaptionStyle, protocol: str
) -> Iterator[VideoCaptions | VideoError]:
    clips = [read.clip for read in reads if isinstance(read.clip, Tensor)]
    texts = iter(writer.write(torch.cat(clips), style) if clips else ())
    for read in reads:
        if isinstance(read.clip, VideoError):
            yield read.clip
            continue
        yield VideoCaptions(
            video=read.name,
            spans=(CaptionSpan(0.0, read.duration, next(texts)),),
            model=writer.name,
            protocol=protocol,
        )


def caption_spans(
    writer: Captioner,
    video: AnyVideo,
    protocol: Preprocessing,
    style: CaptionStyle,
    *,
    every: float,
) -> Iterator[CaptionSpan]:
    """Yield the caption of each window of a video; the arguments are those of `caption_videos`.

    Raises:
        VideoError: the video cannot be read, or not further.
        ConfigError: `every` is not positive.
    """
    for part in read_windows(video, protocol, window=every):
        texts = writer.write(torch.stack([window.clip for window in part]), style)
        for window, text in zip(part, texts, strict=True):
            yield CaptionSpan(window.start, window.end, text)


def caption_timeline(
    writer: Captioner,
    video: str | Path,
    protocol: Preprocessing,
    style: CaptionStyle,
    *,
    every: float,
) -> VideoCaptions:
    """Return the captions of all windows of a video together.

    Where the video cannot be read to its end, they reach up to there, and `incomplete` says why.
    The arguments are those of `caption_videos`.

    Raises:
        VideoError: the video cannot be read at all.
        ConfigError: `every` is not positive.
    """
    spans: list[CaptionSpan] = []
    incomplete = ""
    try:
        for span in caption_spans(writer, video, protocol, style, every=every):
            spans.append(span)
    except VideoError as error:
        if not spans:
            raise
        incomplete = str(error)
    told = _describe(window_protocol(protocol), style)
    return VideoCaptions(
        video=str(video),
        spans=tuple(spans),
        model=writer.name,
        protocol=f"windows of {every:g} s, {told}",
        incomplete=incomplete,
    )


def _describe(protocol: Preprocessing, style: CaptionStyle) -> str:
    """Return in words how a clip is looked at and described."""
    return f"{protocol.describe()}, {style.describe()}"
