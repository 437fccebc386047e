"""How well actions are detected: frame mAP, beside what needs no model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from internvideo.evaluation.pictures import BAR_COLOR, LINE_COLOR, name_places
from internvideo.evaluation.report import Report
from internvideo.tasks.action_detection.metric import FrameAP

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["DetectionReport"]


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectionReport(Report):
    """Frame mAP at an overlap, by the rules of AVA.

    Attributes:
        measured: average precision of each class.
        baseline: that of the frequency of each class in the true boxes, as the score of every box.
        names: of the classes, by their ids.
        overlap: least overlap of a hit.
        missing: paths of videos that are not there, and how many key frames they have.
        remarks: on the data.
    """

    columns: ClassVar[tuple[str, ...]] = ("measure", "result", "class frequencies")

    measured: FrameAP
    baseline: FrameAP | None = None
    names: Mapping[int, str]
    overlap: float
    missing: Mapping[str, int]
    remarks: tuple[str, ...] = ()
    num_frames: int = 0

    @property
    def num_answered(self) -> int:
        """Number of key frames that could be read."""
        return self.num_frames

    def metrics(self) -> dict[str, float]:
        """Return mAP and that of the baseline, in percent."""
        found = {"mAP": 100 * self.measured.mean}
        if self.baseline is not None:
            found["mAP_of_class_frequencies"] = 100 * self.baseline.mean
        return found

    def numbers(self) -> dict[str, Any]:
        """Return the numbers, also by class."""
        classes = zip(
            self.measured.classes, self.measured.average_precision.tolist(),
            self.measured.num_true.tolist(), self.measured.num_found.tolist(), strict=True,
        )  # fmt: skip
        return {
            **self.metrics(),
            "overlap": self.overlap,
            "num_key_frames": self.num_frames,
            "num_true": int(self.measured.num_true.sum()),
            "num_found": int(self.measured.num_found.sum()),
            "missing_videos": dict(self.missing),
            "classes": [
                {"id": number, "class": self._name(number), "num_true": true, "num_found": found,
                 "AP": None if np.isnan(value) else 100 * value}
                for number, value, true, found in classes
            ],
            "remarks": list(self.notes()),
        }  # fmt: skip

    def _name(self, number: int) -> str:
        return self.names.get(number, f"action {number}")

    def rows(self) -> Iterator[Sequence[str]]:
        """Yield the rows of the table."""
        known = int((self.measured.num_true > 0).sum())
        other = "" if self.baseline is None else f"{100 * self.baseline.mean:.2f}"
        yield f"frame mAP@{self.overlap:g}", f"{100 * self.measured.mean:.2f}", other
        yield ()
        yield "classes with true boxes", f"{known} of {len(self.measured.classes)}", ""
        yield "true boxes (a row an action)", str(int(self.measured.num_true.sum())), ""
        yield "key frames", str(self.num_frames), ""

    def details(self, *, complete: bool) -> Table | None:
        """Return the average precision of each class, from the best to the worst."""
        if not complete:
            return None
        from rich.markup import escape
        from rich.table import Table

        table = Table()
        for heading in ("class", "true", "AP", "class frequencies"):
            table.add_column(heading, justify="left" if heading == "class" else "right")
        for place in self._order():
            number = self.measured.classes[place]
            table.add_row(
                escape(self._name(number)),
                str(self.measured.num_true[place]),
                f"{100 * self.measured.average_precision[place]:.2f}",
                ""
                if self.baseline is None
                else f"{100 * self.baseline.average_precision[place]:.2f}",
            )
        return table

    def _order(self) -> list[int]:
        values = self.measured.average_precision
        return [p for p in np.argsort(-values, kind="stable").tolist() if not np.isnan(values[p])]

    def notes(self) -> Sequence[str]:
        """Return remarks on the data."""
        said = list(self.remarks)
        if self.missing:
            shown = ", ".join(list(self.missing)[:5])
            said.append(
                f"{len(self.missing)} videos are missing, and the true boxes of their "
                f"{sum(self.missing.values())} key frames count as missed: {shown}"
                f"{', …' if len(self.missing) > 5 else ''}"
            )
        return said

    def draw(self) -> Any:
        """Draw the average precision of each class, and the baseline as lines."""
        order = self._order()
        figure = self.figure(8, 1.4 + 0.24 * len(order))
        axes = figure.subplots()
        places = range(len(order))
        axes.barh(
            places, [100 * self.measured.average_precision[p] for p in order], color=BAR_COLOR
        )
        if self.baseline is not None:
            others = [100 * self.baseline.average_precision[p] for p in order]
            axes.scatter(others, places, marker="|", s=60, color=LINE_COLOR, zorder=3)
        names = [self._name(self.measured.classes[p]) for p in order]
        name_places(axes.yaxis, names, fontsize=7)
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.set_xlabel(f"average precision, percent; mean {100 * self.measured.mean:.2f}")
        return figure
