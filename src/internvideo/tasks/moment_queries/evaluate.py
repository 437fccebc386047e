"""Measure how well named moments are found in clips, or score what another program has found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from internvideo.data.feature_videos import AnnotatedVideos, FeatureVideoSource
from internvideo.errors import ConfigError
from internvideo.evaluation.data import AnnotatedData, open_segments
from internvideo.evaluation.engine import Answerer, EvalLoop
from internvideo.evaluation.moment_finder import MomentFinder
from internvideo.evaluation.report import failures_of
from internvideo.evaluation.segment_protocol import own_numbers
from internvideo.evaluation.segments import Segments
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
from internvideo.tasks.moment_queries.baseline import detections, retrievals
from internvideo.tasks.moment_queries.finding import SimilarMoments, read_sentences
from internvideo.tasks.moment_queries.report import MomentQueriesReport, measured
from internvideo.tasks.moment_queries.submission import Answers, read_answers, write_answers
from internvideo.tasks.task import Option
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo.hub import LoadedModel

__all__ = ["evaluate", "open_moments", "score"]

PostProcessing: TypeAlias = Literal["detector", "ego4d"]
"""How candidates become answers: as the detector does it, or as the baseline of Ego4D."""

_SUBMISSION = "submission.json"
_CANDIDATES = 2000


def open_moments(data: AnnotatedData, protocol: Preprocessing | None = None) -> AnnotatedVideos:
    """Read clips and their named moments.

    Raises:
        DataError: the file cannot be used, or names no classes.
        ConfigError: an option that such data do not have.
    """
    del protocol
    expected = "Ego4D's moments_val.json"
    return open_segments(data, task="moment queries", kind="ego4d-mq", expected=expected)


def evaluate(
    model: LoadedModel,
    videos: AnnotatedVideos | FeatureVideoSource,
    *,
    loop: EvalLoop,
    features: Features = None,
    feature_stride: FeatureStride = None,
    feature_window: FeatureWindow = None,
    feature_fps: FeatureRate = None,
    feature_name: FeatureName = "{id}",
    post_processing: Annotated[
        PostProcessing,
        Option(
            "ego4d: as the official baseline does it; retrieval then sees which classes a clip has."
        ),
    ] = "detector",
    threshold: Annotated[
        float, Option("Without a detector: probability of a class that makes a window its own.")
    ] = 0.01,
    sentences: Annotated[
        Path | None,
        Option('Without a detector: json of sentences on the classes, {"CLASS": ["…", …]}.'),
    ] = None,
    resamples: Resamples = 200,
) -> MomentQueriesReport:
    """Measure how well a model finds the named moments of clips, by Ego4D's official rules.

    The average mAP over the overlaps 0.1 to 0.5, and recall@kx: the share of the moments that are
    among the first k·x of their class in their clip. A detector comes from a recipe such as
    ego4d-mq_actionformer-egovlp; a model with two towers needs no training, and finds windows that
    are like the name of a class. With --out, `submission.json` can be handed in to the challenge;
    --predictions scores such a file without a model.

    Raises:
        ConfigError: no features, others than those of the model, or one that finds no moments.
        DataError: the features cannot be found.
    """
    if isinstance(videos, AnnotatedVideos):
        videos = read_by_features(
            videos, features, stride=feature_stride, window=feature_window,
            rate=feature_fps, name=feature_name, model=model.name,
        )  # fmt: skip
    annotated, candidates = videos.annotated, post_processing == "ego4d"
    names = annotated.class_names or ()
    finder, classes = _finder(
        model, videos, threshold=threshold, sentences=sentences, candidates=candidates
    )
    numbers = own_numbers(classes, annotated)
    answered = loop.run(finder, videos)
    detected = [Segments.none()] * len(videos)
    retrieved = list(detected)
    for each in answered:
        if each.answer is None:
            continue
        labels = numbers[each.answer.labels]
        found = Segments(each.answer.times, each.answer.scores, labels)[labels >= 0].by_score()
        if candidates:
            video = annotated.videos[each.index]
            end = video.duration or float("inf")
            found = found[:_CANDIDATES]
            asked = {segment.label for segment in video.segments if segment.label is not None}
            detected[each.index] = detections(found, end)
            retrieved[each.index] = retrievals(found, asked, end)
        else:
            detected[each.index] = retrieved[each.index] = found
    answers = Answers.of(detected, retrieved)
    failures = failures_of(answered)
    remarks: list[str] = []
    if failures:
        remarks.append("the moments of clips that cannot be read count as missed")
    if loop.directory is not None and loop.is_first:
        keys = [videos.key(place) for place in range(len(videos))]
        write_answers(loop.directory / _SUBMISSION, keys, answers, names)
        remarks.append(f"{loop.directory / _SUBMISSION} is what the challenge takes")
    report = measured(annotated, answers, resamples=resamples, remarks=remarks)
    return replace(
        report,
        failures=failures,
        num_clips=len(answered) - len(failures),
        model=model.name,
        protocol=f"Ego4D's official rules, {post_processing} post-processing",
    )


def _finder(
    model: LoadedModel,
    source: FeatureVideoSource,
    *,
    threshold: float,
    sentences: Path | None,
    candidates: bool,
) -> tuple[Answerer[Segments], Sequence[str] | int]:
    """Return what finds moments, and what it calls their classes.

    Raises:
        ConfigError: the model finds none.
    """
    if has(model.model, "moments"):
        selection = model.model.config.selection
        if candidates:
            selection = replace(selection, method="none")
        finder = MomentFinder(model, source, selection)
        return finder, model.labels or num_classes_of(model.model) or 0
    if has(model.model, "text"):
        names = source.annotated.class_names or ()
        spoken = read_sentences(sentences, names)
        return SimilarMoments(model, source, spoken, threshold=threshold), names
    raise ConfigError(
        f"{model.name} finds no moments; give a detector, such as one that the recipe "
        "ego4d-mq_actionformer-egovlp trained, or a model with a text tower, such as viclip-nano"
    )


def score(
    data: AnnotatedData, predictions: Path, *, resamples: Resamples = 200
) -> MomentQueriesReport:
    """Score a submission to the challenge of Ego4D's moment queries.

    Raises:
        DataError: the annotations or the submission cannot be used, or do not belong together.
    """
    videos = open_moments(data)
    names = [each.id or each.path for each in videos.videos]
    answers = read_answers(predictions, names, videos.class_names or ())
    answered = set(answers.retrieved.videos.tolist())
    silent = [name for place, name in enumerate(names) if place not in answered]
    remarks: list[str] = []
    if silent:
        remarks.append(
            f"{len(silent)} clips have no retrieved moments, such as {silent[0]}; theirs count as "
            "missed, where the official evaluator stops"
        )
    report = measured(videos, answers, resamples=resamples, remarks=remarks)
    return replace(report, protocol="Ego4D's official rules")
