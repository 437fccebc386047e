"""Frame mAP: by definition, in any order, on real files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from internvideo.formats.box_rows import BoxRows, read_label_map, read_rows
from internvideo.tasks.action_detection import metric
from internvideo.tasks.action_detection.metric import frame_ap

REAL = Path(__file__).parents[4] / "shared" / "real" / "detection"
BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


def rows(*found):
    """Return rows of (image, box, action, value)."""
    names = tuple(dict.fromkeys(image for image, *_ in found))
    return BoxRows(
        names,
        np.array([names.index(image) for image, *_ in found], np.int32),
        np.array([box for _, box, *_ in found], np.float64).reshape(-1, 4),
        np.array([action for _, _, action, _ in found], np.int32),
        np.array([value for *_, value in found], np.float64),
        np.arange(len(found)),
    )


BOX, MOVED, FAR = (0.1, 0.1, 0.5, 0.5), (0.12, 0.1, 0.52, 0.5), (0.6, 0.6, 0.9, 0.9)


def test_a_true_box_is_hit_once_and_a_second_best_is_no_fallback():
    truth = rows(("a", BOX, 1, 0), ("a", FAR, 1, 0))
    found = rows(("a", BOX, 1, 0.9), ("a", MOVED, 1, 0.8), ("a", FAR, 1, 0.7))
    assert frame_ap(truth, found, [1]).mean == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_pictures_without_truth_count_and_those_excluded_do_not():
    truth = rows(("a", BOX, 1, 0), ("b", BOX, 1, 0))
    found = rows(("c", BOX, 1, 0.95), ("a", BOX, 1, 0.9), ("b", BOX, 1, 0.8))
    assert frame_ap(truth, found, [1]).mean == pytest.approx(2 / 3)
    assert frame_ap(truth, found, [1], excluded=frozenset("c")).mean == 1.0
    assert frame_ap(truth, found, [1], excluded=frozenset("bc")).mean == 1.0


def test_classes_without_truth_are_unknown_and_those_not_found_are_zero():
    truth = rows(("a", BOX, 1, 0), ("a", BOX, 3, 0), ("a", BOX, 99, 0))
    found = rows(("a", BOX, 1, 0.9), ("a", BOX, 2, 0.9), ("a", BOX, 77, 1.0))
    measured = frame_ap(truth, found, [1, 2, 3])
    np.testing.assert_array_equal(measured.average_precision, [1, np.nan, 0])
    assert measured.mean == 0.5
    assert measured.num_found.tolist() == [1, 1, 0]
    assert frame_ap(truth, rows(), [1]).mean == 0.0


def test_boxes_without_area_find_nothing_and_cost_nothing():
    truth = rows(("a", BOX, 1, 0))
    flat = (0.1, 0.1, 0.1, 0.5)
    assert frame_ap(truth, rows(("a", flat, 1, 0.9), ("a", BOX, 1, 0.8)), [1]).mean == 1.0


boxes = st.tuples(
    st.sampled_from("abc"),
    st.builds(
        lambda x, y, w, h: (x / 8, y / 8, (x + w) / 8, (y + h) / 8),
        *[st.integers(0, 5)] * 2,
        *[st.integers(1, 3)] * 2,
    ),
    st.integers(1, 3),
    st.integers(0, 40).map(lambda value: value / 40),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(boxes, min_size=1, max_size=12), st.lists(boxes, max_size=30), st.integers(1, 50))
def test_it_is_the_definition_whatever_is_compared_at_once(true, found, pairs):
    truth, detections = rows(*true), rows(*found)
    expected = by_definition(true, found)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metric, "_PAIRS", pairs)
        measured = frame_ap(truth, detections, [1, 2, 3]).average_precision
    np.testing.assert_allclose(measured, expected, rtol=0, atol=1e-12)


def by_definition(true, found):
    """Return the same one detection after the other, ties in the order of the official code."""
    values = []
    for action in (1, 2, 3):
        ranked = []
        for image in dict.fromkeys(image for image, _, each, _ in found if each in (1, 2, 3)):
            own = [(s, box) for i, box, a, s in found if (i, a) == (image, action)]
            theirs = [box for i, box, a, _ in true if (i, a) == (image, action)]
            order = np.argsort([score for score, _ in own], kind="stable")[::-1]
            taken = set()
            for place in order:
                overlaps = [overlap(own[place][1], box) for box in theirs]
                best = int(np.argmax(overlaps)) if overlaps else -1
                hit = best >= 0 and overlaps[best] >= 0.5 and best not in taken
                taken |= {best} if hit else set()
                ranked.append((own[place][0], hit))
        number = sum(a == action for _, _, a, _ in true)
        order = np.argsort([score for score, _ in ranked], kind="stable")[::-1]
        hits = np.array([ranked[place][1] for place in order], bool)
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        best_after = [precision[place:].max() for place in range(len(hits))]
        area = sum(each for each, hit in zip(best_after, hits, strict=True) if hit)
        values.append(area / number if number else np.nan)
    return values


def overlap(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


def test_the_benchmark_compares_what_is_equal(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import detection_map

    files = detection_map.write_data(tmp_path, 2_000)
    plain = detection_map.plain(*files)
    np.testing.assert_allclose(detection_map.ours(*files), plain, rtol=0, atol=1e-9)
    assert 0 < np.nanmean(plain) < 1


@pytest.mark.skipif(not REAL.is_dir(), reason="the real files are not here")
def test_real_predictions():
    classes = list(read_label_map(REAL / "eval_action_list.txt"))
    truth, found = read_rows(REAL / "gt.csv"), read_rows(REAL / "pred.csv", scored=True)
    assert frame_ap(truth, found, classes).mean == pytest.approx(0.09385522, abs=5e-9)
