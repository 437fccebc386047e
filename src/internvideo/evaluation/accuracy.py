"""Class accuracy: how well a model recognises classes, what it confuses, and what failed."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from internvideo.errors import DataError
from internvideo.evaluation.arrays import as_list
from internvideo.evaluation.engine import Seen
from internvideo.evaluation.pictures import BAR_COLOR, name_places
from internvideo.evaluation.report import Report, Share

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["ClassAccuracy", "RecognitionReport", "VideoPrediction"]

_MAX_NAMED = 40
_MAX_CONFUSIONS = 100
_SHOWN = 10
_LABEL_WIDTH = 28
_BEST = 5
_DIGITS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoPrediction:
    """How a model ranked the classes for one video.

    Attributes:
        index: number of the video in its list.
        video: its name.
        label: the true class.
        rank: place of the true class in the answer; 0 is a hit.
        best: the likeliest classes, best first.
        probabilities: theirs, averaged over the views.
        num_views: how many views were averaged.
        likelihood: probability of the true class; None where it was not kept.
        scores: of all classes; kept on disk, and in memory only where a report needs them.
    """

    index: int
    video: str
    label: int
    rank: int
    best: tuple[int, ...]
    probabilities: tuple[float, ...]
    num_views: int
    likelihood: float | None = None
    scores: tuple[float, ...] = field(default=(), repr=False, compare=False)

    @classmethod
    def of(
        cls,
        video: Seen,
        label: int | None,
        *,
        order: Int[Tensor, " k"],
        shares: Float[Tensor, " k"],
        scores: Float[Tensor, " k"],
    ) -> VideoPrediction:
        """Build the prediction for a labelled video.

        Args:
            video: the video, with all the views that were averaged.
            label: its true class.
            order: the classes, best first.
            shares: probability of each class, in the order of the classes.
            scores: score of each class, likewise.
        """
        if label is None:
            raise DataError(f"{video.name} has no label")
        ranked, probability = as_list(order), as_list(shares)
        return cls(
            index=video.index,
            video=video.name,
            label=label,
            rank=ranked.index(label),
            best=tuple(ranked[:_BEST]),
            probabilities=tuple(round(probability[each], _DIGITS) for each in ranked[:_BEST]),
            num_views=len(video.views),
            likelihood=round(probability[label], _DIGITS),
            scores=tuple(round(each, _DIGITS) for each in as_list(scores)),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, without scores where none were kept."""
        values = asdict(self)
        return values if self.scores else {k: v for k, v in values.items() if k != "scores"}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, with_scores: bool = False) -> VideoPrediction:
        """Build a prediction from plain data; other keys are ignored.

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
                likelihood=values.get("likelihood"),
                scores=tuple(values["scores"]) if with_scores else (),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"not a prediction of a video ({type(error).__name__}: {error}): {dict(values)}"
            ) from None


@dataclass(frozen=True, slots=True)
class ClassAccuracy(Share):
    """How many videos of one class were recognised."""

    name: str = ""

    @property
    def share(self) -> float:
        """The recognised share, 0 to 1."""
        return self.correct / self.total if self.total else 0.0


@dataclass(frozen=True, kw_only=True)
class RecognitionReport(Report):
    """An evaluation of a model that names classes.

    A video that cannot be read is not part of `top1` and `top5`, and counts as a miss in
    `top1_of_all`.

    Attributes:
        labels: names of the classes.
        predictions: one for each video that could be read, in the order of the list.
    """

    labels: tuple[str, ...]
    predictions: tuple[VideoPrediction, ...]

    @property
    def num_answered(self) -> int:
        """Number of videos that could be read."""
        return len(self.predictions)

    def hits(self, top: int = 1) -> Share:
        """Return how many of the answered videos have their class among the `top` best."""
        correct = sum(prediction.rank < top for prediction in self.predictions)
        return Share(correct, len(self.predictions))

    @property
    def top1(self) -> float:
        """Percentage of answered videos whose class is the best."""
        return self.hits().percent

    @property
    def top5(self) -> float:
        """Percentage of answered videos whose class is among the best five."""
        return self.hits(5).percent

    @property
    def says_top5(self) -> bool:
        """Whether there are classes enough for the best five to say something."""
        return len(self.labels) > _BEST

    @property
    def top1_of_all(self) -> float:
        """Percentage over all videos of the list; one that cannot be read is a miss."""
        total = self.num_answered + len(self.failures)
        return self.top1 * self.num_answered / total if total else 0.0

    @property
    def chance(self) -> float:
        """Percentage that a guesser expects."""
        return 100 / len(self.labels)

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
            ClassAccuracy(hits[number], total[number], name)
            for number, name in enumerate(self.labels)
        )

    @cached_property
    def confusion(self) -> np.ndarray:
        """Counts (true class, answered class), int64 "k k"."""
        counts = np.zeros((len(self.labels),) * 2, dtype=np.int64)
        for prediction in self.predictions:
            counts[prediction.label, prediction.best[0]] += 1
        return counts

    def confusions(self, most: int = _MAX_CONFUSIONS) -> tuple[tuple[str, str, int], ...]:
        """Return the most frequent mistakes: (true class, answered class, how often)."""
        wrong = Counter((p.label, p.best[0]) for p in self.predictions if p.label != p.best[0])
        rows = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))[:most]
        return tuple((self.labels[true], self.labels[best], count) for (true, best), count in rows)

    def metrics(self) -> dict[str, float]:
        """Return the numbers alone, for a training log; the failures are one of them.

        `loss` is the cross-entropy of the averaged probabilities, without label smoothing.
        """
        values = {"top1": self.top1, "top5": self.top5}
        if not self.says_top5:  # always 100 %
            del values["top5"]
        values["mean_class_accuracy"] = self.mean_class_accuracy
        likelihoods = [each.likelihood for each in self.predictions]
        known = [each for each in likelihoods if each is not None]
        if known and len(known) == len(likelihoods):
            values["loss"] = -float(np.mean(np.log(np.maximum(known, 10.0**-_DIGITS))))
        return {**values, "num_failed": float(len(self.failures))}

    def numbers(self) -> dict[str, Any]:
        """Return the numbers, one entry per class, and the mistakes, as plain data."""
        return {
            "num_videos": self.num_answered,
            "num_failed": len(self.failures),
            "top1": self.top1,
            "top1_interval": list(self.hits().interval),
            "top5": self.top5,
            "top1_of_all": self.top1_of_all,
            "mean_class_accuracy": self.mean_class_accuracy,
            "chance": self.chance,
            "classes": [
                {"label": row.name, "correct": row.correct, "total": row.total}
                for row in self.classes
            ],
            "confusions": [
                {"label": true, "predicted": predicted, "count": count}
                for true, predicted, count in self.confusions()
            ],
        }

    def rows(self) -> Iterator[Sequence[str]]:
        """Yield the rows of the table."""
        top1 = self.hits()
        yield "top-1", str(top1)
        yield "  95 % interval", top1.range
        if self.says_top5:
            yield "top-5", f"{self.top5:.2f} %"
        yield "mean over the classes", f"{self.mean_class_accuracy:.2f} %"
        yield "chance", f"{self.chance:.2f} %"
        yield "videos", str(self.num_answered)
        if self.failures:
            yield "!could not be read", str(len(self.failures))
            yield "top-1, those counted as misses", f"{self.top1_of_all:.2f} %"
        mistakes = self.confusions(_SHOWN)
        if mistakes:
            yield ()
            yield "most frequent mistakes", ""
        for true, predicted, count in mistakes:
            yield f"{true} → {predicted}", str(count)

    def details(self, *, complete: bool) -> Table | None:
        """Return the table of the classes where it was asked for."""
        return self.class_table() if complete else None

    def class_table(self, *, most: int | None = None) -> Table:
        """Return a table with a row for each class that occurs, the hardest first.

        Args:
            most: rows at most; None shows all.
        """
        from rich.markup import escape
        from rich.table import Table

        answered: dict[int, Counter[int]] = {}
        for prediction in self.predictions:
            if prediction.rank:
                answered.setdefault(prediction.label, Counter())[prediction.best[0]] += 1
        rows = [(number, row) for number, row in enumerate(self.classes) if row.total]
        rows.sort(key=lambda pair: (pair[1].share, pair[0]))
        hidden = 0 if most is None else max(len(rows) - most, 0)
        table = Table(caption=f"and {hidden} easier class{'es' * (hidden > 1)}" if hidden else None)
        table.add_column("class", overflow="fold")
        for heading in ("right", "percent", "95 % interval"):
            table.add_column(heading, justify="right")
        table.add_column("taken most often for", overflow="fold")
        for number, row in rows[: len(rows) - hidden]:
            low, high = row.interval
            mistaken = answered[number].most_common(1)[0] if number in answered else None
            table.add_row(
                escape(row.name),
                f"{row.correct} of {row.total}",
                f"{row.percent:.1f}",
                f"{low:.1f} … {high:.1f}",
                escape(f"{self.labels[mistaken[0]]} ({mistaken[1]})") if mistaken else "",
            )
        return table

    def draw(self) -> Any:
        """Draw the accuracy of the classes as bars, beside the confusions as a picture.

        With many classes the bars show the hardest of them only.
        """
        rows = sorted((r for r in self.classes if r.total), key=lambda r: r.share)[:_MAX_NAMED]
        height = 1.8 + 0.24 * max(len(rows), 12)
        figure = self.figure(7 + height, height)
        bars, picture = figure.subplots(1, 2, width_ratios=(6, height))
        _draw_classes(bars, rows, num_occurring=sum(row.total > 0 for row in self.classes))
        _draw_confusion(picture, self.confusion, self.labels)
        top5 = f"top-5 {self.top5:.1f} %, " if self.says_top5 else ""
        figure.suptitle(
            f"top-1 {self.top1:.1f} %, {top5}{self.num_answered} videos"
            + (f", {len(self.failures)} could not be read" if self.failures else "")
        )
        return figure


def _draw_classes(axes: Any, rows: list[ClassAccuracy], *, num_occurring: int) -> None:
    shares = [100 * row.share for row in rows]
    intervals = [row.interval for row in rows]
    below = [max(share - low, 0.0) for share, (low, _) in zip(shares, intervals, strict=True)]
    above = [max(high - share, 0.0) for share, (_, high) in zip(shares, intervals, strict=True)]
    style = {"ecolor": "#666666", "elinewidth": 1, "capsize": 2}
    axes.barh(range(len(rows)), shares, color=BAR_COLOR, xerr=(below, above), error_kw=style)
    right = axes.secondary_yaxis("right")
    right.tick_params(length=0)
    name_places(right.yaxis, [f"{row.correct}/{row.total}" for row in rows], fontsize=8)
    names = [textwrap.shorten(row.name, _LABEL_WIDTH, placeholder="…") for row in rows]
    name_places(axes.yaxis, names, fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.set_xlabel("recognised, percent, with 95 % intervals")
    all_shown = len(rows) == num_occurring
    axes.set_title("classes" if all_shown else f"the {len(rows)} hardest of {num_occurring}")


def _draw_confusion(axes: Any, counts: np.ndarray, labels: tuple[str, ...]) -> None:
    """Draw the shares of the answers to each class; one that never occurs is left out."""
    there = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1) + (not counts.any()))
    counts, labels = counts[np.ix_(there, there)], tuple(labels[number] for number in there)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    drawn = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
    axes.figure.colorbar(drawn, ax=axes, label="share of the class, percent", shrink=0.8)
    if len(labels) <= _MAX_NAMED:
        names = [textwrap.shorten(name, _LABEL_WIDTH, placeholder="…") for name in labels]
        name_places(axes.yaxis, names, fontsize=8)
        name_places(axes.xaxis, names, fontsize=8, rotation=90)
    axes.set_title("truth (rows) and answer (columns)")
