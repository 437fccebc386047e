"""How well the parts of videos that queries ask for are found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from internvideo.evaluation.pictures import BAR_COLOR, LINE_COLOR
from internvideo.evaluation.report import Report, interval_over_groups
from internvideo.tasks.language_queries.metrics import (
    CHALLENGE_THRESHOLDS,
    THRESHOLDS,
    TOP_K,
    hits,
    mean_iou,
    recalls,
    span_ious,
)
from internvideo.tasks.language_queries.queries import Query

__all__ = ["LanguageQueriesReport", "Spans"]


@dataclass(frozen=True, slots=True)
class Spans:
    """Where in a video the answer to a query may be, best first.

    Attributes:
        times: start and end in seconds.
        scores: of a model; empty where the spans come from a file that has none.
    """

    times: tuple[tuple[float, float], ...]
    scores: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LanguageQueriesReport(Report):
    """An evaluation on queries by language.

    The official numbers are over the queries that were answered. Those over all queries, where one
    that is not answered is a miss, stand beside them.

    Attributes:
        queries: all queries with known times.
        answers: the spans of those that were answered.
        num_untimed: answered queries whose true times nobody knows.
    """

    columns: ClassVar[tuple[str, ...]] = (
        "measure",
        "answered queries",
        "95 % interval",
        "all queries",
    )

    queries: tuple[Query, ...]
    answers: Mapping[Query, Spans]
    num_untimed: int = 0

    @cached_property
    def _ious(self) -> list[Float[np.ndarray, " k"]]:
        """The IoU of the spans of each answered query."""
        return [
            span_ious(np.array(self.answers[query].times), query.times)
            for query in self.queries
            if query in self.answers and query.times is not None
        ]

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95 % bootstrap interval over videos of each recall, in percent."""
        answered = [each for each in self.queries if each in self.answers and each.times]
        if not answered:
            return {}
        table = 100 * hits(self._ious, THRESHOLDS, TOP_K).astype(np.float64)
        _, videos = np.unique([query.video for query in answered], return_inverse=True)
        low, high = interval_over_groups(table, videos)
        return {
            _key(k, threshold): (float(low[row, column]), float(high[row, column]))
            for row, threshold in enumerate(THRESHOLDS)
            for column, k in enumerate(TOP_K)
        }

    @property
    def num_answered(self) -> int:
        """Number of videos with an answer."""
        return len({query.video for query in self.answers})

    @property
    def num_empty(self) -> int:
        """Queries whose true part has no length, which no span can hit."""
        return sum(
            query.times is not None and query.times[0] == query.times[1] for query in self.queries
        )

    def metrics(self) -> dict[str, float]:
        """Return recalls in percent; the first is what the baseline chooses its weights by."""
        found = {_key(k, t): 100 * value for (k, t), value in recalls(self._ious).items()}
        firsts = [found[_key(1, threshold)] for threshold in CHALLENGE_THRESHOLDS]
        return {**found, "mean_r1": sum(firsts) / len(firsts), "miou": 100 * mean_iou(self._ious)}

    def _of_all(self, percent: float) -> float:
        return percent * len(self._ious) / len(self.queries) if self.queries else 0.0

    def numbers(self) -> dict[str, Any]:
        """Return the official numbers, the same over all queries, and how many there are."""
        found = self.metrics()
        return {
            **found,
            "intervals": {name: list(bounds) for name, bounds in self.intervals.items()},
            "of_all_queries": {name: self._of_all(value) for name, value in found.items()},
            "num_queries": len(self.queries),
            "num_answered": len(self._ious),
            "num_empty": self.num_empty,
        }

    def rows(self) -> Iterator[Sequence[str]]:
        """Yield the rows of the table."""
        found = self.metrics()
        for name, value in found.items():
            if name == "mean_r1":
                yield ()
            low_high = self.intervals.get(name, ())
            interval = " … ".join(f"{bound:.2f}" for bound in low_high)
            yield _title(name), f"{value:.2f} %", interval, f"{self._of_all(value):.2f} %"
        yield "queries", str(len(self._ious)), "", str(len(self.queries))

    def notes(self) -> Sequence[str]:
        """Return which queries are not among the numbers, or cannot be hit."""
        missing = len(self.queries) - len(self._ious)
        notes = [
            (missing, f"{missing} of {len(self.queries)} queries are not answered; the official "
             "numbers leave them out"),
            (self.num_empty, f"{self.num_empty} queries ask for a part of no length, which nothing "
             "can hit"),
            (self.num_untimed, f"{self.num_untimed} queries have no known times and are not "
             "scored"),
        ]  # fmt: skip
        return [text for count, text in notes if count]

    def draw(self) -> Any:
        """Draw the recall of the first span, and of the first five, over the IoU threshold."""
        figure = self.figure(6, 3.6)
        axes = figure.subplots()
        thresholds = np.linspace(0, 0.95, 20).tolist()
        found = recalls(self._ious, thresholds, TOP_K)
        for k, color in zip(TOP_K, (BAR_COLOR, LINE_COLOR), strict=True):
            axes.plot(thresholds, [100 * found[k, each] for each in thresholds], "o-", ms=3,
                      color=color, label=f"R@{k}")  # fmt: skip
        axes.set_xlabel("IoU above")
        axes.set_ylabel("queries, percent")
        axes.set_ylim(0, 100)
        axes.legend()
        return figure


def _key(k: int, threshold: float) -> str:
    return f"r{k}_iou{threshold:g}"


def _title(name: str) -> str:
    titles = {_key(k, t): f"R@{k}, IoU > {t:g}" for k in TOP_K for t in THRESHOLDS}
    return {
        **titles,
        "mean_r1": "mean R@1, IoU > 0.3 and 0.5",
        "miou": "mean IoU of the first span",
    }[name]
