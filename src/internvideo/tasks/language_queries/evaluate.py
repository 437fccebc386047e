"""Measure how well a model finds what queries ask for, or score what another one has found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from internvideo.data.feature_videos import AnnotatedVideos, FeatureVideoSource
from internvideo.data.samples import EvaluationSource
from internvideo.evaluation.data import AnnotatedData
from internvideo.evaluation.engine import EvalLoop
from internvideo.evaluation.report import failures_of
from internvideo.tasks.features import (
    FeatureName,
    FeatureRate,
    Features,
    FeatureStride,
    FeatureWindow,
    read_by_features,
)
from internvideo.tasks.language_queries.clips import feature_source
from internvideo.tasks.language_queries.finding import QueryFinder, finder_for
from internvideo.tasks.language_queries.queries import Query, open_queries, queries_of
from internvideo.tasks.language_queries.report import LanguageQueriesReport, Spans
from internvideo.tasks.language_queries.submission import read_submission, write_submission
from internvideo.tasks.task import Option
from internvideo.zoo.hub import LoadedModel

__all__ = ["evaluate", "measure", "score"]

_TOP_K = 5
_THRESHOLD = 0.5


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
    threshold: Annotated[
        float, Option("Without a trained model: 0 finds all of a video, 1 its likest window.")
    ] = _THRESHOLD,
    submission: Annotated[
        Path | None, Option("Write the answers into this file, as Ego4D's challenge takes them.")
    ] = None,
) -> LanguageQueriesReport:
    """Measure how often a model finds the part of a video that a sentence asks for.

    R@1 and R@5 by the official rules of Ego4D's language queries, on features that were extracted
    before. A model with two towers finds windows that are like the sentence, a VSLNet what it has
    learnt. --predictions scores a file of answers without a model.

    Raises:
        ConfigError: no features, others than those of the model, or a model that reads no text.
        DataError: the features cannot be found.
    """
    if isinstance(videos, AnnotatedVideos):
        videos = read_by_features(
            videos, features, stride=feature_stride, window=feature_window,
            rate=feature_fps, name=feature_name, model=model.name,
        )  # fmt: skip
    finder = finder_for(model, top_k=_TOP_K, threshold=threshold, source=videos)
    return _measured(model, finder, videos, loop, submission=submission)


def measure(
    model: LoadedModel, source: EvaluationSource, *, loop: EvalLoop, quick: bool
) -> LanguageQueriesReport:
    """Measure a model in its training."""
    del quick
    videos = feature_source(source)
    finder = finder_for(model, top_k=_TOP_K, threshold=_THRESHOLD, source=videos)
    return _measured(model, finder, videos, loop)


def score(data: AnnotatedData, predictions: Path) -> LanguageQueriesReport:
    """Score a submission to the challenge of Ego4D's language queries.

    Raises:
        DataError: the annotations or the submission cannot be used, or do not belong together.
    """
    videos = open_queries(data)
    queries = [query for video in videos.videos for query in queries_of(video)]
    return _report(videos, read_submission(predictions, queries))


def _measured(
    model: LoadedModel,
    finder: QueryFinder,
    source: FeatureVideoSource,
    loop: EvalLoop,
    *,
    submission: Path | None = None,
) -> LanguageQueriesReport:
    answered = loop.run(finder, source)
    answers: dict[Query, Spans] = {}
    for each in answered:
        if each.answer is not None:
            queries = queries_of(source.annotated.videos[each.index])
            answers |= dict(zip(queries, each.answer, strict=True))
    if submission is not None and loop.is_first:
        write_submission(submission, answers.items())
    report = _report(source.annotated, answers)
    return replace(
        report,
        failures=failures_of(answered),
        protocol=finder.describe(),
        model=model.name,
    )


def _report(videos: AnnotatedVideos, answers: Mapping[Query, Spans]) -> LanguageQueriesReport:
    queries = [query for video in videos.videos for query in queries_of(video)]
    return LanguageQueriesReport(
        queries=tuple(query for query in queries if query.times is not None),
        answers=answers,
        num_untimed=sum(query.times is None for query in answers),
    )
