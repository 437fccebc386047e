"""How well the objects of state changes are found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from internvideo.evaluation.report import Report

__all__ = ["StateChangeReport"]


@dataclass(frozen=True, kw_only=True)
class StateChangeReport(Report):
    """An evaluation on key frames.

    Attributes:
        measured: average precision and recall, from 0 to 1; NaN where no true box has the size.
        num_pictures: key frames.
        num_pictures_answered: those that could be read.
        num_true: true boxes.
        num_found: detections.
        num_left_out: lines of the annotation file that cannot be used.
    """

    measured: Mapping[str, float]
    num_pictures: int
    num_pictures_answered: int
    num_true: int
    num_found: int
    num_left_out: int = 0

    @property
    def num_answered(self) -> int:
        """Number of pictures that could be read."""
        return self.num_pictures_answered

    def metrics(self) -> dict[str, float]:
        """Return the numbers in percent; AP decides."""
        return {k: 100 * value for k, value in self.measured.items() if not math.isnan(value)}

    def numbers(self) -> dict[str, Any]:
        """Return the numbers in percent, and what they are of."""
        counts = ("num_pictures", "num_true", "num_found", "num_left_out")
        return {**self.metrics(), **{name: getattr(self, name) for name in counts}}

    def rows(self) -> Iterator[Sequence[str]]:
        """Yield the rows of the table."""
        for name, value in self.metrics().items():
            if name == "AR@100":
                yield ()
            yield name, f"{value:.2f} %"
        yield ()
        yield "pictures", f"{self.num_answered} of {self.num_pictures}"
        yield "true boxes", str(self.num_true)

    def notes(self) -> Sequence[str]:
        """Say which pictures count how."""
        lost = self.num_pictures - self.num_answered
        notes: list[str] = []
        if lost:
            notes.append(f"{lost} pictures have no answer; their objects count as missed")
        if self.num_left_out:
            notes.append(f"{self.num_left_out} lines of the annotations are left out")
        return notes
