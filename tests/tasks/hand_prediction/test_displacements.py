"""Displacements of hands, and the files of the challenge."""

from __future__ import annotations

import json

import numpy as np
import pytest

from internvideo.errors import DataError
from internvideo.tasks.hand_prediction.metric import displacements
from internvideo.tasks.hand_prediction.reading import read_clips, read_predictions, write


def test_only_annotated_hands_count():
    target = np.zeros((2, 20))
    target[0, :2] = (30, 40)  # left hand in the first key frame
    target[1, 18:] = (10, 10)  # right hand at contact
    found = displacements(np.zeros((2, 20)), target)
    assert found["left_mean"] == 50
    assert found["right_mean"] == found["right_contact"] == pytest.approx(200**0.5)
    assert np.isnan(found["left_contact"])


def test_without_any_hand_there_is_no_number():
    assert all(np.isnan(value) for value in displacements(*np.zeros((2, 3, 20))).values())


def test_malformed_entries_are_named_and_the_others_are_read(tmp_path):
    good = {"pre_45": {"frame": 7, "path": "x", "boxes": [{"left_hand": [1, 2]}]}}
    bad = {"pre_45": {"frame": 9, "path": "x", "boxes": [{"left_hand": ["a", 2]}]}}
    path = tmp_path / "hands.json"
    path.write_text(json.dumps({"clips": [{"clip_id": 4, "frames": [good, bad, {}]}, {}]}))
    clips, faults = read_clips(path)
    assert [clip.name for clip in clips] == ["4_6"]
    assert clips[0].hands[0, 0].tolist() == [1, 2]
    assert len(faults) == 3
    assert "clip 1 (4), entry 2: pre_45: left_hand is ['a', 2]" in faults[0]
    path.write_text("{}")
    with pytest.raises(DataError, match="list 'clips'"):
        read_clips(path)


def test_a_submission_comes_back(tmp_path):
    path = tmp_path / "answers.json"
    write(path, {"4_6": np.arange(20.0)})
    assert read_predictions(path)["4_6"].tolist() == list(range(20))
    path.write_text('{"4_6": [1, 2]}')
    with pytest.raises(DataError, match="4_6 does not have 20"):
        read_predictions(path)
