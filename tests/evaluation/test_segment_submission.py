"""The official file of predictions: written, read back, and refused where it cannot be scored."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from internvideo.errors import DataError
from internvideo.evaluation.segment_submission import read_submission, write_submission
from internvideo.evaluation.segments import Segments

VIDEOS, CLASSES = ("a", "b", "c"), ("jump", "swim")


def one(label="jump", score=0.5, segment=(1.0, 2.5)):
    return {"label": label, "score": score, "segment": list(segment)}


def read(path, results, **options):
    path.write_text(json.dumps({"version": "x", "results": results, "external_data": {}}))
    return read_submission(path, VIDEOS, CLASSES, **options)


def test_what_is_written_is_read_back(tmp_path):
    found = {
        "c": Segments(np.array([[0.1, 2], [3, 4.123456]]), np.array([0.9, 1e-6]), np.array([1, 0])),
        "a": Segments.none(),
        "other": Segments(np.array([[5.0, 6]]), np.array([0.25]), np.array([1])),
    }
    path = tmp_path / "new" / "submission.json"
    write_submission(path, found.items(), CLASSES)
    assert json.loads(path.read_text())["results"]["other"] == [one("swim", 0.25, (5, 6))]
    back = read_submission(path, VIDEOS, CLASSES)
    assert back.videos == ("a", "b", "c", "other")
    parts = back.table.by_video(4)
    for name, part in zip(back.videos, parts, strict=True):
        wanted = found.get(name, Segments.none())
        np.testing.assert_array_equal(part.times, wanted.times)
        np.testing.assert_array_equal(part.scores, wanted.scores)
        np.testing.assert_array_equal(part.labels, wanted.labels)


def test_the_order_of_the_file_is_kept_and_other_objects_are_passed_over(tmp_path):
    content = {
        "external_data": {"used": True, "details": one("pretended", 1.0)},
        "detect_results": {"b": [one(score=0.1), one(score=0.7)], "a": [one("swim")]},
    }
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content))
    found = read_submission(path, VIDEOS, CLASSES, key="detect_results")
    assert found.table.videos.tolist() == [1, 1, 0]
    assert found.table.segments.scores.tolist() == [0.1, 0.7, 0.5]


def test_without_segments_it_is_about_whole_videos(tmp_path):
    found = read(tmp_path / "x.json", {"a": [{"label": "swim", "score": 1}]})
    assert found.whole_videos
    assert found.table.segments.times.tolist() == [[0, 1]]


def test_labels_may_mean_nothing(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"results": {"a": [one("proposal"), one(0)]}}))
    assert read_submission(path, VIDEOS, None).table.segments.labels.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({"a": [one(score=float("nan"))]}, "a has the score nan"),
        ({"b": [one(segment=(0, float("inf")))]}, "b has the score 0.5 and the segment [0.0, inf]"),
        ({"a": [one(), {"label": "jump"}]}, "prediction 2 of a is {'label': 'jump'}"),
        ({"a": [one(), 0]}, "prediction 2 of a is 0"),
        ({"a": [one(segment=(1, 2, 3))]}, "prediction 1 of a"),
        ({"a": one(), "b": "none"}, "prediction 1 of b is none"),
        ({"a": [one("jumps"), one("sit")]}, "'jumps', which is none of the 2"),
        ({"a": [one("jumps")]}, "Did you mean 'jump'?"),
        ({"aa": [one()]}, "none of its videos is annotated, such as aa"),
        ({"a": [one(), {"label": "swim", "score": 1}]}, "1 of 2 predictions have no segment"),
    ],
)
def test_what_cannot_be_scored_is_named(tmp_path, results, message):
    with pytest.raises(DataError, match=re.escape(message)):
        read(tmp_path / "x.json", results)


def test_files_without_predictions(tmp_path):
    path = tmp_path / "x.json"
    for text, message in {
        '{"version": "1"}': 'has no "results" (it holds version)',
        "[1, 2]": "it holds list",
        '{"results": ': "not json",
        "": "is empty",
    }.items():
        path.write_text(text)
        with pytest.raises(DataError, match=re.escape(message)):
            read_submission(path, VIDEOS, CLASSES)
    with pytest.raises(DataError, match="no annotation file"):
        read_submission(tmp_path / "gone.json", VIDEOS, CLASSES)
    assert len(read(path, {}).table) == 0
    assert len(read(path, {"unknown": []}).table) == 0
