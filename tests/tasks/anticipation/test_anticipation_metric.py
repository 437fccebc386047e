"""Top-k average precision of anticipated contacts."""

from __future__ import annotations

import numpy as np
import pytest

from internvideo.tasks.anticipation.metric import (
    Contacts,
    Picture,
    average_precision,
    headline,
    overlaps,
)


def contacts(boxes: list[list[float]], ttc: float = 1.0) -> Contacts:
    n = len(boxes)
    ones = np.ones(n, dtype=int)
    return Contacts(np.array(boxes, dtype=float).reshape(-1, 4), ones, ones, np.full(n, ttc))


BOX, FAR = [10.0, 10, 19, 19], [60.0, 60, 79, 79]


def test_what_is_annotated_scores_all():
    picture = Picture(contacts([BOX, FAR]), contacts([BOX, FAR]), np.array([0.9, 0.8]))
    assert set(headline([picture]).values()) == {100.0}


def test_a_late_contact_is_wrong_where_time_is_asked_for():
    picture = Picture(contacts([BOX]), contacts([BOX], ttc=1.3), np.array([0.9]))
    assert headline([picture]) == {"noun": 100, "noun+verb": 100, "noun+ttc": 0, "all": 0}


@pytest.mark.parametrize(("top_k", "expected"), [(1, 50.0), (2, 100.0)])
def test_the_first_wrong_detections_are_left_out(top_k, expected):
    picture = Picture(contacts([BOX]), contacts([FAR, BOX]), np.array([0.9, 0.8]))
    assert average_precision([picture], top_k=top_k) == expected


def test_an_unanswered_picture_costs_recall_only_where_strict():
    answered = Picture(contacts([BOX]), contacts([BOX]), np.array([0.9]))
    silent = Picture(contacts([BOX]), contacts([]), np.zeros(0))
    assert average_precision([answered, silent]) == 100
    assert average_precision([answered, silent], strict=True) == 50
    assert average_precision([silent], strict=True) == 0


def test_without_true_boxes_there_is_no_number():
    empty = Picture(contacts([]), contacts([BOX]), np.array([0.9]))
    assert np.isnan(list(headline([empty]).values())).all()
    assert np.isnan(average_precision([]))


def test_a_box_of_one_pixel_has_area():
    point = np.array([[5.0, 5, 5, 5]])
    assert overlaps(point, point).tolist() == [[1.0]]
