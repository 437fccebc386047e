"""Measure how well a model finds actions in untrimmed videos, or score what another one found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypeAlias

from internvideo.data.feature_videos import AnnotatedVideos, FeatureVideoSource
from internvideo.data.samples import EvaluationSource
from internvideo.data.untrimmed import UntrimmedSource
from internvideo.errors import ConfigError
from internvideo.evaluation.data import AnnotatedData, open_segments
from internvideo.evaluation.engine import Answerer, EvalLoop
from internvideo.evaluation.moment_finder import MomentFinder
from internvideo.evaluation.report import Report
from internvideo.evaluation.segment_matching import SegmentTable
from internvideo.evaluation.segment_protocol import Evaluator
from internvideo.evaluation.segment_submission import read_submission
from internvideo.evaluation.segments import Segments
from internvideo.evaluation.window_classifier import WindowClassifier
from internvideo.models.contract import has, num_classes_of
from internvideo.tasks.features import (
    FeatureName,
    FeatureRate,
    Features,
    FeatureStride,
    FeatureWindow,
    Resamples,
    read_by_features,
)
from internvideo.tasks.task import Option
from internvideo.tasks.temporal_localization.answering import measure_finder
from internvideo.tasks.temporal_localization.external import (
    fuse,
    holds_scores,
    read_external_scores,
)
from internvideo.tasks.temporal_localization.measure import Measure, video_classes
from internvideo.tasks.temporal_localization.report import LocalizationReport
from internvideo.tasks.temporal_localization.video_detector import VideoDetector
from internvideo.tasks.temporal_localization.video_task import EncodedVideos
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo.hub import LoadedModel
from internvideo.zoo.load import load_model

__all__ = ["evaluate", "measure", "open_untrimmed", "score"]

ExternalScoresFile: TypeAlias = Annotated[
    str | None, Option("Give segments the likeliest classes of their video, by this json or npy.")
]
Baseline: TypeAlias = Annotated[
    str | None,
    Option("Also measure this classifier, window by window, on the same features."),
]
Overlaps: TypeAlias = Annotated[
    str | None, Option("Overlaps: activitynet, thumos14, ego4d, or numbers such as 0.3,0.5,0.7.")
]
EvaluatorName: TypeAlias = Annotated[
    Evaluator, Option("official counts repeated true segments, those of ActionFormer do not.")
]


def open_untrimmed(data: AnnotatedData, protocol: Preprocessing | None = None) -> AnnotatedVideos:
    """Read untrimmed videos and their segments.

    Raises:
        DataError: the file cannot be used, or has no classes.
        ConfigError: an option that such data do not have.
    """
    del protocol
    return open_segments(
        data, task="temporal localisation", kind="thumos14",
        expected="those of ActivityNet or THUMOS14",
    )  # fmt: skip


def evaluate(
    model: LoadedModel,
    videos: AnnotatedVideos | FeatureVideoSource | UntrimmedSource,
    *,
    loop: EvalLoop,
    features: Features = None,
    feature_stride: FeatureStride = None,
    feature_window: FeatureWindow = None,
    feature_fps: FeatureRate = None,
    feature_name: FeatureName = "{id}",
    external_scores: ExternalScoresFile = None,
    baseline: Baseline = None,
    tiou: Overlaps = None,
    evaluator: EvaluatorName = "official",
    resamples: Resamples = 200,
) -> LocalizationReport:
    """Measure how well a detector finds actions in untrimmed videos, or in their features.

    What stands in the tables of the feature folder need not be given. A detector of one class finds
    when something happens: with scores of whole videos from elsewhere it is measured by classes,
    without as a proposal of any action. A video whose features cannot be read is listed, and its
    true segments count as missed. A classifier is asked window by window, on the features of its
    own encoder; --baseline measures one beside a detector. With --out, `submission.json` can be
    handed in as it is; --predictions scores such a file of any origin, without a model.

    Raises:
        ConfigError: the model is no detector, or nothing says where its features are.
        DataError: the annotations, the features or the scores cannot be used.
    """
    annotated = videos if isinstance(videos, AnnotatedVideos) else videos.annotated
    if isinstance(model.model, VideoDetector):
        if features or baseline or isinstance(videos, FeatureVideoSource):
            raise ConfigError(
                f"{model.name} looks at video, not at features; leave out those and --baseline"
            )
        source = EncodedVideos(annotated, model)
        finder = MomentFinder(source.detector, source)
        loop = replace(loop, num_workers=0)  # reading a video is work for the encoder
    else:
        source = videos
        if not isinstance(source, FeatureVideoSource):
            source = read_by_features(
                annotated, features, stride=feature_stride, window=feature_window,
                rate=feature_fps, name=feature_name, model=model.name,
            )  # fmt: skip
        finder = _finder(model, source)
    how = Measure(tiou=tiou, evaluator=evaluator, resamples=resamples)
    classes = model.labels or num_classes_of(model.model) or 0
    report = measure_finder(
        finder, source, loop=loop, classes=classes, how=how, external_scores=external_scores
    )
    beside = None
    if baseline is not None:
        other = load_model(baseline, device=next(model.model.parameters()).device)
        folder = loop.directory and loop.directory / "baseline"
        beside = evaluate(
            other, source, loop=replace(loop, directory=folder), tiou=tiou, evaluator=evaluator,
            resamples=0,
        )  # fmt: skip
    return replace(report, model=model.name, baseline=beside)


def _finder(model: LoadedModel, source: FeatureVideoSource) -> Answerer[Segments]:
    """Return what finds moments: a detector, or a classifier of windows."""
    kind = WindowClassifier if has(model.model, "classes") else MomentFinder
    return kind(model, source)


def measure(
    model: LoadedModel, source: EvaluationSource, *, loop: EvalLoop, quick: bool
) -> LocalizationReport:
    """Measure in a training run; while it goes on, without interval.

    Raises:
        ConfigError: the data of the evaluation are neither features nor whole videos.
    """
    if not isinstance(source, FeatureVideoSource | UntrimmedSource):
        raise ConfigError(
            "a detector is measured on features or on whole videos: evaluation.data.kind must be "
            "features or untrimmed"
        )
    return evaluate(model, source, loop=loop, resamples=0 if quick else 200)


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
        remarks.append(scores.remark)
    return Measure(tiou=tiou, evaluator=evaluator, resamples=resamples)(
        videos, table, remarks=remarks
    )
