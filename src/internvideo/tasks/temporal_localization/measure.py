"""From found segments and true ones to a report."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (NumPy leaves the types of many arrays open)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from internvideo.data.feature_videos import AnnotatedVideos
from internvideo.evaluation.report import Share
from internvideo.evaluation.segment_matching import SegmentTable, by_score, video_and_class
from internvideo.evaluation.segment_metrics import Ranking, outcomes, recall_at_kx
from internvideo.evaluation.segment_protocol import (
    Evaluator,
    about_truth,
    overlaps,
    true_segments,
    usual_overlaps,
)
from internvideo.evaluation.segments import Segments
from internvideo.tasks.temporal_localization.report import LocalizationReport, VideoClassesReport

__all__ = ["Measure", "video_classes"]

_FACTORS = (1, 5)
_OUTCOMES_AT = 0.5
_SHOWN = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """How found segments are measured.

    Attributes:
        tiou: a data set whose overlaps are taken, or numbers; None follows from the data.
        evaluator: which true segments count.
        resamples: of the bootstrap; 0 gives no interval.
    """

    tiou: str | None = None
    evaluator: Evaluator = "official"
    resamples: int = 200

    def __call__(
        self, videos: AnnotatedVideos, found: SegmentTable, *, remarks: Sequence[str] = ()
    ) -> LocalizationReport:
        """Return the report on predictions for annotated videos.

        Args:
            videos: with true segments, whose labels have names.
            found: predictions, by the place of the video; places behind the last one are of videos
                that are not annotated.
            remarks: further ones.
        """
        named = self.tiou or usual_overlaps(videos.kind)
        thresholds, names = overlaps(named), videos.class_names or ()
        truth = true_segments(videos, self.evaluator)
        ranking = Ranking(truth, found, thresholds, len(names))
        precision = ranking.average_precision()
        others = ~np.isin(found.videos, truth.videos)
        elsewhere = None
        if others.any() and len(truth):
            alone = Ranking(truth, found[~others], thresholds, len(names))
            elsewhere = float(np.nanmean(alone.average_precision()))
        recall = recall_at_kx(truth, found, thresholds, _FACTORS, rule="actionformer")
        asks = self.resamples > 0 and len(truth) > 0
        return LocalizationReport(
            thresholds=thresholds,
            class_names=tuple(names),
            average_precision=precision,
            num_true=np.bincount(truth.segments.labels, minlength=len(names)),
            num_found=np.bincount(found.segments.labels, minlength=len(names)),
            num_videos=len(np.unique(found.videos)),
            recall=dict(zip(_FACTORS, recall.T.tolist(), strict=True)),
            interval=ranking.interval(resamples=self.resamples) if asks else None,
            outcomes=outcomes(truth, found, _OUTCOMES_AT),
            outcomes_at=_OUTCOMES_AT,
            elsewhere=elsewhere,
            remarks=(
                *remarks,
                *about_truth(videos, truth),
                *_about_others(found[others], elsewhere),
                *_about_reversed(found),
            ),
            protocol=f"{named} overlaps, {self.evaluator} evaluator",
        )


def _about_others(others: SegmentTable, elsewhere: float | None) -> list[str]:
    if elsewhere is None:
        return []
    return [
        f"{len(others)} predictions are about {len(np.unique(others.videos))} videos without true "
        f"segments; they count as wrong, as in the official evaluation (mAP {100 * elsewhere:.2f} "
        "without them)"
    ]


def _about_reversed(found: SegmentTable) -> list[str]:
    times = found.segments.times
    number = int((times[:, 1] < times[:, 0]).sum())
    return [f"{number} predictions end before they begin, and can hit nothing"] if number else []


def video_classes(videos: AnnotatedVideos, found: SegmentTable) -> VideoClassesReport:
    """Return the report on predictions about whole videos, whose times are all 0 to 1.

    Those are segments that all overlap entirely, so the evaluation is that of detection. A label
    behind the last class of the annotations is another class.
    """
    annotated, names = true_segments(videos), videos.class_names or ()
    pairs = np.unique(np.column_stack([annotated.videos, annotated.segments.labels]), axis=0)
    times = np.tile([0.0, 1.0], (len(pairs), 1))
    truth = SegmentTable(pairs[:, 0], Segments(times, np.ones(len(pairs)), pairs[:, 1]))
    precision = Ranking(truth, found, [1.0], len(names) + 1).average_precision()
    first, answered = _recalled(truth, found, 1), np.unique(found.videos)
    answered = answered[np.isin(answered, truth.videos)]
    return VideoClassesReport(
        mean_precision=float(np.nanmean(precision)) if len(pairs) else 0.0,
        top1=Share(int(np.isin(answered, truth.videos[first]).sum()), len(answered)),
        hits={k: _mean_by_video(truth.videos, _recalled(truth, found, k)) for k in (1, 3)},
        protocol="classes of whole videos",
    )


def _recalled(truth: SegmentTable, found: SegmentTable, k: int) -> Bool[np.ndarray, " n"]:
    """Return which true classes of videos are among the first k of their video."""
    order = by_score(found.segments.scores)
    order = order[np.argsort(found.videos[order], kind="stable")]
    videos = found.videos[order]
    first = order[np.arange(len(order)) - np.searchsorted(videos, videos) < k]
    true_keys, keys = video_and_class(truth, found[first])
    return np.isin(true_keys, keys)


def _mean_by_video(videos: Int[np.ndarray, " n"], values: Bool[np.ndarray, " n"]) -> float:
    if not len(videos):
        return 0.0
    number = np.bincount(videos)
    return float((np.bincount(videos, weights=values)[number > 0] / number[number > 0]).mean())
