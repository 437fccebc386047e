"""How near the captions that a model writes are to the true ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from internvideo.metrics import cider, exact_match

from internvideo.errors import require
from internvideo.evaluation.pictures import save_figure
from internvideo.evaluation.report import wilson_interval

if TYPE_CHECKING:
    from rich.table import Table

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
class CaptioningReport:
    """An evaluation of captions.

    A video that cannot be read has no caption: it is listed in `failures`, and is no part of the
    numbers.

    Attributes:
        videos: those that could be read, at least one.
        failures: (video, reason) of the others.
        protocol: how the videos were looked at and the words chosen.
        model: name of the model.
        data: name of the data.
    """

    videos: tuple[CaptionedVideo, ...]
    failures: tuple[tuple[str, str], ...] = ()
    protocol: str = ""
    model: str = ""
    data: str = ""

    @cached_property
    def _cider(self) -> tuple[float, list[float]]:
        return cider([v.caption for v in self.videos], [v.references for v in self.videos])

    @property
    def cider(self) -> float:
        """CIDEr-D of all captions: 0 to 10, see `metrics.cider`; papers print it times 10."""
        return self._cider[0]

    @property
    def exact(self) -> float:
        """Percentage of captions that equal a reference word by word."""
        return exact_match([v.caption for v in self.videos], [v.references for v in self.videos])

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of `exact`, in percent."""
        total = len(self.videos)
        low, high = wilson_interval(round(self.exact * total / 100), total)
        return 100 * low, 100 * high

    @cached_property
    def named(self) -> dict[str, tuple[float, int]]:
        """For each kind of fact the percentage that the captions name, and how many there are."""
        hits: dict[str, list[bool]] = {}
        for video in self.videos:
            for fact in video.facts:
                hits.setdefault(fact.kind, []).append(fact.is_named(video.caption))
        return {kind: (100 * sum(each) / len(each), len(each)) for kind, each in hits.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: the numbers, some captions, the failures."""
        scored = zip(self.videos, self._cider[1], strict=True)
        return {
            "model": self.model,
            "data": self.data,
            "protocol": self.protocol,
            "num_videos": len(self.videos),
            "exact_match": self.exact,
            "interval": list(self.interval),
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
                for video, score in list(scored)[:_MAX_EXAMPLES]
            ],
            "failures": [{"video": video, "reason": reason} for video, reason in self.failures],
        }

    def to_json(self) -> str:
        """Return `to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def __rich__(self) -> Table:
        from rich.markup import escape
        from rich.table import Table

        title = " on ".join(part for part in (self.model, self.data) if part)
        table = Table(title=escape(title) or None, caption=escape(self.protocol) or None)
        table.add_column("measure", overflow="fold")
        table.add_column("result", overflow="fold")
        low, high = self.interval
        table.add_row("videos", str(len(self.videos)))
        table.add_row("exact match", f"{self.exact:.2f} % ({low:.2f} … {high:.2f})")
        table.add_row("CIDEr-D", f"{self.cider:.3f} of 10")
        for kind, (share, count) in self.named.items():
            table.add_row(escape(f"{kind} named"), f"{share:.2f} % of {count}")
        table.add_section()
        for video in self.videos[:_EXAMPLES]:
            table.add_row(escape(video.references[0]), escape(video.caption))
        if self.failures:
            table.add_section()
            count = f"{len(self.failures)} video{'s' * (len(self.failures) > 1)}"
            table.add_row(f"{count} could not be read", "no part of the numbers", style="bold red")
        return table

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw how the CIDEr-D of the captions is distributed.

        Args:
            path: also write the picture there; the suffix decides the format.

        Returns:
            The matplotlib figure.

        Raises:
            MissingExtraError: matplotlib is not installed.
            ConfigError: the suffix is none of a picture.
        """
        figure_type = require("matplotlib.figure", extra="plot").Figure
        figure = figure_type(figsize=(7, 3.5), layout="constrained")
        axes = figure.subplots()
        scores: Sequence[float] = self._cider[1]
        axes.hist(scores, bins=20, range=(0, 10), color="#2563a8")
        axes.axvline(self.cider, color="#c0392b")
        axes.set_xlabel(f"CIDEr-D of a caption; the red line is the mean, {self.cider:.2f}")
        axes.set_ylabel("videos")
        axes.set_title(" on ".join(part for part in (self.model, self.data) if part))
        if path is not None:
            save_figure(figure, path)
        return figure
