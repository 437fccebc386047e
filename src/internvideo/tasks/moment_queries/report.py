"""How well named moments are found: mean average precision, and recall of what is asked for."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (NumPy leaves the types of many arrays open)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float

from internvideo.data.feature_videos import AnnotatedVideos
from internvideo.evaluation.report import Report, interval_over_groups
from internvideo.evaluation.segment_metrics import (
    Ranking,
    recall_at_kx,
    recalled_at_kx,
    without_repeats,
)
from internvideo.evaluation.segment_protocol import THRESHOLDS, about_truth, true_segments
from internvideo.tasks.moment_queries.submission import Answers

__all__ = ["RECALL_AT", "MomentQueriesReport", "measured"]

RECALL_AT = (0.3, 0.5, 0.7)
FACTORS = (1, 2, 3, 4, 5)
_HEADLINE = 1, 0  # overlap 0.5, factor 1
_PERCENT = 100.0


@dataclass(frozen=True, kw_only=True, eq=False)
class MomentQueriesReport(Report):
    """An evaluation on moment queries, by the official rules of Ego4D.

    Attributes:
        precision_by_overlap: mAP at the overlaps 0.1 to 0.5, from 0 to 1.
        recall: share of the true moments among the first k·x of their class in their clip, by
            overlap and k; x is how many the clip has.
        release_recall: likewise, by the definition of ActionFormer's release.
        precision_interval: 95 % bootstrap interval over clips of the mean mAP; None: not asked.
        recall_interval: likewise of the recall at 1x and overlap 0.5.
        num_clips: clips with an answer.
        num_moments: true moments.
        num_classes: classes that have some.
        remarks: on the data, a line each.
    """

    columns: ClassVar[tuple[str, ...]] = ("measure", "result", "95 % interval")

    precision_by_overlap: Float[np.ndarray, " t"]
    recall: Float[np.ndarray, "r k"]
    release_recall: Float[np.ndarray, "r k"]
    precision_interval: tuple[float, float] | None = None
    recall_interval: tuple[float, float] | None = None
    num_clips: int
    num_moments: int
    num_classes: int
    remarks: tuple[str, ...] = ()

    @property
    def num_answered(self) -> int:
        """Number of clips with an answer."""
        return self.num_clips

    def metrics(self) -> dict[str, float]:
        """Return the average mAP, the mAP of each overlap, and the official recalls; in percent."""
        if not self.num_moments:
            return {}
        found = {"mAP": _PERCENT * float(self.precision_by_overlap.mean())}
        for at, value in zip(THRESHOLDS["ego4d"], self.precision_by_overlap, strict=True):
            found[f"mAP@{at:.2f}"] = _PERCENT * float(value)
        for at, row in zip(RECALL_AT, self.recall, strict=True):
            for factor, value in zip(FACTORS, row, strict=True):
                found[_key(factor, at)] = _PERCENT * float(value)
        return found

    def numbers(self) -> dict[str, Any]:
        """Return the numbers, the recalls of the release, the intervals and the counts."""
        release = {
            _key(factor, at): _PERCENT * float(value)
            for at, row in zip(RECALL_AT, self.release_recall, strict=True)
            for factor, value in zip(FACTORS, row, strict=True)
        }
        return {
            **self.metrics(),
            "release": release,
            "mAP_interval": _percent(self.precision_interval),
            f"{_key(1, 0.5)}_interval": _percent(self.recall_interval),
            "num_clips": self.num_clips,
            "num_moments": self.num_moments,
            "num_classes": self.num_classes,
        }

    def rows(self) -> Iterator[Sequence[str]]:
        """Yield the rows of the table."""
        if not self.num_moments:
            return
        found = self.metrics()
        yield "average mAP", f"{found['mAP']:.2f} %", _range(self.precision_interval)
        for at in THRESHOLDS["ego4d"]:
            yield f"  mAP, IoU {at:.1f}", f"{found[f'mAP@{at:.2f}']:.2f} %", ""
        yield ()
        for place, at in enumerate(RECALL_AT):
            for factor in (FACTORS[0], FACTORS[-1]):
                shown = _range(self.recall_interval) if (place, factor - 1) == _HEADLINE else ""
                name = f"recall@{factor}x, IoU > {at:g}"
                yield name, f"{found[_key(factor, at)]:.2f} %", shown
        yield ()
        value = _PERCENT * float(self.release_recall[_HEADLINE])
        yield "recall@1x, IoU ≥ 0.5, mean of classes", f"{value:.2f} %", "ActionFormer's definition"
        yield "moments", str(self.num_moments), f"{self.num_classes} classes"

    def notes(self) -> Sequence[str]:
        """Return remarks on the data."""
        return self.remarks


def measured(
    videos: AnnotatedVideos, answers: Answers, *, resamples: int, remarks: Sequence[str] = ()
) -> MomentQueriesReport:
    """Return the report on answers about annotated clips.

    The mAP is about what was detected, the recall about what was retrieved. Repeated annotations
    count as often as they stand there; only the recall of the release leaves them out.
    """
    classes = len(videos.class_names or ())
    truth = true_segments(videos)
    ranking = Ranking(truth, answers.detected, THRESHOLDS["ego4d"], classes)
    recalled = recalled_at_kx(truth, answers.retrieved, RECALL_AT, FACTORS)
    once = without_repeats(truth)
    asks = resamples > 0 and len(truth) > 0
    labels = np.unique(truth.segments.labels)
    return MomentQueriesReport(
        precision_by_overlap=np.mean(ranking.average_precision()[:, labels], axis=1),
        recall=recalled.mean(axis=-1) if len(truth) else np.zeros(recalled.shape[:2]),
        release_recall=recall_at_kx(
            once, answers.retrieved, RECALL_AT, FACTORS, rule="actionformer"
        ),
        precision_interval=ranking.interval(resamples=resamples) if asks else None,
        recall_interval=_recall_interval(recalled[_HEADLINE], truth.videos) if asks else None,
        num_clips=len(np.unique(answers.detected.videos)),
        num_moments=len(truth),
        num_classes=len(labels),
        remarks=(*remarks, *about_truth(videos, truth)),
    )


def _recall_interval(recalled: Bool[np.ndarray, " n"], clips: np.ndarray) -> tuple[float, float]:
    low, high = interval_over_groups(recalled, clips).tolist()
    return low, high


def _key(factor: int, at: float) -> str:
    return f"recall@{factor}x@{at:.2f}"


def _percent(interval: tuple[float, float] | None) -> list[float] | None:
    return interval and [_PERCENT * bound for bound in interval]


def _range(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else " … ".join(f"{_PERCENT * each:.2f}" for each in interval)
