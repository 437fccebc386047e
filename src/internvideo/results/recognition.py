"""How well a classifier recognises actions: accuracy, classes, confusions, and what failed."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from internvideo.errors import DataError, require
from internvideo.results.fonts import label_fonts, save_figure
from internvideo.results.intervals import wilson_interval

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["ClassAccuracy", "RecognitionReport", "VideoPrediction"]

_MAX_NAMED = 40
_MAX_CONFUSIONS = 100
_SHOWN = 10
_LABEL_WIDTH = 28


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoPrediction:
    """What a classifier said of one video.

    Attributes:
        index: number of the video in its list.
        video: its name.
        label: the true class.
        rank: place of the true class in the answer; 0 is a hit.
        best: the likeliest classes, best first.
        probabilities: theirs, averaged over the views.
        num_views: how many views were averaged.
    """

    index: int
    video: str
    label: int
    rank: int
    best: tuple[int, ...]
    probabilities: tuple[float, ...]
    num_views: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "index": self.index,
            "video": self.video,
            "label": self.label,
            "rank": self.rank,
            "best": list(self.best),
            "probabilities": list(self.probabilities),
            "num_views": self.num_views,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VideoPrediction:
        """Build a prediction from plain data; further keys are not looked at.

        Raises:
            DataError: a value is missing.
        """
        try:
            return cls(
                index=int(values["index"]),
                video=str(values["video"]),
                label=int(values["label"]),
                rank=int(values["rank"]),
                best=tuple(values["best"]),
                probabilities=tuple(values["probabilities"]),
                num_views=int(values["num_views"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"not a prediction of a video ({type(error).__name__}: {error}): {dict(values)}"
            ) from None


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassAccuracy:
    """How many videos of one class were recognised."""

    name: str
    correct: int
    total: int

    @property
    def share(self) -> float:
        """The recognised share, 0 to 1."""
        return self.correct / self.total if self.total else 0.0


@dataclass(frozen=True, kw_only=True)
class RecognitionReport:
    """An evaluation of a classifier.

    A video that cannot be read has no answer: it is listed in `failures`, it is not part of `top1`
    and `top5`, and it counts as a miss in `top1_of_all`.

    Attributes:
        labels: names of the classes.
        predictions: one for each video that could be read, in the order of the list.
        failures: (video, reason) of the others.
        protocol: how the videos were looked at.
        model: name of the model.
        data: name of the data.
    """

    labels: tuple[str, ...]
    predictions: tuple[VideoPrediction, ...]
    failures: tuple[tuple[str, str], ...] = ()
    protocol: str = ""
    model: str = ""
    data: str = ""

    @property
    def num_videos(self) -> int:
        """Number of videos that were answered."""
        return len(self.predictions)

    def accuracy(self, top: int = 1) -> float:
        """Return the percentage of answered videos whose class is among the `top` best."""
        hits = sum(prediction.rank < top for prediction in self.predictions)
        return 100 * hits / self.num_videos if self.num_videos else 0.0

    @property
    def top1(self) -> float:
        """Percentage of answered videos whose class is the best."""
        return self.accuracy(1)

    @property
    def top5(self) -> float:
        """Percentage of answered videos whose class is among the best five."""
        return self.accuracy(5)

    @property
    def top1_of_all(self) -> float:
        """Percentage over all videos of the list; one that cannot be read is a miss."""
        total = self.num_videos + len(self.failures)
        return self.top1 * self.num_videos / total if total else 0.0

    @property
    def top1_interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of `top1`, in percent."""
        hits = sum(prediction.rank == 0 for prediction in self.predictions)
        low, high = wilson_interval(hits, self.num_videos)
        return 100 * low, 100 * high

    @property
    def mean_class_accuracy(self) -> float:
        """The mean over the classes that occur of their own percentages."""
        shares = [row.share for row in self.classes if row.total]
        return 100 * sum(shares) / len(shares) if shares else 0.0

    @cached_property
    def classes(self) -> tuple[ClassAccuracy, ...]:
        """One row for each class, in the order of the labels."""
        total = Counter(prediction.label for prediction in self.predictions)
        hits = Counter(prediction.label for prediction in self.predictions if not prediction.rank)
        return tuple(
            ClassAccuracy(name=name, correct=hits[number], total=total[number])
            for number, name in enumerate(self.labels)
        )

    @cached_property
    def confusion(self) -> np.ndarray:
        """Counts (true class, answered class), int64 "k k"."""
        counts = np.zeros((len(self.labels),) * 2, dtype=np.int64)
        for prediction in self.predictions:
            counts[prediction.label, prediction.best[0]] += 1
        return counts

    def confusions(self, count: int = _MAX_CONFUSIONS) -> tuple[tuple[str, str, int], ...]:
        """Return the most frequent mistakes: (true class, answered class, how often)."""
        wrong = Counter((p.label, p.best[0]) for p in self.predictions if p.label != p.best[0])
        rows = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))[:count]
        return tuple((self.labels[true], self.labels[said], often) for (true, said), often in rows)

    def metrics(self) -> dict[str, float]:
        """Return the numbers alone, for a training log; the failures are one of them."""
        return {
            "top1": self.top1,
            "top5": self.top5,
            "mean_class_accuracy": self.mean_class_accuracy,
            "num_failed": float(len(self.failures)),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: the numbers, one entry per class, the mistakes, the failures."""
        return {
            "model": self.model,
            "data": self.data,
            "protocol": self.protocol,
            "num_videos": self.num_videos,
            "num_failed": len(self.failures),
            "top1": self.top1,
            "top1_interval": list(self.top1_interval),
            "top5": self.top5,
            "top1_of_all": self.top1_of_all,
            "mean_class_accuracy": self.mean_class_accuracy,
            "chance": 100 / len(self.labels),
            "classes": [
                {"label": row.name, "correct": row.correct, "total": row.total}
                for row in self.classes
            ],
            "confusions": [
                {"label": true, "predicted": said, "count": often}
                for true, said, often in self.confusions()
            ],
            "failures": [{"video": video, "reason": reason} for video, reason in self.failures],
        }

    def to_json(self) -> str:
        """Return `to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def __rich__(self) -> Table:
        from rich.markup import escape
        from rich.table import Table

        title = " on ".join(part for part in (self.model, self.data) if part)
        table = Table(title=escape(title) or None, caption=escape(self.protocol) or None)
        table.add_column("measure", overflow="fold")
        table.add_column("result", justify="right")
        low, high = self.top1_interval
        table.add_row("top-1", f"{self.top1:.2f} %")
        table.add_row("  95 % interval", f"{low:.2f} … {high:.2f}")
        table.add_row("top-5", f"{self.top5:.2f} %")
        table.add_row("mean over the classes", f"{self.mean_class_accuracy:.2f} %")
        table.add_row("chance", f"{100 / len(self.labels):.2f} %")
        table.add_row("videos", str(self.num_videos))
        if self.failures:
            table.add_row("could not be read", str(len(self.failures)), style="bold red")
            table.add_row("top-1, those counted as misses", f"{self.top1_of_all:.2f} %")
        mistakes = self.confusions(_SHOWN)
        if mistakes:
            table.add_section()
            table.add_row("most frequent mistakes", "", style="bold")
        for true, said, often in mistakes:
            table.add_row(escape(f"{true} → {said}"), str(often))
        return table

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw the accuracy of the classes as bars, beside the confusions as a picture.

        With many classes the bars show the hardest of them only.

        Args:
            path: also write the picture there; the suffix decides the format.

        Returns:
            The matplotlib figure.

        Raises:
            MissingExtraError: matplotlib is not installed.
            ConfigError: the suffix is none of a picture.
        """
        figure_type = require("matplotlib.figure", extra="plot").Figure
        rows = sorted((r for r in self.classes if r.total), key=lambda r: r.share)[:_MAX_NAMED]
        height = 1.8 + 0.24 * max(len(rows), 12)
        figure = figure_type(figsize=(7 + height, height), layout="constrained")
        bars, picture = figure.subplots(1, 2, width_ratios=(6, height))
        _draw_classes(bars, rows, num_occurring=sum(row.total > 0 for row in self.classes))
        _draw_confusion(picture, self.confusion, self.labels)
        figure.suptitle(
            f"top-1 {self.top1:.1f} %, top-5 {self.top5:.1f} %, {self.num_videos} videos"
            + (f", {len(self.failures)} could not be read" if self.failures else "")
        )
        if path is not None:
            save_figure(figure, path, tight=True)  # else long names below are cut off
        return figure


def _draw_classes(axes: Any, rows: list[ClassAccuracy], *, num_occurring: int) -> None:
    shares = [100 * row.share for row in rows]
    drawn = axes.barh(range(len(rows)), shares, color="#2563a8")
    axes.bar_label(drawn, [f"{row.correct}/{row.total}" for row in rows], padding=3, fontsize=8)
    names = [textwrap.shorten(row.name, _LABEL_WIDTH, placeholder="…") for row in rows]
    axes.set_yticks(range(len(rows)), names, parse_math=False, fontsize=8, fontfamily=label_fonts())
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 115)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("recognised, percent")
    all_shown = len(rows) == num_occurring
    axes.set_title("classes" if all_shown else f"the {len(rows)} hardest of {num_occurring}")


def _draw_confusion(axes: Any, counts: np.ndarray, labels: tuple[str, ...]) -> None:
    """Draw the shares of the answers to each class; a row without videos stays empty."""
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    drawn = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
    axes.figure.colorbar(drawn, ax=axes, label="share of the class, percent", shrink=0.8)
    if len(labels) <= _MAX_NAMED:
        names = [textwrap.shorten(name, _LABEL_WIDTH, placeholder="…") for name in labels]
        places = range(len(labels))
        style = {"parse_math": False, "fontsize": 8, "fontfamily": label_fonts()}
        axes.set_yticks(places, names, **style)
        axes.set_xticks(places, names, **style, rotation=90)
    axes.set_title("truth (rows) and answer (columns)")
