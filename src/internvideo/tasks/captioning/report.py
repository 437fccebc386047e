"""How near the captions that a model writes are to the true ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

from internvideo.evaluation.report import BAR_COLOR, LINE_COLOR, Report, Share
from internvideo.tasks.captioning.cider import cider, exact_match

__all__ = ["CaptionedVideo", "CaptioningReport", "Fact"]

_EXAMPLES = 5
_MAX_EXAMPLES = 100


class Fact(NamedTuple):
    """Something that is true of a video, in whatever words.

    Attributes:
        kind: what it is about, such as "action".
        wordings: a caption that has one of these names the fact.
    """

    kind: str
    wordings: tuple[str, ...]

    def is_named(self, caption: str) -> bool:
        """Tell whether a caption names it; words count as a whole."""
        return any(f" {wording} " in f" {caption} " for wording in self.wordings)


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionedVideo:
    """What a model wrote about one video, and what is true.

    Attributes:
        video: name of the video.
        caption: by the model.
        references: true captions.
        facts: about the video, where the data tells them.
    """

    video: str
    caption: str
    references: tuple[str, ...]
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CaptioningReport(Report):
    """An evaluation of captions; a video that cannot be read is no part of the numbers.

    Attributes:
        videos: those that could be read, at least one.
    """

    align: ClassVar = "left"

    videos: tuple[CaptionedVideo, ...]

    @property
    def num_answered(self) -> int:
        """Number of videos that could be read."""
        return len(self.videos)

    @cached_property
    def _cider(self) -> tuple[float, list[float]]:
        return cider([v.caption for v in self.videos], [v.references for v in self.videos])

    @property
    def cider(self) -> float:
        """CIDEr-D of all captions: 0 to 10, see `cider.cider`; papers print it times 10."""
        return self._cider[0]

    @property
    def exact(self) -> float:
        """Percentage of captions that equal a reference word by word."""
        return exact_match([v.caption for v in self.videos], [v.references for v in self.videos])

    @property
    def _exact(self) -> Share:
        return Share(round(self.exact * len(self.videos) / 100), len(self.videos))

    @cached_property
    def named(self) -> dict[str, tuple[float, int]]:
        """For each kind of fact the percentage that the captions name, and how many there are."""
        hits: dict[str, list[bool]] = {}
        for video in self.videos:
            for fact in video.facts:
                hits.setdefault(fact.kind, []).append(fact.is_named(video.caption))
        return {kind: (100 * sum(each) / len(each), len(each)) for kind, each in hits.items()}

    def metrics(self) -> dict[str, float]:
        """Return the numbers alone, for a training log."""
        return {
            "cider": self.cider,
            "exact_match": self.exact,
            "num_failed": float(len(self.failures)),
        }

    def numbers(self) -> dict[str, Any]:
        """Return the numbers and some captions as plain data."""
        scored = list(zip(self.videos, self._cider[1], strict=True))
        return {
            "num_videos": len(self.videos),
            "exact_match": self.exact,
            "interval": list(self._exact.interval),
            "cider": self.cider,
            "named": {kind: share for kind, (share, _) in self.named.items()},
            "num_failed": len(self.failures),
            "captions": [
                {
                    "video": video.video,
                    "caption": video.caption,
                    "references": list(video.references),
                    "cider": score,
                }
                for video, score in scored[:_MAX_EXAMPLES]
            ],
        }

    def rows(self) -> Iterator[Sequence[str]]:
        """Yield the rows of the table: the numbers, and some captions beside the true ones."""
        yield "videos", str(len(self.videos))
        yield "exact match", f"{self.exact:.2f} % ({self._exact.range})"
        yield "CIDEr-D", f"{self.cider:.3f} of 10"
        for kind, (share, count) in self.named.items():
            yield f"{kind} named", f"{share:.2f} % of {count}"
        yield ()
        for video in self.videos[:_EXAMPLES]:
            yield video.references[0], video.caption
        if self.failures:
            yield ()
            count = f"{len(self.failures)} video{'s' * (len(self.failures) > 1)}"
            yield f"!{count} could not be read", "no part of the numbers"

    def draw(self) -> Any:
        """Draw how the CIDEr-D of the captions is distributed."""
        figure = self.figure(7, 3.5)
        axes = figure.subplots()
        axes.hist(self._cider[1], bins=20, range=(0, 10), color=BAR_COLOR)
        axes.axvline(self.cider, color=LINE_COLOR)
        axes.set_xlabel(f"CIDEr-D of a caption; the red line is the mean, {self.cider:.2f}")
        axes.set_ylabel("videos")
        axes.set_title(self.title)
        return figure
