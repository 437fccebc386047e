"""Measure how well a model finds actions in untrimmed videos, or score what another one found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

from internvideo.data.feature_videos import AnnotatedVideos, read_videos
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.data import AnnotatedData
from internvideo.evaluation.report import Report
from internvideo.evaluation.segment_matching import SegmentTable
from internvideo.evaluation.segment_submission import read_submission
from internvideo.tasks.task import Option
from internvideo.tasks.temporal_localization.external import (
    ExternalScores,
    fuse,
    holds_scores,
    read_external_scores,
)
from internvideo.tasks.temporal_localization.measure import Measure, video_classes
from internvideo.tasks.temporal_localization.protocol import Evaluator
from internvideo.video.preprocessing import Preprocessing

__all__ = ["open_untrimmed", "score"]


ExternalScoresFile: TypeAlias = Annotated[
    str | None, Option("Give segments the likeliest classes of their video, by this json or npy.")
]
Overlaps: TypeAlias = Annotated[
    str | None, Option("Overlaps: activitynet, thumos14, ego4d, or numbers such as 0.3,0.5,0.7.")
]
EvaluatorName: TypeAlias = Annotated[
    Evaluator, Option("official counts repeated true segments, those of ActionFormer do not.")
]
Resamples: TypeAlias = Annotated[
    int, Option("Of the bootstrap over videos; 0 leaves out the interval.", minimum=0)
]


def open_untrimmed(data: AnnotatedData, protocol: Preprocessing | None = None) -> AnnotatedVideos:
    """Read untrimmed videos and their segments.

    Raises:
        DataError: the file cannot be used, or has no classes.
        ConfigError: an option that such data do not have.
    """
    del protocol
    if data.is_world:
        raise ConfigError(
            "write the untrimmed videos of the world first: internvideo world --format thumos14"
        )
    if data.first_label:
        raise ConfigError("--first-label does not go with temporal localisation; leave it out")
    videos = read_videos(
        Path(data.path),
        kind=data.format,
        root=data.root,
        labels=None if data.labels is None else Path(data.labels),
        split=data.split,
    )
    if not videos.class_names:
        raise DataError(
            f"{videos.file} names no classes of segments; give them with --labels, or annotations "
            "of actions such as those of ActivityNet or THUMOS14"
        )
    return videos


def score(
    data: AnnotatedData,
    predictions: Path,
    *,
    external_scores: ExternalScoresFile = None,
    tiou: Overlaps = None,
    evaluator: EvaluatorName = "official",
    resamples: Resamples = 200,
) -> Report:
    """Score a file of predictions as the servers of ActivityNet take it.

    Predictions without segments, and files of scores as `external_scores` takes them, say what
    happens in whole videos, and are measured as ActivityNet's untrimmed classification.

    Raises:
        DataError: the annotations, the predictions or the scores cannot be used, or do not belong
            together.
    """
    videos = open_untrimmed(data)
    names, classes = [each.id or each.path for each in videos.videos], videos.class_names or ()
    if holds_scores(predictions):
        annotated = [each.id or each.path for each in videos.videos if each.segments]
        scores = read_external_scores(predictions, annotated, classes)
        places = {name: place for place, name in enumerate(names)}
        return video_classes(videos, scores.table(places))
    own = None if external_scores else classes
    found = read_submission(predictions, names, own)
    if found.whole_videos:
        return video_classes(videos, found.table)
    table, remarks = found.table, list[str]()
    if external_scores is not None:
        parts = dict(zip(found.videos, table.by_video(len(found.videos)), strict=True))
        asked = [name for name, part in parts.items() if len(part)]
        scores = read_external_scores(Path(external_scores), asked, classes)
        table = SegmentTable.of(
            fuse(part, scores.of(name)) if len(part) else part for name, part in parts.items()
        )
        remarks.append(_about_scores(scores))
    return Measure(tiou=tiou, evaluator=evaluator, resamples=resamples)(
        videos, table, remarks=remarks
    )


def _about_scores(scores: ExternalScores) -> str:
    changed = f"; the logits of {scores.num_changed} became a softmax" if scores.num_changed else ""
    return f"classes of {len(scores.rows)} videos by {scores.file}{changed}"
