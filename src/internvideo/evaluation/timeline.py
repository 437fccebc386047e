"""What happens when: the answers of a classifier for the windows of a long video."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby, pairwise
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from jaxtyping import UInt8

from internvideo.errors import VideoError
from internvideo.evaluation.answer import VideoAnswer
from internvideo.evaluation.pictures import (
    BAR_COLOR,
    NUM_PICTURES,
    Drawn,
    draw_strip,
    frames_along,
    name_places,
    strip_height,
    write_below,
)

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "ActionSegment",
    "ActionTimeline",
    "ActionWindow",
    "Bar",
    "clock",
    "draw_bars",
    "figure_above_strip",
    "row_labels",
]

_MAX_ROWS = 40
_MAX_TICKS = 10
_SECONDS = (0.1, 0.5, 1, 2, 5, 10, 20, 30)
_TICKS = (*_SECONDS, *(60 * n for n in (1, 2, 5, 10, 20, 30, 60, 120, 240)))
_LABEL_WIDTH = 28
_INCHES, _PICTURE_INCHES = 11, 0.8
_WRITTEN_ON = 0.06  # of the time: the bar is wide enough for a number

Bar: TypeAlias = tuple[float, float, str, float]
"""Start and end in seconds, label, and score from 0 to 1."""


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
        labels = "  ".join(f"{label} {share:.1%}" for label, share in rows)
        return f"{clock(self.start)} – {clock(self.end)}  {labels}"


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
class ActionTimeline(VideoAnswer, Drawn):
    """The windows of a video in order, and the segments that they make.

    Attributes:
        windows: the answers, in the order of time.
        incomplete: why the rest of the video has no answers; empty where it has.
    """

    windows: tuple[ActionWindow, ...]
    incomplete: str = ""

    @property
    def segments(self) -> tuple[ActionSegment, ...]:
        """Neighbouring windows of equal answer, as one segment each.

        Where windows overlap, a change is put half-way between the centres of the two windows; so
        segments follow each other without gap or overlap.
        """
        bounds = _bounds(self.windows)
        segments: list[ActionSegment] = []
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

    def contents(self) -> dict[str, Any]:
        """Return the segments, the windows, and what is missing."""
        return {
            "segments": [segment.to_dict() for segment in self.segments],
            "windows": [window.to_dict() for window in self.windows],
            **({"incomplete": self.incomplete} if self.incomplete else {}),
        }

    def to_json(self, *, parts: bool = True) -> str:
        """Return `to_dict` as one line of JSON, with the windows or (not `parts`) without."""
        shown = {
            name: value for name, value in self.to_dict().items() if parts or name != "windows"
        }
        return json.dumps(shown, ensure_ascii=False)

    def __rich__(self) -> Table:
        from rich.markup import escape

        table = self.empty_table()
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

    def draw(self) -> Any:
        """Draw the segments along the time, a row for each label; the shade is the probability.

        Of very many labels those that last longest have a row of their own. Below are frames of the
        video, where it can be read again.
        """
        bars = [(each.start, each.end, each.label, each.probability) for each in self.segments]
        start, end = (bars[0][0], bars[-1][1]) if bars else (0.0, 1.0)
        labels = row_labels(bars)
        pictures: list[UInt8[np.ndarray, "h w 3"]] = []
        with suppress(VideoError):
            pictures = frames_along(self.video, NUM_PICTURES, start=start, end=end)
        figure, axes = figure_above_strip(len(labels), pictures, start=start, end=end)
        draw_bars(axes, bars, labels, start=start, end=end)
        for first, last, label, share in bars:
            if last - first > _WRITTEN_ON * (end - start):
                place = labels.index(label) if label in labels else len(labels) - 1
                color = "white" if share > 0.5 else "black"
                middle = (first + last) / 2
                axes.text(middle, place, f"{share:.0%}", color=color, ha="center", va="center")
        axes.set_title(Path(self.video).name or self.video, parse_math=False)
        write_below(figure, self.made_by())
        return figure


def figure_above_strip(
    num_rows: int, pictures: Sequence[UInt8[np.ndarray, "h w 3"]], *, start: float, end: float
) -> tuple[Any, Any]:
    """Return a figure and its axes for `draw_bars`; below them stand frames, each at its time.

    Args:
        num_rows: rows of bars.
        pictures: see `frames_along`; without any there are only the bars.
        start: of the time in seconds.
        end: likewise.
    """
    rows = 1.4 + 0.35 * max(num_rows, 1)
    if not pictures:
        figure = Drawn.figure(_INCHES, rows)
        axes = figure.subplots()
    else:
        strip = strip_height(pictures, _PICTURE_INCHES)
        figure = Drawn.figure(_INCHES, strip + rows)
        axes, below = figure.subplots(2, sharex=True, height_ratios=(rows, strip))
        axes.tick_params(labelbottom=True)
        draw_strip(below, pictures, _PICTURE_INCHES, start=start, end=end)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    return figure, axes


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
    last = f"{rest / unit:0{width}.{decimals}f}"
    return f"{hours}:{minutes:02d}:{last}" if hours else f"{minutes}:{last}"


def row_labels(bars: Sequence[Bar]) -> list[str]:
    """Return the labels to draw, in the order of their first bars; the rest is "others"."""
    lasting: dict[str, float] = {}
    for start, end, label, _ in bars:
        lasting[label] = lasting.get(label, 0.0) + end - start
    if len(lasting) <= _MAX_ROWS:
        return list(lasting)
    longest = set(sorted(lasting, key=lasting.__getitem__, reverse=True)[:_MAX_ROWS])
    return [*(label for label in lasting if label in longest), "others"]


def draw_bars(
    axes: Any, bars: Sequence[Bar], labels: Sequence[str], *, start: float, end: float
) -> None:
    """Draw bars along the time, a row for each label; the shade is their score.

    Args:
        axes: of matplotlib.
        bars: what is drawn.
        labels: of the rows, see `row_labels`.
        start: of the time in seconds.
        end: likewise.
    """
    row = {label: place for place, label in enumerate(labels)}
    for first, last, label, score in bars:
        axes.barh(
            row.get(label, len(labels) - 1),
            last - first,
            left=first,
            height=0.8,
            color=BAR_COLOR,
            alpha=_shade(score),
        )
    if bars:
        from matplotlib.patches import Patch

        shades = [
            Patch(color=BAR_COLOR, alpha=_shade(n / 4), label=f"{n / 4:.0%}") for n in range(5)
        ]
        beside: Any = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "frameon": False}
        axes.legend(handles=shades, title="score", fontsize=8, title_fontsize=8, **beside)
    name_places(axes.yaxis, [textwrap.fill(label, _LABEL_WIDTH) for label in labels])
    axes.invert_yaxis()
    step = next((each for each in _TICKS if each * _MAX_TICKS >= end - start), _TICKS[-1])
    axes.set_xlim(start, end)
    axes.set_xticks([step * n for n in range(ceil(start / step), int(end / step) + 1)])
    decimals = 0 if step >= 1 else 1

    def tick(seconds: float, _: int) -> str:
        return clock(seconds, decimals=decimals)

    axes.xaxis.set_major_formatter(tick)


def _shade(score: float) -> float:
    return 0.25 + 0.75 * score


def _bounds(windows: Sequence[ActionWindow]) -> list[float]:
    """Return where the stretch of each window starts, and where the last one ends."""
    if not windows:
        return []
    centres = [(window.start + window.end) / 2 for window in windows]
    middles = [(one + other) / 2 for one, other in pairwise(centres)]
    return [windows[0].start, *middles, windows[-1].end]
