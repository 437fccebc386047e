"""Classes of whole videos from elsewhere."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from internvideo.errors import DataError
from internvideo.evaluation.segments import Segments
from internvideo.tasks.temporal_localization.external import (
    fuse,
    holds_scores,
    read_external_scores,
)
from internvideo.zoo.labels import label_names

CLASSES = ("jump", "swim", "yoga")


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def test_probabilities_stay_and_logits_become_a_softmax(tmp_path):
    logits = [2.0, -1.0, 0.5]
    content = {"results": {"a": [0.2, 0.7, 0.1], "b": [logits], "unasked": [1, 2]}}
    found = read_external_scores(write(tmp_path / "x.json", content), ["a", "b"], CLASSES)
    assert found.of("a").tolist() == [0.2, 0.7, 0.1]
    np.testing.assert_allclose(found.of("b"), np.exp(logits) / np.exp(logits).sum())
    assert (sorted(found.rows), found.num_changed) == (["a", "b"], 1)
    with pytest.raises(DataError, match="no scores of c"):
        found.of("c")
    plain = read_external_scores(write(tmp_path / "x.json", content["results"]), ["a"], CLASSES)
    assert plain.of("a").tolist() == [0.2, 0.7, 0.1]


def test_labels_with_scores(tmp_path):
    content = {"results": {"a": [{"label": "yoga", "score": 0.9}, {"label": "jump", "score": 0.1}]}}
    path = write(tmp_path / "x.json", content)
    assert read_external_scores(path, ["a"], CLASSES).of("a").tolist() == [0.1, 0, 0.9]
    assert not holds_scores(path)
    with pytest.raises(DataError, match=r"'yoga', which is none .* Did you mean 'yogi'"):
        read_external_scores(path, ["a"], ("yogi", "jump"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"results": {"ab": [1, 0, 0]}}, "no scores of a (1 of 1 videos are missing)"),
        ({"results": {"a": [1, 0]}}, "expected 3 finite numbers"),
        ({"results": {"a": [1, 0, None]}}, "expected 3 finite numbers"),
        ({"results": {"a": ["x", "y", "z"]}}, "expected one number a class"),
        ({"results": {"a": []}}, "expected 3 finite numbers"),
        ({"results": []}, "has no scores"),
        ([], "has no scores"),
    ],
)
def test_what_is_missing_is_named(tmp_path, content, message):
    with pytest.raises(DataError, match=re.escape(message)):
        read_external_scores(write(tmp_path / "x.json", content), ["a"], CLASSES)


def test_an_array_has_the_video_n_in_row_n_and_may_have_all_classes_of_ucf101(tmp_path):
    names = label_names("ucf101/official")
    table = np.zeros((3, 101))
    table[1, names.index("Diving")], table[1, names.index("GolfSwing")] = 1.2, 0.2
    table[1, names.index("Archery")] = 0.6
    np.save(tmp_path / "x.npy", table)
    found = read_external_scores(
        tmp_path / "x.npy", ["video_test_0000002"], ("Diving", "golf swing")
    )
    np.testing.assert_allclose(found.of("video_test_0000002"), [0.6, 0.1])
    assert found.others["video_test_0000002"] == pytest.approx(0.3)
    with pytest.raises(DataError, match="no scores of video_test_0000004"):
        read_external_scores(tmp_path / "x.npy", ["video_test_0000004"], ("Diving",))
    with pytest.raises(DataError, match="expected rows of 2 scores"):
        read_external_scores(tmp_path / "x.npy", ["video_test_0000001"], ("Diving", "Snoring"))
    np.save(tmp_path / "own.npy", np.full((1, 2), 0.5, np.float32))
    own = read_external_scores(tmp_path / "own.npy", ["v1"], ("Diving", "Snoring"))
    assert own.of("v1").tolist() == [0.5, 0.5]
    (tmp_path / "bad.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match="cannot be read as an array"):
        read_external_scores(tmp_path / "bad.npy", ["v1"], ("Diving",))


def test_the_surest_segments_get_the_two_likeliest_classes():
    times = np.array([[0.0, 1], [2, 3], [4, 5]])
    found = Segments(times, np.array([0.25, 0.81, 0.01]), np.zeros(3, np.int64))
    fused = fuse(found, np.array([0.04, 0.64, 0.32]), most=2)
    assert fused.labels.tolist() == [1, 1, 2, 2]
    assert fused.times.tolist() == [[2, 3], [0, 1]] * 2
    np.testing.assert_allclose(fused.scores, np.sqrt([0.64 * 0.81, 0.16, 0.32 * 0.81, 0.08]))
    assert len(fuse(Segments.none(), np.array([1.0, 0.0]))) == 0


def test_scores_of_classes_are_told_from_predictions(tmp_path):
    assert holds_scores(write(tmp_path / "a.json", {"results": {"v": [[0.5, 0.5]]}}))
    assert holds_scores(write(tmp_path / "b.json", {"v": [-0.5, 0.5]}))
    segment = {"label": "a", "score": 1, "segment": [0.5, 0.7]}
    assert not holds_scores(write(tmp_path / "c.json", {"results": {"v": [segment]}}))
