"""Queries of annotated videos, and what is odd about them."""

from __future__ import annotations

import json
import logging

import pytest

from internvideo.annotations import Segment, VideoAnnotation
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.data import AnnotatedData
from internvideo.tasks.language_queries.queries import (
    Query,
    check_words,
    open_queries,
    queries_of,
    question,
)


def nlq_file(path, *queries, duration=60.0):
    """Write queries (text, start, end) about one clip as Ego4D does."""
    asked = [
        {"query": text, "clip_start_sec": start, "clip_end_sec": end}
        for text, start, end in queries
    ]
    annotations = [{"annotation_uid": "uid", "language_queries": asked}]
    clip = {"clip_uid": "clip", "video_start_sec": 0.0, "video_end_sec": duration,
            "annotations": annotations}  # fmt: skip
    path.write_text(json.dumps({"videos": [{"video_uid": "video", "clips": [clip]}]}))
    return AnnotatedData(path=str(path))


def test_every_sentence_of_a_segment_is_a_query():
    video = VideoAnnotation(
        path="a.mp4",
        duration=9.0,
        segments=(
            Segment(start=1.0, end=2.0, captions=("one", "two"), id="x/0"),
            Segment(start=4.0, captions=("to the end",)),
            Segment(start=0.0, captions=("untimed",), id="x/1"),
            Segment(start=1.0, end=2.0, label=3),
        ),
    )
    assert queries_of(video) == (
        Query("a.mp4", 0, "one", (1.0, 2.0), "x/0"),
        Query("a.mp4", 1, "two", (1.0, 2.0), "x/0"),
        Query("a.mp4", 2, "to the end", (4.0, 9.0)),
        Query("a.mp4", 3, "untimed", None, "x/1"),
    )


@pytest.mark.parametrize("text", [" Where is it??", "where is it", "WHERE IS IT?"])
def test_questions_are_written_as_by_the_baseline(text):
    assert question(text) == "where is it?"


@pytest.mark.parametrize("text", ["", "  ", "?", "…"])
def test_a_query_without_words_is_refused(text):
    with pytest.raises(ConfigError, match="no words"):
        check_words(text)


def test_odd_queries_are_warned_of_and_kept(tmp_path, caplog):
    data = nlq_file(tmp_path / "a.json", ("Where?", 50.0, 70.0), ("", 1, 2), ("What?", 1, 2))
    with caplog.at_level(logging.WARNING):
        videos = open_queries(data)
    assert len(queries_of(videos.videos[0])) == 2
    assert "1 queries reach beyond" in caplog.text
    assert "ends at 70 s, the video at 60 s" in caplog.text
    assert "1 queries cannot be used" in caplog.text


def test_a_list_without_queries_is_refused(tmp_path):
    path = tmp_path / "a.json"
    annotations = [{"label": "dig", "segment": [1, 2]}]
    path.write_text(json.dumps({"database": {"a": {"annotations": annotations}}}))
    with pytest.raises(DataError, match="no sentences"):
        open_queries(AnnotatedData(path=str(path)))
    with pytest.raises(ConfigError, match="world"):
        open_queries(AnnotatedData(path="world"))
