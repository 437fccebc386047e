"""Displacements of hands."""

from __future__ import annotations

import numpy as np
import pytest

from internvideo.annotations import HandPoint, VideoAnnotation
from internvideo.tasks.hand_prediction.metric import displacements, targets_of


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


def test_targets_are_in_the_order_of_the_answer():
    point = HandPoint(key_frame=4, hand=1, point=(3.0, 7.0))
    targets = targets_of(VideoAnnotation(path="a.mp4", hands=(point,)))
    assert targets[18:].tolist() == [3, 7]
    assert not targets[:18].any()
