"""Spatio-temporal action detection: boxes, windows, transforms, network, frame mAP."""

from __future__ import annotations

import csv
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from golden.case import Case
from internvideo.formats import box_rows
from internvideo.tasks.action_detection import boxes as box_ops
from internvideo.tasks.action_detection.metric import frame_ap


def metrics(case: Case) -> None:
    if "output.csv" in case.tensors:
        _results(case)
        return
    tolerance = case.meta["tolerance"]
    close = tolerance if isinstance(tolerance, float) else 1e-9
    classes = case.tensors["input.class_ids"].tolist()
    with TemporaryDirectory() as name:
        files: dict[str, Path] = {}
        for key in ("gt_csv", "det_csv", "labelmap_pbtxt", "exclusion_csv"):
            files[key] = Path(name) / key.replace("_", ".")
            files[key].write_bytes(case.tensors[f"input.{key}"].numpy().tobytes())
        label_map = box_rows.read_label_map(files["labelmap_pbtxt"])
        truth = box_rows.read_rows(files["gt_csv"])
        found = box_rows.read_rows(files["det_csv"], scored=True)
        excluded = box_rows.read_excluded(files["exclusion_csv"])
    assert set(classes) <= set(label_map)
    measured = frame_ap(
        truth, found, classes, excluded=excluded, overlap=case.meta["config"]["iou"]
    )
    expected = case.tensors["output.ap"].numpy()
    np.testing.assert_allclose(measured.average_precision, expected, rtol=0, atol=close)
    assert measured.mean == pytest.approx(float(case.tensors["output.map"]), abs=close)


def _results(case: Case) -> None:
    """From boxes in resized frames and scores to the bytes of a result file."""
    counts = case.tensors["input.num_boxes"].tolist()
    movies, stamps = case.meta["config"]["movies"], case.tensors["input.timestamp"].tolist()
    parts = zip(
        movies,
        stamps,
        case.tensors["input.boxes"].split(counts),
        case.tensors["input.scores"].split(counts),
        case.tensors["input.frame_wh"].tolist(),
        case.tensors["input.video_wh"].tolist(),
        strict=True,
    )
    rows = []
    for movie, stamp, boxes, scores, frame, video in parts:
        own = box_ops.to_fractions(box_ops.resize(boxes, tuple(frame), tuple(video)), tuple(video))
        for box, values in zip(own.tolist(), scores.tolist(), strict=True):
            rows += [
                (movie, stamp, box, place + 1, value)
                for place, value in enumerate(values)
                if value >= case.meta["config"]["action_threshold"]
            ]
    with TemporaryDirectory() as name:
        box_rows.write_results(Path(name) / "result.csv", rows)
        written = (Path(name) / "result.csv").read_bytes()
    expected = case.tensors["output.csv"].numpy().tobytes()
    assert written.count(b"\r\n") == expected.count(b"\r\n") == written.count(b"\n")
    pairs = zip(
        csv.reader(written.decode().splitlines()),
        csv.reader(expected.decode().splitlines()),
        strict=True,
    )
    for own, theirs in pairs:
        assert (own[:2], own[6]) == (theirs[:2], theirs[6])
        assert [float(each) for each in own[2:6]] == pytest.approx(
            [float(each) for each in theirs[2:6]], abs=1.01e-5
        )
        assert float(own[7]) == pytest.approx(float(theirs[7]), abs=1.01e-5)


ADAPTERS = {"metrics-ava": metrics}
