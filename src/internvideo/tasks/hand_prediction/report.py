"""How far predicted hands are from the true ones, in a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from internvideo.evaluation.report import Report

__all__ = ["HandReport"]


def mean_of(displacements: Mapping[str, float]) -> float:
    """Return the mean of displacements."""
    return sum(displacements.values()) / len(displacements)


@dataclass(frozen=True, kw_only=True)
class HandReport(Report):
    """An evaluation of future hand prediction; an entry is what is to be predicted of a clip.

    Attributes:
        measured: displacements in pixels, as `metric.displacements` names them; without those of
            which no hand is annotated.
        intervals: their 95 % bootstrap intervals over clips.
        baselines: the same displacements of what needs no model, by name.
        num_entries: entries with an answer.
        num_hands: annotated hands in their key frames.
        remarks: on the data, a line each.
    """

    items: ClassVar[str] = "entries"
    columns: ClassVar[tuple[str, ...]] = (
        "displacement", "pixels", "95 % interval", "mean place", "at rest"
    )  # fmt: skip

    measured: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    baselines: Mapping[str, Mapping[str, float]]
    num_entries: int
    num_hands: int
    remarks: tuple[str, ...] = ()

    @property
    def num_answered(self) -> int:
        """Number of entries with an answer."""
        return self.num_entries

    def metrics(self) -> dict[str, float]:
        """Return the displacements in pixels; first their mean, negated, as more is better."""
        return {"minus_displacement": -mean_of(self.measured), **self.measured}

    def numbers(self) -> dict[str, Any]:
        """Return the displacements, their intervals and the counts."""
        return {
            **self.measured,
            "baselines": {name: dict(each) for name, each in self.baselines.items()},
            **{f"{name}_interval": list(each) for name, each in self.intervals.items()},
            "num_entries": self.num_entries,
            "num_hands": self.num_hands,
        }

    def rows(self) -> Iterator[Sequence[str]]:
        """Yield the rows of the table."""
        for name, value in self.measured.items():
            hand, _, kind = name.partition("_")
            shown = "mean of key frames" if kind == "mean" else "at contact"
            low, high = self.intervals[name]
            others = (f"{each[name]:.2f}" for each in self.baselines.values())
            yield f"{hand} hand, {shown}", f"{value:.2f}", f"{low:.2f} … {high:.2f}", *others
        yield ()
        yield "entries", str(self.num_entries), "", "", ""
        yield "annotated hands", str(self.num_hands), "", "", ""

    def notes(self) -> Sequence[str]:
        """Return remarks on the data."""
        return self.remarks
