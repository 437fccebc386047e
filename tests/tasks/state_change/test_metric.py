"""Average precision of boxes, beside what it must be by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from internvideo.tasks.state_change.metric import PictureBoxes, box_ap

BOX = [10.0, 10.0, 40.0, 40.0]
NONE = np.zeros((0, 4))


def picture(true, found, scores=None):
    found = np.array(found, dtype=float).reshape(-1, 4)
    scores = np.linspace(0.9, 0.1, len(found)) if scores is None else np.array(scores)
    return PictureBoxes(np.array(true, dtype=float).reshape(-1, 4), found, scores)


def test_exact_boxes_are_perfect_and_wrong_ones_are_not():
    found = box_ap([picture([BOX], [BOX]), picture([], [])]).headline()
    assert found["AP"] == pytest.approx(1.0)
    assert found["AP_medium"] == pytest.approx(1.0)
    assert np.isnan(found["AP_small"])
    assert box_ap([picture([BOX], [[100, 100, 5, 5]])]).headline()["AP"] == 0.0


def test_a_surer_detection_in_a_picture_without_boxes_costs_precision():
    wrong = picture([], [BOX], [0.99])
    assert box_ap([picture([BOX], [BOX], [0.9]), wrong]).ap() == pytest.approx(0.5)
    assert box_ap([picture([BOX], [BOX], [0.9]), picture([], [BOX], [0.1])]).ap() == pytest.approx(
        1
    )


def test_nothing_found_nothing_true_and_boxes_without_area():
    nothing = box_ap([picture([BOX], [])]).headline()
    assert (nothing["AP"], nothing["AR@100"], nothing["AR_medium"]) == (0.0, 0.0, 0.0)
    assert np.isnan(nothing["AR_small"])
    assert all(np.isnan(each) for each in box_ap([picture([], [BOX])]).headline().values())
    flat = [10.0, 10.0, 0.0, 40.0]
    assert box_ap([picture([BOX, flat], [BOX, flat])]).ar() == pytest.approx(0.5)


def test_only_the_surest_detections_count():
    wrong = [[200.0 + n, 0.0, 3.0, 3.0] for n in range(5)]
    measured = box_ap([picture([BOX], [*wrong, BOX])], limits=(5, 6))
    assert measured.ap(limit=5) == 0.0
    assert measured.ap(limit=6) == pytest.approx(1 / 6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_order_of_pictures_and_scale_of_scores_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    pictures = []
    scores = iter(rng.permutation(99) / 100)  # equal ones would be in the order of the pictures
    for _ in range(4):
        true = rng.uniform(5, 120, (rng.integers(0, 3), 4))
        near = [box + rng.normal(0, 4, 4) for box in true] + [rng.uniform(5, 120, 4)]
        pictures.append(picture(true, np.abs(near), [next(scores) for _ in near]))
    if not sum(len(each.true) for each in pictures):
        return
    whole = box_ap(pictures).precision
    turned = [PictureBoxes(p.true, p.found, p.scores**3) for p in pictures[::-1]]
    np.testing.assert_allclose(box_ap(turned).precision, whole)
