"""How well actions are found in time: mAP by overlap and class, recall, and what goes wrong."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (NumPy leaves the types of many arrays open)

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from internvideo.evaluation.pictures import BAR_COLOR, LINE_COLOR, name_places
from internvideo.evaluation.report import Report, Share

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["LocalizationReport", "VideoClassesReport"]

_DRAWN_CLASSES = 40


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalizationReport(Report):
    """An evaluation on untrimmed videos.

    Shares are in percent. Classes without true segments are part of no mean.

    Attributes:
        thresholds: overlaps from which on a segment is right.
        class_names: of all classes.
        average_precision: from 0 to 1; NaN where a class has no true segments.
        num_true: true segments of each class.
        num_found: predictions of each class.
        num_videos: videos with an answer.
        recall: share of the true segments that are among the first k·x predictions of their class
            and video, by k and overlap; x is how many there are.
        interval: 95 % bootstrap interval of the mean mAP over videos; None was not asked for.
        outcomes: what became of the surest predictions, as many as there are true segments.
        outcomes_at: overlap from which on they are right.
        elsewhere: the mean mAP without the predictions about videos that have no true segments;
            None where there are none.
        remarks: on the data, a line each.
        baseline: of another model on the same videos, such as a classifier of sliding windows.
    """

    columns: ClassVar[tuple[str, ...]] = ("overlap", "mAP", "recall@1x", "recall@5x")

    thresholds: tuple[float, ...]
    class_names: tuple[str, ...]
    average_precision: Float[np.ndarray, "t k"]
    num_true: Int[np.ndarray, " k"]
    num_found: Int[np.ndarray, " k"]
    num_videos: int
    recall: Mapping[int, Sequence[float]]
    interval: tuple[float, float] | None = None
    outcomes: Mapping[str, int]
    outcomes_at: float
    elsewhere: float | None = None
    remarks: tuple[str, ...] = ()
    baseline: LocalizationReport | None = None

    @property
    def num_answered(self) -> int:
        """Number of videos with an answer."""
        return self.num_videos

    @cached_property
    def map_by_overlap(self) -> tuple[float, ...]:
        """The mAP at each overlap, in percent; nothing where nothing is true."""
        if not self.num_true.any():
            return ()
        return tuple((100 * np.nanmean(self.average_precision, axis=1)).tolist())

    @property
    def mean_map(self) -> float:
        """The mean of the mAP over the overlaps, in percent."""
        return float(np.mean(self.map_by_overlap)) if self.map_by_overlap else 0.0

    def metrics(self) -> dict[str, float]:
        """Return the mean mAP, that of each overlap, and the recalls, in percent."""
        if not self.map_by_overlap:
            return {}
        at = [f"{threshold:.2f}" for threshold in self.thresholds]
        found = {"mAP": self.mean_map}
        found |= {f"mAP@{t}": v for t, v in zip(at, self.map_by_overlap, strict=True)}
        for k, values in self.recall.items():
            found |= {f"recall@{k}x@{t}": 100 * v for t, v in zip(at, values, strict=True)}
        return found

    def numbers(self) -> dict[str, Any]:
        """Return the numbers, also by class, and what goes wrong."""
        return {
            **self.metrics(),
            "interval": self.interval and [100 * bound for bound in self.interval],
            "num_videos": self.num_videos,
            "num_true_segments": int(self.num_true.sum()),
            "num_predictions": int(self.num_found.sum()),
            "mAP_without_other_videos": self.elsewhere and 100 * self.elsewhere,
            "outcomes": {"overlap": self.outcomes_at, **self.outcomes},
            "classes": [
                {
                    "class": self.class_names[place],
                    "num_true": int(self.num_true[place]),
                    "num_found": int(self.num_found[place]),
                    "AP": (100 * self.average_precision[:, place]).tolist(),
                }
                for place in np.flatnonzero(self.num_true).tolist()
            ],
            "remarks": list(self.remarks),
            "baseline": self.baseline and {"model": self.baseline.model, **self.baseline.metrics()},
        }

    def rows(self) -> Iterator[Sequence[str]]:
        """Yield the rows of the table: each overlap, their mean, and what went wrong."""
        yield from self._overlap_rows()
        if self.map_by_overlap and self.interval is not None:
            low, high = (100 * bound for bound in self.interval)
            yield "95 % interval", f"{low:.2f} … {high:.2f}", "", ""
        if self.baseline is not None:
            yield ()
            yield f"baseline: {self.baseline.model}", "", "", ""
            yield from self.baseline._overlap_rows()
        total = sum(self.outcomes.values())
        if total:
            yield ()
            yield f"the {total} surest at {self.outcomes_at:g}", "share", "", ""
            for name, count in self.outcomes.items():
                yield f"  {name}", f"{100 * count / total:.1f} %", "", ""

    def _overlap_rows(self) -> Iterator[Sequence[str]]:
        recalls = [self.recall.get(k, ()) for k in (1, 5)]
        for place, value in enumerate(self.map_by_overlap):
            others = [f"{100 * each[place]:.2f}" if each else "" for each in recalls]
            yield f"{self.thresholds[place]:.2f}", f"{value:.2f}", *others
        if self.map_by_overlap:
            yield ()
            means = [f"{100 * float(np.mean(each)):.2f}" if each else "" for each in recalls]
            yield "mean", f"{self.mean_map:.2f}", *means

    def details(self, *, complete: bool) -> Table | None:
        """Return the average precision of each class, from the best to the worst."""
        if not complete:
            return None
        from rich.markup import escape
        from rich.table import Table

        table = Table()
        shown = sorted({0, len(self.thresholds) // 2, len(self.thresholds) - 1})
        headings = ["class", "true", "found", "AP"]
        for heading in [*headings, *(f"@{self.thresholds[place]:.2f}" for place in shown)]:
            table.add_column(heading, justify="left" if heading == "class" else "right")
        for place in self._classes_by_precision():
            values = 100 * self.average_precision[:, place]
            table.add_row(
                escape(self.class_names[place]),
                str(self.num_true[place]),
                str(self.num_found[place]),
                f"{values.mean():.2f}",
                *(f"{values[each]:.2f}" for each in shown),
            )
        return table

    def _classes_by_precision(self) -> list[int]:
        means = self.average_precision.mean(axis=0)
        order = np.argsort(-means, kind="stable")
        return [place for place in order.tolist() if self.num_true[place]]

    def notes(self) -> Sequence[str]:
        """Return remarks on the data."""
        return self.remarks

    def draw(self) -> Any:
        """Draw the mAP over the overlap, that of the classes, and what goes wrong."""
        classes = self._classes_by_precision()
        half = _DRAWN_CLASSES // 2
        shown = classes if len(classes) <= _DRAWN_CLASSES else classes[:half] + classes[-half:]
        figure = self.figure(10, max(5.0, 1.2 + 0.22 * len(shown)))
        places = figure.subplot_mosaic([["map", "class"], ["outcome", "class"]])
        axes = places["map"]
        axes.plot(self.thresholds[: len(self.map_by_overlap)], self.map_by_overlap, marker="o")
        axes.set_ylim(0, 100)
        axes.set_xlabel("overlap")
        axes.set_ylabel("mAP, percent")
        axes.set_title(f"mean {self.mean_map:.2f}")
        if self.baseline is not None:
            values = self.baseline.map_by_overlap
            label = f"baseline: {self.baseline.model}"
            axes.plot(self.thresholds[: len(values)], values, color=LINE_COLOR, label=label)
            axes.legend(loc="upper right")
        axes = places["outcome"]
        total = sum(self.outcomes.values())
        shares = [100 * count / max(total, 1) for count in self.outcomes.values()]
        axes.barh(range(len(shares)), shares, color=[BAR_COLOR, *[LINE_COLOR] * (len(shares) - 1)])
        name_places(axes.yaxis, list(self.outcomes))
        axes.invert_yaxis()
        axes.set_xlabel(
            f"percent of the {total} surest predictions, at overlap {self.outcomes_at:g}"
        )
        axes = places["class"]
        values = 100 * self.average_precision[:, shown].mean(axis=0)
        axes.barh(range(len(shown)), values, color=BAR_COLOR)
        name_places(axes.yaxis, [self.class_names[place] for place in shown], fontsize=7)
        axes.margins(y=0.01)
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        left_out = len(classes) - len(shown)
        middle = f"; {left_out} classes between are left out" if left_out else ""
        axes.set_xlabel(f"average precision, percent{middle}")
        return figure


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoClassesReport(Report):
    """How well is told what happens in whole videos; ActivityNet's untrimmed classification.

    Attributes:
        mean_precision: mean of the average precision over the classes, from 0 to 1.
        top1: videos whose surest class is one of theirs, among those with an answer and any class.
        hits: share of the classes of a video that are among its first k, mean over videos, by k.
    """

    columns: ClassVar[tuple[str, ...]] = ("measure", "result", "95 % interval", "videos")

    mean_precision: float
    top1: Share
    hits: Mapping[int, float]

    @property
    def num_answered(self) -> int:
        """Number of videos with an answer."""
        return self.top1.total

    def metrics(self) -> dict[str, float]:
        """Return mAP, top-1 and hits, in percent."""
        hits = {f"hit@{k}": 100 * value for k, value in self.hits.items()}
        return {"mAP": 100 * self.mean_precision, "top1": self.top1.percent, **hits}

    def numbers(self) -> dict[str, Any]:
        """Return the numbers."""
        return {
            **self.metrics(),
            "interval": list(self.top1.interval),
            "num_videos": self.top1.total,
        }

    def rows(self) -> Iterator[Sequence[str]]:
        """Yield the rows of the table."""
        for name, value in self.metrics().items():
            own = name == "top1"
            yield name, f"{value:.2f} %", self.top1.range if own else "", str(self.top1.total)
