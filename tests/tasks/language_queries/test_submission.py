"""Answers as the file of the challenge."""

from __future__ import annotations

import json

import pytest

from internvideo.errors import DataError
from internvideo.tasks.language_queries.queries import Query
from internvideo.tasks.language_queries.report import Spans
from internvideo.tasks.language_queries.submission import read_submission, write_submission

ONE = Query("clip", 0, "where?", (1.0, 2.0), "uid/3")
OTHER = Query("video.mp4", 7, "a person runs", (0.0, 1.0))
SPANS = Spans(((1.5, 2.5), (0.0, 9.0)), (0.5, 0.25))


def _file(path, *results, **header):
    header = {"version": "1.0", "challenge": "ego4d_nlq_challenge", **header}
    path.write_text(json.dumps({**header, "results": results}))
    return path


def _result(**changes):
    result = {"clip_uid": "clip", "annotation_uid": "uid", "query_idx": 3,
              "predicted_times": [[0.0, 1.0]]}  # fmt: skip
    return {**result, **changes}


def test_the_file_has_the_names_of_the_challenge(tmp_path):
    write_submission(tmp_path / "a.json", [(ONE, SPANS)])
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "version": "1.0",
        "challenge": "ego4d_nlq_challenge",
        "results": [_result(predicted_times=[[1.5, 2.5], [0.0, 9.0]])],
    }


def test_what_is_written_is_read_back(tmp_path):
    write_submission(tmp_path / "a.json", [(ONE, SPANS), (OTHER, SPANS)])
    answers = read_submission(tmp_path / "a.json", [OTHER, ONE])
    assert {query: found.times for query, found in answers.items()} == {
        ONE: SPANS.times,
        OTHER: SPANS.times,
    }


@pytest.mark.parametrize(
    ("results", "named"),
    [
        ([_result(query_idx=4)], "query 4 of annotation uid of clip clip"),
        ([_result(), _result()], "a second time"),
        ([_result(predicted_times=[1.0, 2.0])], "pairs of seconds"),
        ([_result(predicted_times=[["a", 2.0]])], "pairs of seconds"),
        ([_result(predicted_times=[[float("nan"), 2.0]])], "pairs of seconds"),
        ([{"clip_uid": "clip"}], "annotation_uid"),
    ],
)
def test_a_result_that_cannot_be_scored_is_named(tmp_path, results, named):
    with pytest.raises(DataError, match=named):
        read_submission(_file(tmp_path / "a.json", *results), [ONE])


def test_another_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"challenge is 'other'.*ego4d_nlq_challenge"):
        read_submission(_file(tmp_path / "a.json", challenge="other"), [ONE])
    (tmp_path / "b.json").write_text("[]")
    with pytest.raises(DataError, match="no submission"):
        read_submission(tmp_path / "b.json", [ONE])
    with pytest.raises(DataError, match="no file of predictions"):
        read_submission(tmp_path / "c.json", [ONE])
