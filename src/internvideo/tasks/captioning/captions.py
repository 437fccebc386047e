"""The captions of a video: sentences, each for a stretch of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from internvideo.evaluation.answer import VideoAnswer
from internvideo.evaluation.timeline import clock

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["CaptionSpan", "VideoCaptions"]


@dataclass(frozen=True, slots=True)
class CaptionSpan:
    """A sentence about the part of a video from `start` to `end`, in seconds."""

    start: float
    end: float
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"start": round(self.start, 3), "end": round(self.end, 3), "text": self.text}

    def __str__(self) -> str:
        return f"{clock(self.start)} – {clock(self.end)}  {self.text}"


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoCaptions(VideoAnswer):
    """The captions of one video; `protocol` also says how the words were chosen.

    Attributes:
        spans: the captions in the order of their starts; one for a video that was looked at as a
            whole.
        incomplete: why the rest of the video has no captions; empty where it has.
    """

    spans: tuple[CaptionSpan, ...]
    incomplete: str = ""

    @property
    def text(self) -> str:
        """The captions, one a line, equal neighbours once."""
        return "\n".join(span.text for span in self.merged)

    @property
    def merged(self) -> tuple[CaptionSpan, ...]:
        """Neighbouring captions of equal words as one, and no overlaps.

        The last window of a video is moved back to end with it, so it may overlap the one before.
        """
        merged: list[CaptionSpan] = []
        for span in self.spans:
            before = merged[-1] if merged else None
            if before is None:
                merged.append(span)
            elif span.text == before.text:
                merged[-1] = replace(before, end=max(before.end, span.end))
            elif span.end > before.end:
                merged.append(replace(span, start=max(span.start, before.end)))
        return tuple(merged)

    headings: ClassVar[tuple[str, ...]] = ("caption",)
    """Of the columns of a table of many videos, see `summary`."""
    max_tables: ClassVar[int] = 1
    """Up to so many videos have a table each."""

    def summary(self) -> tuple[str, ...] | None:
        """Return the caption as cells of one row; None where there are several."""
        return (self.text,) if len(self.merged) <= 1 else None

    def contents(self) -> dict[str, Any]:
        """Return every caption with its time, and what is missing."""
        missing = {"incomplete": self.incomplete} if self.incomplete else {}
        return {"captions": [span.to_dict() for span in self.spans], **missing}

    def to_srt(self) -> str:
        """Return the captions as subtitles (SubRip), which every player shows over the video."""
        blocks = [
            f"{number}\n{_stamp(span.start)} --> {_stamp(span.end)}\n{span.text}\n"
            for number, span in enumerate(self.merged, start=1)
        ]
        return "\n".join(blocks)

    def __rich__(self) -> Table:
        from rich.markup import escape

        table = self.empty_table()
        for heading in ("from", "to"):
            table.add_column(heading, justify="right")
        table.add_column("caption", overflow="fold")
        for span in self.merged:
            table.add_row(clock(span.start), clock(span.end), escape(span.text))
        return table


def _stamp(seconds: float) -> str:
    """Return a time as SubRip writes it.

    >>> _stamp(3661.5)
    '01:01:01,500'
    """
    minutes, milliseconds = divmod(round(1000 * seconds), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d},{milliseconds % 1000:03d}"
