"""What happens when: the answers of a classifier for the windows of a long video."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internvideo.errors import require
from internvideo.evaluation.pictures import label_fonts, save_figure

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["ActionSegment", "ActionTimeline", "ActionWindow"]

_MAX_ROWS = 40
_MAX_TICKS = 10
_TICKS = (
    0.1,
    0.5,
    1,
    2,
    5,
    10,
    20,
    30,
    60,
    120,
    300,
    600,
    1200,
    1800,
    3600,
    7200,
    14400,
)  # seconds
_LABEL_WIDTH = 28


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionWindow:
    """The answer for one window of a video.

    Attributes:
        start: seconds from the start of the video.
        end: likewise.
        labels: the likeliest labels, best first.
        probabilities: theirs, in the same order.
    """

    start: float
    end: float
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: the times, and one entry per label."""
        rows = zip(self.labels, self.probabilities, strict=True)
        return {
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "predictions": [{"label": label, "probability": share} for label, share in rows],
        }

    def to_json(self) -> str:
        """Return `to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def __str__(self) -> str:
        rows = zip(self.labels, self.probabilities, strict=True)
        told = "  ".join(f"{label} {share:.1%}" for label, share in rows)
        return f"{clock(self.start)} – {clock(self.end)}  {told}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionSegment:
    """A stretch of a video with one answer.

    Attributes:
        start: seconds from the start of the video.
        end: likewise.
        label: the likeliest label of all its windows.
        probability: the mean of that label over the windows.
        num_windows: how many windows say so.
    """

    start: float
    end: float
    label: str
    probability: float
    num_windows: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "label": self.label,
            "probability": self.probability,
            "num_windows": self.num_windows,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionTimeline:
    """The windows of a video in order, and the segments that they make.

    Attributes:
        video: name or path of the video.
        windows: the answers, in the order of time.
        model: name of the model.
        protocol: how each window was looked at.
        incomplete: why the rest of the video has no answers; empty where it has.
    """

    video: str
    windows: tuple[ActionWindow, ...]
    model: str = ""
    protocol: str = ""
    incomplete: str = ""

    @property
    def segments(self) -> tuple[ActionSegment, ...]:
        """Neighbouring windows of equal answer, as one segment each.

        Where windows overlap, a change is put half-way between the centres of the two windows; so
        segments follow each other without gap or overlap.
        """
        bounds = _bounds(self.windows)
        segments = []
        numbered = enumerate(self.windows)
        for label, group in groupby(numbered, key=lambda item: item[1].labels[0]):
            members = list(group)
            shares = [window.probabilities[0] for _, window in members]
            segments.append(
                ActionSegment(
                    start=bounds[members[0][0]],
                    end=bounds[members[-1][0] + 1],
                    label=label,
                    probability=sum(shares) / len(shares),
                    num_windows=len(members),
                )
            )
        return tuple(segments)

    def to_dict(self, *, parts: bool = True) -> dict[str, Any]:
        """Return plain data: video, model, protocol, segments and (`parts`) windows."""
        windows = {"windows": [window.to_dict() for window in self.windows]} if parts else {}
        missing = {"incomplete": self.incomplete} if self.incomplete else {}
        return {
            "video": self.video,
            "model": self.model,
            "protocol": self.protocol,
            "segments": [segment.to_dict() for segment in self.segments],
            **windows,
            **missing,
        }

    def to_json(self, *, parts: bool = True) -> str:
        """Return `to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(parts=parts), ensure_ascii=False)

    def __rich__(self) -> Table:
        from rich.markup import escape
        from rich.table import Table

        source = ", ".join(part for part in (self.model, self.protocol) if part)
        table = Table(title=escape(self.video), caption=escape(source) or None)
        for heading in ("from", "to"):
            table.add_column(heading, justify="right")
        table.add_column("action")
        table.add_column("probability", justify="right")
        segments = self.segments
        for segment in segments[:_MAX_ROWS]:
            table.add_row(
                clock(segment.start),
                clock(segment.end),
                escape(segment.label),
                f"{segment.probability:.1%}",
            )
        if len(segments) > _MAX_ROWS:
            table.add_row("…", "…", f"{len(segments) - _MAX_ROWS} more segments", "")
        return table

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw the segments along the time, a row for each label; the shade is the probability.

        Of very many labels those that last longest have a row of their own.

        Args:
            path: also write the picture there; the suffix decides the format.

        Returns:
            The matplotlib figure.

        Raises:
            MissingExtraError: matplotlib is not installed.
            ConfigError: the suffix is none of a picture.
        """
        figure_type = require("matplotlib.figure", extra="plot").Figure
        segments = self.segments
        labels = _rows(segments)
        row = {label: place for place, label in enumerate(labels)}
        figure = figure_type(figsize=(10, 1.4 + 0.35 * max(len(labels), 1)), layout="constrained")
        axes = figure.subplots()
        for segment in segments:
            axes.barh(
                row.get(segment.label, len(labels) - 1),
                segment.end - segment.start,
                left=segment.start,
                height=0.8,
                color="#2563a8",
                alpha=0.25 + 0.75 * segment.probability,
            )
        names = [textwrap.fill(label, _LABEL_WIDTH) for label in labels]
        axes.set_yticks(range(len(labels)), names, parse_math=False, fontfamily=label_fonts())
        axes.invert_yaxis()
        start, end = (segments[0].start, segments[-1].end) if segments else (0.0, 1.0)
        step = next((each for each in _TICKS if each * _MAX_TICKS >= end - start), _TICKS[-1])
        axes.set_xlim(start, end)
        axes.set_xticks([step * n for n in range(ceil(start / step), int(end / step) + 1)])
        axes.xaxis.set_major_formatter(lambda at, _: clock(at, decimals=0 if step >= 1 else 1))
        axes.set_xlabel("time")
        axes.set_title(Path(self.video).name or self.video, parse_math=False)
        if path is not None:
            save_figure(figure, path)
        return figure


def clock(seconds: float, *, decimals: int = 1) -> str:
    """Return a time as `m:ss.s`, from an hour on as `h:mm:ss.s`.

    >>> clock(75.25), clock(3661, decimals=0)
    ('1:15.2', '1:01:01')
    """
    unit = 10**decimals
    ticks = round(seconds * unit)
    minutes, rest = divmod(ticks, 60 * unit)
    hours, minutes = divmod(minutes, 60)
    width = 3 + decimals if decimals else 2
    told = f"{rest / unit:0{width}.{decimals}f}"
    return f"{hours}:{minutes:02d}:{told}" if hours else f"{minutes}:{told}"


def _rows(segments: Sequence[ActionSegment]) -> list[str]:
    """Return the labels to draw, in the order of their first segments; the rest is "others"."""
    lasting: dict[str, float] = {}
    for segment in segments:
        lasting[segment.label] = lasting.get(segment.label, 0.0) + segment.end - segment.start
    if len(lasting) <= _MAX_ROWS:
        return list(lasting)
    longest = set(sorted(lasting, key=lasting.__getitem__, reverse=True)[:_MAX_ROWS])
    return [*(label for label in lasting if label in longest), "others"]


def _bounds(windows: Sequence[ActionWindow]) -> list[float]:
    """Return where each window's own stretch begins, and where the last one's ends."""
    if not windows:
        return []
    centres = [(window.start + window.end) / 2 for window in windows]
    middles = [(one + other) / 2 for one, other in pairwise(centres)]
    return [windows[0].start, *middles, windows[-1].end]
