"""How well the next contacts are foreseen, in a report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from internvideo.evaluation.report import Report

__all__ = ["AnticipationReport"]


@dataclass(frozen=True, kw_only=True)
class AnticipationReport(Report):
    """An evaluation of short-term anticipation.

    Attributes:
        measured: mean average precisions over nouns in percent, by the names of `metric.HEADLINE`.
        baseline: the same of the most frequent verb and the median time in the same boxes; None
            where the boxes belong to the answers.
        top_k: of them.
        every_box: whether true boxes of pictures without any detection count.
        num_pictures: annotated pictures.
        num_pictures_found: those with a detection.
        num_true: true boxes.
        num_true_silent: those in pictures without any detection.
    """

    items: ClassVar[str] = "entries"
    columns: ClassVar[tuple[str, ...]] = ("measure", "result", "usual verb and time")

    measured: Mapping[str, float]
    baseline: Mapping[str, float] | None = None
    top_k: int
    every_box: bool
    num_pictures: int
    num_pictures_found: int
    num_true: int
    num_true_silent: int

    @property
    def num_answered(self) -> int:
        """Number of pictures with a detection."""
        return self.num_pictures_found

    def metrics(self) -> dict[str, float]:
        """Return the precisions in percent; that of all parts, which ranks entries, is first."""
        found = {name: self.measured[name] for name in ("all", "noun", "noun+verb", "noun+ttc")}
        return {name: value for name, value in found.items() if not math.isnan(value)}

    def numbers(self) -> dict[str, Any]:
        """Return the precisions in percent, and what they are of."""
        counts = ("num_pictures", "num_pictures_found", "num_true", "num_true_silent")
        return {
            **self.metrics(),
            "baseline": None if self.baseline is None else dict(self.baseline),
            "top_k": self.top_k,
            "every_box": self.every_box,
            **{name: getattr(self, name) for name in counts},
        }

    def rows(self) -> Iterator[Sequence[str]]:
        """Yield the rows of the table."""
        words = {"all": "noun + verb + time to contact", "noun+verb": "noun + verb"}
        words |= {"noun": "noun", "noun+ttc": "noun + time to contact"}
        for name, value in self.metrics().items():
            other = "" if self.baseline is None else f"{self.baseline[name]:.2f} %"
            yield f"top-{self.top_k} mAP, {words[name]}", f"{value:.2f} %", other
        yield ()
        yield "pictures with a detection", f"{self.num_pictures_found} of {self.num_pictures}", ""
        yield "true boxes", str(self.num_true), ""

    def notes(self) -> Sequence[str]:
        """Say what became of the true boxes of pictures without any detection."""
        if not self.num_true_silent:
            return ()
        what = f"{self.num_true_silent} true boxes are in pictures without any detection; "
        if self.every_box:
            return (what + "they count as missed, where the official rules leave them out",)
        return (what + "the official rules leave them out, --every-box counts them",)
