"""From a finder of segments, through the engine, to a report and a file that can be handed in."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (NumPy leaves the types of many arrays open)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int

from internvideo.data.feature_videos import AnnotatedVideos, FeatureVideoSource
from internvideo.evaluation.engine import Answerer, EvalLoop
from internvideo.evaluation.report import failures_of
from internvideo.evaluation.segment_matching import SegmentTable
from internvideo.evaluation.segment_protocol import own_numbers
from internvideo.evaluation.segment_submission import write_submission
from internvideo.evaluation.segments import Segments
from internvideo.tasks.temporal_localization.external import fuse, read_external_scores
from internvideo.tasks.temporal_localization.measure import Measure
from internvideo.tasks.temporal_localization.report import LocalizationReport

__all__ = ["SUBMISSION", "measure_finder"]

SUBMISSION = "submission.json"


def measure_finder(
    finder: Answerer[Segments],
    source: FeatureVideoSource,
    *,
    loop: EvalLoop,
    classes: Sequence[str] | int,
    how: Measure,
    external_scores: str | None = None,
) -> LocalizationReport:
    """Ask for the segments of all videos, and measure them.

    A video that cannot be read has no segments, so that its true ones count as missed.

    Args:
        finder: asks the model.
        source: the videos.
        loop: how the evaluation runs; its directory gets a `submission.json`, too.
        classes: what the labels of the found segments are called, or how many nameless ones.
        how: overlaps and rules.
        external_scores: file of the classes of the videos.

    Raises:
        ConfigError: the classes are not those of the annotations.
        DataError: a video has no external scores.
    """
    videos, remarks = source.annotated, list[str]()
    scores, numbers = None, None
    if external_scores is not None:
        asked = [source.key(place) for place in range(len(source))]
        scores = read_external_scores(Path(external_scores), asked, videos.class_names or ())
        remarks.append(scores.remark)
    elif _knows_one(classes, videos):
        videos = _any_action(videos)
        remarks.append("the model knows one class: actions of all classes are one here")
    else:
        numbers = own_numbers(classes, videos)
    parts = [Segments.none()] * len(source)
    answered = loop.run(finder, source)
    for each in answered:
        if each.answer is not None and scores is not None:
            parts[each.index] = fuse(each.answer, scores.of(each.video))
        elif each.answer is not None:
            parts[each.index] = _renumbered(each.answer, numbers)
    failures = failures_of(answered)
    if failures:
        remarks.append("the true segments of videos that cannot be read count as missed")
    if loop.directory is not None and loop.is_first:
        file = loop.directory / SUBMISSION
        keyed = ((source.key(place), part) for place, part in enumerate(parts))
        write_submission(file, keyed, videos.class_names or ())
        remarks.append(f"{file} is what the servers of ActivityNet take")
    report = how(videos, SegmentTable.of(parts), remarks=remarks)
    return replace(report, failures=failures, num_videos=len(answered) - len(failures))


def _renumbered(found: Segments, numbers: Int[np.ndarray, " k"] | None) -> Segments:
    labels = found.labels if numbers is None else numbers[found.labels]
    return Segments(found.times, found.scores, labels)[labels >= 0]


def _knows_one(classes: Sequence[str] | int, videos: AnnotatedVideos) -> bool:
    """Tell whether a model finds actions of any class, where the annotations have several."""
    names = videos.class_names or ()
    alone = classes == 1 if isinstance(classes, int) else len(classes) == 1
    return alone and len(names) > 1 and (isinstance(classes, int) or classes[0] not in names)


def _any_action(videos: AnnotatedVideos) -> AnnotatedVideos:
    """Return the same videos with all actions of one class."""
    merged = [
        replace(video, segments=tuple(replace(each, label=0) for each in video.segments))
        for video in videos.videos
    ]
    return replace(videos, videos=tuple(merged), class_names=("any action",))
