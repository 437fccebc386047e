"""What is in a video: labels with their scores."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import UInt8

from internvideo.errors import VideoError
from internvideo.evaluation.answer import VideoAnswer
from internvideo.evaluation.pictures import (
    BAR_COLOR,
    REST_COLOR,
    Drawn,
    draw_strip,
    frames_along,
    name_places,
    strip_height,
    write_below,
)

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["UNKNOWN", "Classification"]

UNKNOWN = "unknown"

_BAR_WIDTH = 24
_MAX_BARS = 20
_LABEL_WIDTH = 36
_NUM_PICTURES = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Classification(VideoAnswer, Drawn):
    """What is in a video: labels from the likeliest to the unlikeliest.

    Attributes:
        labels: the labels, best first.
        scores: cosines of a model that compares with text, for a classifier its probabilities
            averaged over the views; in the order of `labels`.
        probabilities: the softmax over all labels, in the order of `labels`.
        uncertainty: of an open-set model: whether the video shows any of its classes; None where
            nobody asked.
        is_unknown: it is above the threshold of the model; the labels are what it would be else.
    """

    labels: tuple[str, ...]
    scores: tuple[float, ...]
    probabilities: tuple[float, ...]
    uncertainty: float | None = None
    is_unknown: bool = False

    @classmethod
    def from_scores(
        cls,
        video: str,
        labels: Sequence[str],
        scores: Sequence[float],
        probabilities: Sequence[float],
        *,
        model: str = "",
        protocol: str = "",
        uncertainty: float | None = None,
        is_unknown: bool = False,
    ) -> Classification:
        """Build a result from labels in any order; they are sorted by score."""
        order = sorted(range(len(labels)), key=lambda i: -scores[i])
        return cls(
            video=video,
            labels=tuple(labels[i] for i in order),
            scores=tuple(float(scores[i]) for i in order),
            probabilities=tuple(float(probabilities[i]) for i in order),
            model=model,
            protocol=protocol,
            uncertainty=uncertainty,
            is_unknown=is_unknown,
        )

    @property
    def label(self) -> str:
        """The likeliest label, or "unknown"."""
        return UNKNOWN if self.is_unknown else self.labels[0]

    def best(self, k: int | None) -> Classification:
        """Return the answer with its `k` best labels only; None keeps all."""
        if k is None:
            return self
        return dataclasses.replace(
            self,
            labels=self.labels[:k],
            scores=self.scores[:k],
            probabilities=self.probabilities[:k],
        )

    def top(self, k: int) -> tuple[tuple[str, float], ...]:
        """Return the `k` likeliest labels (all, if there are fewer) with their probabilities."""
        return tuple(zip(self.labels[:k], self.probabilities[:k], strict=True))

    @property
    def _cut(self) -> str:
        """What stands for the labels that tables and pictures have no room for."""
        more = len(self.labels) - _MAX_BARS
        return f"… {more} more" if more > 0 else ""

    headings: ClassVar[tuple[str, ...]] = ("answer", "share", "next")
    """Of the columns of a table of many videos, see `summary`."""
    max_tables: ClassVar[int] = 3
    """Up to so many videos have a table each."""

    def summary(self) -> tuple[str, ...]:
        """Return the answer as cells of one row."""
        if self.is_unknown:
            return UNKNOWN, f"uncertainty {self.uncertainty:.3g}", f"else {self.labels[0]}"
        (best, share), *rest = self.top(2)
        follower = f"{rest[0][0]} {rest[0][1]:.1%}" if rest else ""
        return best, f"{share:.1%}", follower

    def contents(self) -> dict[str, Any]:
        """Return one entry per label."""
        rows = zip(self.labels, self.scores, self.probabilities, strict=True)
        doubt = {} if self.uncertainty is None else {
            "answer": self.label, "uncertainty": self.uncertainty
        }  # fmt: skip
        return {
            **doubt,
            "predictions": [
                {"label": label, "score": score, "probability": probability}
                for label, score, probability in rows
            ],
        }

    def __rich__(self) -> Table:
        from rich.markup import escape

        table = self.empty_table()
        if self.uncertainty is not None:
            found = f"{self.label} (uncertainty {self.uncertainty:.3g})"
            table.title = f"{table.title}: {escape(found)}"
        table.add_column("label")
        table.add_column("probability", justify="right")
        table.add_column("")
        for label, probability in self.top(_MAX_BARS):
            bar = "█" * round(probability * _BAR_WIDTH)
            table.add_row(escape(label), f"{probability:.1%}", bar)
        if self._cut:
            table.add_row(self._cut, "", "")
        return table

    def draw(self) -> Any:
        """Draw the probabilities as bars, below frames of the video where it can be read again."""
        rows = self.top(_MAX_BARS)[::-1]
        pictures: list[UInt8[np.ndarray, "h w 3"]] = []
        with suppress(VideoError):
            pictures = frames_along(self.video, _NUM_PICTURES)
        width, bars_height = 8.0, 1.5 + 0.4 * len(rows)
        picture = width / _NUM_PICTURES - 0.05
        strip = strip_height(pictures, picture) + 0.4 if pictures else 0.0
        figure = self.figure(width, bars_height + strip)
        above = below = figure
        if pictures:
            above, below = figure.subfigures(2, height_ratios=(strip, bars_height))
            draw_strip(above.subplots(), pictures, picture)
        axes = below.subplots()
        colors = [*[REST_COLOR] * (len(rows) - 1), BAR_COLOR]
        bars = axes.barh(range(len(rows)), [share for _, share in rows], color=colors)
        axes.bar_label(bars, [f"{share:.1%}" for _, share in rows], padding=3)
        name_places(axes.yaxis, [textwrap.fill(label, _LABEL_WIDTH) for label, _ in rows])
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        title = Path(self.video).name or self.video
        if self.uncertainty is not None:
            title = f"{title}: {self.label} (uncertainty {self.uncertainty:.3g})"
        above.suptitle(title, parse_math=False)
        if self._cut:
            axes.text(0, -0.02, f"{self._cut} ", transform=axes.transAxes, ha="right", va="top")
        write_below(figure, self.made_by())
        return figure
