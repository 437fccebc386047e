"""Sentences about a user's videos, by a model with a caption decoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Annotated, TypeAlias

import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from internvideo.config import Positive, config_class
from internvideo.errors import ConfigError, VideoError
from internvideo.evaluation.engine import Answerer, Batch
from internvideo.evaluation.videos import Cut, ask_videos, ask_windows
from internvideo.models.caption_writer import CaptionStrategy
from internvideo.models.contract import has
from internvideo.tasks.captioning.captions import CaptionSpan, VideoCaptions
from internvideo.tasks.task import Option
from internvideo.video.opening import AnyVideo, name_of
from internvideo.video.windows import window_protocol
from internvideo.zoo.hub import LoadedModel

__all__ = ["CaptionStyle", "CaptionWriter", "caption_spans", "caption_videos", "predict"]

DEFAULT_CAPTIONER = "mm-nano"
"""The model that writes captions where none is named; it comes with the package."""

Share: TypeAlias = Annotated[float, Field(gt=0, le=1)]


@config_class
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
    num_beams: PositiveInt = 5
    length_penalty: float = 0.0
    top_p: Share = 0.9
    temperature: Positive = 1.0
    max_length: PositiveInt | None = None
    seed: NonNegativeInt = 0

    def describe(self) -> str:
        """Return the style in words."""
        if self.strategy == "beam":
            return f"beam search of {self.num_beams}"
        if self.strategy == "top-p":
            return f"drawn from top-p {self.top_p:g} at temperature {self.temperature:g}"
        return "greedy"


class CaptionWriter(Answerer[str]):
    """Writes a sentence about a video, of which one clip and the central crop are looked at.

    Args:
        model: with a caption decoder.
        style: how the words are chosen.

    Raises:
        ConfigError: the model has no caption decoder.
    """

    def __init__(self, model: LoadedModel, style: CaptionStyle) -> None:
        if not has(model.model, "captions"):
            raise ConfigError(
                f"{model.name} writes no captions: it has no caption decoder; load "
                f"{DEFAULT_CAPTIONER} or an InternVideo-MM"
            )
        super().__init__(model.model, window_protocol(model.protocol))
        self.name = model.name
        self.style = style

    def answer(self, batch: Batch) -> list[str]:
        """Return one sentence for each video."""
        return [text for _, [text] in batch.each(self.write)]

    def write(self, clips: Float[Tensor, "b c t y x"]) -> list[str]:
        """Return one sentence for each clip; a draw depends on the seed and the clips alone."""
        options = asdict(self.style)
        seed = options.pop("seed")
        generator = None
        if self.style.strategy == "top-p":
            generator = torch.Generator(clips.device).manual_seed(seed)
        return self.network.caption(clips, generator=generator, **options)  # type: ignore[operator]

    def describe(self) -> str:
        """Return in words how a video is looked at and described."""
        return f"{self.protocol.describe()}, {self.style.describe()}"


def caption_videos(
    writer: CaptionWriter, videos: Iterable[AnyVideo]
) -> Iterator[VideoCaptions | VideoError]:
    """Yield the caption of each video, or why it cannot be read."""
    described = writer.describe()
    for video, text in ask_videos(writer, videos):
        if isinstance(text, VideoError):
            yield text
            continue
        yield VideoCaptions(
            video=video.name,
            spans=(CaptionSpan(0.0, video.end, text),),  # type: ignore[union-attr]
            model=writer.name,
            protocol=described,
        )


def caption_spans(writer: CaptionWriter, video: AnyVideo, every: float) -> Iterator[CaptionSpan]:
    """Yield the caption of each window of `every` seconds of a video; raises as `ask_windows`."""
    for window, text in ask_windows(writer, video, Cut(window=every)):
        yield CaptionSpan(window.start, window.end, text)


def caption_timeline(writer: CaptionWriter, video: AnyVideo, every: float) -> VideoCaptions:
    """Return the captions of all windows of a video together.

    Where the video cannot be read to its end, they reach up to there, and `incomplete` says why.

    Raises:
        VideoError: the video cannot be read at all.
        ConfigError: `every` is not positive.
    """
    spans: list[CaptionSpan] = []
    incomplete = ""
    try:
        spans.extend(caption_spans(writer, video, every))
    except VideoError as error:
        if not spans:
            raise
        incomplete = str(error)
    return VideoCaptions(
        video=name_of(video),
        spans=tuple(spans),
        model=writer.name,
        protocol=f"windows of {every:g} s, {writer.describe()}",
        incomplete=incomplete,
    )


def predict(
    model: LoadedModel,
    videos: Iterable[AnyVideo],
    *,
    strategy: Annotated[
        CaptionStrategy,
        Option(
            "How words are chosen: greedy is the likeliest each time, beam the likeliest sentence, "
            "top-p a random draw from the likely words."
        ),
    ] = "greedy",
    num_beams: Annotated[int, Option("With beam: sentences kept at each word.", minimum=1)] = 5,
    length_penalty: Annotated[float, Option("With beam: above 0 prefers longer sentences.")] = 0.0,
    top_p: Annotated[
        Share,
        Option("With top-p: draw from the likeliest words that have this probability together."),
    ] = 0.9,
    temperature: Annotated[
        Positive, Option("With top-p: below 1 is more predictable, above 1 less.")
    ] = 1.0,
    max_length: Annotated[
        int | None,
        Option("Tokens in a caption at most; by default what the model allows.", minimum=1),
    ] = None,
    seed: Annotated[int, Option("With top-p: the same seed gives the same words.", minimum=0)] = 0,
    every: Annotated[
        float | None, Option("Seconds: one caption for each stretch of this length.")
    ] = None,
) -> Iterator[VideoCaptions | VideoError]:
    """Say in a sentence what is in each video, or in every stretch of a long one.

    The default model, mm-nano, ships with the package. It knows only the small words of the
    procedural world; load a full InternVideo-MM for real videos.

    Args:
        model: with a caption decoder.
        videos: what a user calls a video; those that cannot be read give their error.
        strategy: this and the others but the last as in `CaptionStyle`.
        num_beams: as there.
        length_penalty: as there.
        top_p: as there.
        temperature: as there.
        max_length: as there.
        seed: as there.
        every: one caption for each window of so many seconds.

    Raises:
        ConfigError: the model cannot write, or a value is impossible.
    """
    style = CaptionStyle(
        strategy=strategy, num_beams=num_beams, length_penalty=length_penalty, top_p=top_p,
        temperature=temperature, max_length=max_length, seed=seed,
    )  # fmt: skip
    writer = CaptionWriter(model, style)
    if every is None:
        return caption_videos(writer, videos)
    return _timelines(writer, videos, every)


def _timelines(
    writer: CaptionWriter, videos: Iterable[AnyVideo], every: float
) -> Iterator[VideoCaptions | VideoError]:
    for video in videos:
        try:
            yield caption_timeline(writer, video, every)
        except VideoError as error:
            yield error
