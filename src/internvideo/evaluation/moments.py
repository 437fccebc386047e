"""What happens when in a user's video: the moments that a detector found, drawn and cut out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from internvideo.errors import VideoError
from internvideo.evaluation.answer import VideoAnswer
from internvideo.evaluation.pictures import NUM_PICTURES, Drawn, frames_along, write_below
from internvideo.evaluation.timeline import clock, draw_bars, figure_above_strip, row_labels
from internvideo.video.clips import write_clip
from internvideo.video.opening import AnyVideo, open_video

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Moment", "Moments"]

_UNFIT = re.compile(r"[^\w-]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """A part of a video in which something happens.

    Attributes:
        start: seconds from the start of the video.
        end: likewise.
        label: what happens.
        score: how sure that is, from 0 to 1.
    """

    start: float
    end: float
    label: str
    score: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "label": self.label,
            "score": round(self.score, 4),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments(VideoAnswer, Drawn):
    """The moments of a video, in the order of their starts.

    Attributes:
        moments: what was found; they may overlap.
        duration: of the video in seconds.
        source: the video as it was given, which is opened again for its pictures and clips.
    """

    moments: tuple[Moment, ...]
    duration: float
    source: AnyVideo = field(repr=False, compare=False)

    headings: ClassVar[tuple[str, ...]] = ("moments", "surest", "score")
    """Of the columns of a table of many videos, see `summary`."""
    max_tables: ClassVar[int] = 3
    """Up to so many videos have a table each."""

    def summary(self) -> tuple[str, ...]:
        """Return how many moments there are and the surest of them, as cells of one row."""
        best = max(self.moments, key=lambda each: each.score, default=None)
        if best is None:
            return "0", "", ""
        what = f"{best.label} at {clock(best.start)}"
        return str(len(self.moments)), what, f"{best.score:.2f}"

    def contents(self) -> dict[str, Any]:
        """Return the moments."""
        return {
            "duration": round(self.duration, 3),
            "moments": [each.to_dict() for each in self.moments],
        }

    def __rich__(self) -> Table:
        from rich.markup import escape

        table = self.empty_table()
        for heading in ("from", "to"):
            table.add_column(heading, justify="right")
        table.add_column("what")
        table.add_column("score", justify="right")
        for each in self.moments:
            label = escape(each.label)
            table.add_row(clock(each.start), clock(each.end), label, f"{each.score:.2f}")
        if not self.moments:
            table.add_row("", "", "nothing was found", "")
        return table

    def draw(self) -> Any:
        """Draw the moments along the time, a row for each label, above frames of the video.

        Raises:
            VideoError: the video cannot be read again.
        """
        bars = [(each.start, each.end, each.label, each.score) for each in self.moments]
        labels = row_labels(bars)
        figure, above = figure_above_strip(
            len(labels), frames_along(self.source, NUM_PICTURES), start=0.0, end=self.duration
        )
        draw_bars(above, bars, labels, start=0.0, end=self.duration)
        above.set_title(Path(self.video).name or self.video, parse_math=False)
        write_below(figure, self.made_by())
        return figure

    def cut(self, folder: str | Path) -> list[Path]:
        """Write each moment as a clip, `01-LABEL-12.50s.mp4`; return the files.

        Raises:
            VideoError: some cannot be written; the others are there.
        """
        Path(folder).mkdir(parents=True, exist_ok=True)
        written: list[Path] = []
        failures: list[VideoError] = []
        with open_video(self.source) as (_, video):
            rate, total = video.fps, video.num_frames
        for number, each in enumerate(self.moments, start=1):
            name = f"{number:02}-{_UNFIT.sub('-', each.label)}-{each.start:.2f}s.mp4"
            first = min(round(each.start * rate), total - 1)
            frames = range(first, min(max(round(each.end * rate), first + 1), total))
            try:
                write_clip(Path(folder) / name, self.source, frames)
                written.append(Path(folder) / name)
            except VideoError as error:
                failures.append(error)
        if failures:
            raise VideoError(
                f"{len(failures)} of {len(self.moments)} clips cannot be written: {failures[0]}"
            ) from failures[0]
        return written
