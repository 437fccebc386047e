"""Measure how well a model finds what queries ask for, or score what another one has found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from internvideo.data.feature_videos import AnnotatedVideos
from internvideo.evaluation.data import AnnotatedData
from internvideo.tasks.language_queries.queries import Query, open_queries, queries_of
from internvideo.tasks.language_queries.report import LanguageQueriesReport, Spans
from internvideo.tasks.language_queries.submission import read_submission

__all__ = ["report_of", "score"]


def score(data: AnnotatedData, predictions: Path) -> LanguageQueriesReport:
    """Score a submission to the challenge of Ego4D's language queries.

    Raises:
        DataError: the annotations or the submission cannot be used, or do not belong together.
    """
    videos = open_queries(data)
    queries = [query for video in videos.videos for query in queries_of(video)]
    return report_of(videos, read_submission(predictions, queries))


def report_of(videos: AnnotatedVideos, answers: Mapping[Query, Spans]) -> LanguageQueriesReport:
    """Return the report on answers to the queries of annotated videos."""
    queries = [query for video in videos.videos for query in queries_of(video)]
    return LanguageQueriesReport(
        queries=tuple(query for query in queries if query.times is not None),
        answers=answers,
        num_untimed=sum(query.times is None for query in answers),
    )
