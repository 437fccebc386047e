"""The answer to queries about a user's video: stretches of it, best first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from internvideo.evaluation.answer import VideoAnswer
from internvideo.evaluation.pictures import BAR_COLOR, Drawn, name_places
from internvideo.evaluation.timeline import clock
from internvideo.tasks.language_queries.report import Spans

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["QueryAnswer"]


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryAnswer(VideoAnswer, Drawn):
    """Where in a video is what sentences ask for.

    Attributes:
        found: each sentence with its spans.
        duration: of the video in seconds.
    """

    found: tuple[tuple[str, Spans], ...]
    duration: float

    headings: ClassVar[tuple[str, ...]] = ("from", "to", "score")
    """Of the columns of a table of many videos, see `summary`."""
    max_tables: ClassVar[int] = 3
    """Up to so many videos have a table each."""

    def summary(self) -> tuple[str, ...] | None:
        """Return the best span as cells of one row; None where there are several queries."""
        best = [self._rows(spans)[0] for _, spans in self.found]
        if len(best) != 1:
            return None
        start, end, score = best[0]
        return clock(start), clock(end), f"{score:.3f}"

    def contents(self) -> dict[str, Any]:
        """Return the spans of every query."""
        return {
            "duration": round(self.duration, 3),
            "queries": [
                {
                    "query": query,
                    "spans": [
                        {"start": round(start, 3), "end": round(end, 3), "score": score}
                        for start, end, score in self._rows(spans)
                    ],
                }
                for query, spans in self.found
            ],
        }

    def __rich__(self) -> Table:
        from rich.markup import escape

        table = self.empty_table()
        table.add_column("query", overflow="fold")
        for heading in self.headings:
            table.add_column(heading, justify="right")
        for query, spans in self.found:
            for place, (start, end, score) in enumerate(self._rows(spans)):
                name = "" if place else escape(query)
                table.add_row(name, clock(start), clock(end), f"{score:.3f}")
            table.add_section()
        return table

    def draw(self) -> Any:
        """Draw the spans along the time, a row for each query; the best is the darkest."""
        figure = self.figure(10, 1.4 + 0.5 * len(self.found))
        axes = figure.subplots()
        for row, (_, spans) in enumerate(self.found):
            for place, (start, end, _) in reversed(list(enumerate(self._rows(spans)))):
                axes.barh(row, end - start, left=start, height=0.6, color=BAR_COLOR,
                          alpha=1.0 if place == 0 else 0.25)  # fmt: skip
        name_places(axes.yaxis, [query for query, _ in self.found])
        axes.invert_yaxis()
        axes.set_xlim(0, self.duration)

        def tick(seconds: float, _: int) -> str:
            return clock(seconds, decimals=0)

        axes.xaxis.set_major_formatter(tick)
        axes.set_xlabel("time")
        axes.set_title(Path(self.video).name or self.video, parse_math=False)
        return figure

    @staticmethod
    def _rows(spans: Spans) -> list[tuple[float, float, float]]:
        pairs = zip(spans.times, spans.scores, strict=True)
        return [(start, end, score) for (start, end), score in pairs]
