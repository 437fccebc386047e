"""What all evaluation reports have in common: header, table, JSON, plot, failures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

import numpy as np
from jaxtyping import Float, Int

from internvideo.evaluation.answer import captioned_table
from internvideo.evaluation.pictures import BAR_COLOR, Drawn

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from internvideo.evaluation.predictions import Answered

__all__ = [
    "Kinded",
    "Report",
    "Share",
    "answered_and_failures",
    "by_kind",
    "interval_over_groups",
    "wilson_interval",
]

A = TypeVar("A")
K = TypeVar("K", bound="Kinded")

_Z95 = 1.959963984540054


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a share; (0, 1) where nothing was counted.

    >>> [round(bound, 4) for bound in wilson_interval(8, 10)]
    [0.4902, 0.9433]
    """
    if total == 0:
        return 0.0, 1.0
    share, z2 = correct / total, _Z95**2
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = (
        _Z95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    )
    # At the ends the bound is exact; the formula would be off by a rounding error.
    low = centre - half if correct else 0.0
    return low, centre + half if correct < total else 1.0


def interval_over_groups(
    values: Float[np.ndarray, "*m n"],
    groups: Int[np.ndarray, " n"],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Float[np.ndarray, "2 *m"]:
    """Return the 95 % bootstrap interval of means whose items come in groups, such as videos.

    What is asked about one video is answered alike, so whole videos are drawn, not questions.

    Args:
        values: of every item, for several measures.
        groups: the group of each item.
        resamples: how often is drawn.
        seed: of the draws.
    """
    draw = np.random.default_rng(seed)
    members = (groups == np.unique(groups)[:, None]).astype(np.float64)  # "g n"
    drawn = draw.multinomial(len(members), np.full(len(members), 1 / len(members)), size=resamples)
    sums = np.einsum("...g,rg->...r", np.einsum("...n,gn->...g", values, members), drawn)
    return np.quantile(sums / (drawn @ members.sum(axis=1)), [0.025, 0.975], axis=-1)


@dataclass(frozen=True, slots=True)
class Share:
    """How many answers are right.

    Attributes:
        correct: right answers.
        total: all answers.
    """

    correct: int
    total: int

    @property
    def percent(self) -> float:
        """The share in percent; 0 of none."""
        return 100 * self.correct / self.total if self.total else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % Wilson interval, in percent."""
        low, high = wilson_interval(self.correct, self.total)
        return 100 * low, 100 * high

    def __str__(self) -> str:
        return f"{self.percent:.2f} %"

    @property
    def range(self) -> str:
        """The interval as text."""
        low, high = self.interval
        return f"{low:.2f} … {high:.2f}"


class Kinded(Protocol):
    """Something of a kind, such as an answered question; "causal/why" is a kind of "causal"."""

    @property
    def kind(self) -> str:
        """The kind; empty where it is not known."""
        ...


def by_kind(items: Iterable[K]) -> dict[str, list[K]]:
    """Return the items of each kind, in alphabetical order; a finer kind counts in both.

    Those without a kind are left out.
    """
    groups: dict[str, list[K]] = {}
    for item in items:
        whole, slash, _ = item.kind.partition("/")
        for kind in (whole, item.kind) if slash else (whole,):
            if kind:
                groups.setdefault(kind, []).append(item)
    return {kind: groups[kind] for kind in sorted(groups)}


@dataclass(frozen=True, kw_only=True)
class Report(Drawn):
    """An evaluation of a model on annotated videos.

    A video that cannot be read is never skipped silently: it is listed in `failures`.

    Attributes:
        failures: (video, reason) of the videos that could not be read.
        protocol: how the videos were looked at.
        model: name of the model.
        data: name of the data.
    """

    fits_long_names: ClassVar[bool] = True
    columns: ClassVar[tuple[str, ...]] = ("measure", "result")
    """Headings of the table."""
    align: ClassVar[Literal["left", "right"]] = "right"
    """Of the columns after the first: left where they hold sentences."""
    items: ClassVar[str] = "videos"
    """What is answered, or fails."""

    failures: tuple[tuple[str, str], ...] = ()
    protocol: str = ""
    model: str = ""
    data: str = ""

    @property
    def num_answered(self) -> int:
        """Number of videos that could be read."""
        raise NotImplementedError

    def metrics(self) -> dict[str, float]:
        """Return the numbers for a training log; the first decides which weights are `best`."""
        raise NotImplementedError

    def numbers(self) -> dict[str, Any]:
        """Return what was measured as plain data, without the header and the failures."""
        return self.metrics()

    def rows(self) -> Iterable[Sequence[str]]:
        """Yield the rows of the table as plain text; an empty one starts a section."""
        return ((name, f"{value:.2f}") for name, value in self.metrics().items())

    def draw(self) -> Any:
        """Draw the numbers as bars."""
        figure = self.figure(7, 3.5)
        axes = figure.subplots()
        values = self.metrics()
        bars = axes.barh(range(len(values)), list(values.values()), color=BAR_COLOR)
        axes.bar_label(bars, [f"{value:.3g}" for value in values.values()], padding=3)
        axes.set_yticks(range(len(values)), list(values))
        axes.invert_yaxis()
        return figure

    def details(self, *, complete: bool) -> RenderableType | None:
        """Return a further table, if there is one worth printing.

        Args:
            complete: the user asked for it, and it may be long.
        """
        return None

    def notes(self) -> Sequence[str]:
        """Return remarks on the numbers, a line each."""
        return ()

    @property
    def title(self) -> str:
        """The model, and the data that it was measured on."""
        return " on ".join(part for part in (self.model, self.data) if part)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: the header, the numbers, the failures."""
        return {
            "model": self.model,
            "data": self.data,
            "protocol": self.protocol,
            **self.numbers(),
            "failures": [{"video": video, "reason": reason} for video, reason in self.failures],
        }

    def to_json(self) -> str:
        """Return `to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def __rich__(self) -> Table:
        from rich.markup import escape

        table = captioned_table(self.title, self.protocol)
        for place, heading in enumerate(self.columns):
            table.add_column(heading, overflow="fold", justify=self.align if place else "left")
        for row in self.rows():
            if not row:
                table.add_section()
                continue
            red = row[0].startswith("!")
            cells = (row[0].removeprefix("!"), *row[1:])
            table.add_row(*map(escape, cells), style="bold red" if red else None)
        return table


def answered_and_failures(
    answered: Sequence[Answered[A]],
) -> tuple[list[A], tuple[tuple[str, str], ...]]:
    """Return the answers alone, and (video, reason) of the videos that could not be read."""
    return [each.answer for each in answered if each.answer is not None], failures_of(answered)


def failures_of(answered: Sequence[Answered[Any]]) -> tuple[tuple[str, str], ...]:
    """Return (video, reason) of the videos that could not be read."""
    return tuple((each.video, each.error) for each in answered if each.error)
