"""State change object detection: average precision, the detector, denoising and its losses."""

from __future__ import annotations

import re

import pytest

from golden.case import Case
from internvideo.tasks.state_change.metric import PictureBoxes, box_ap


def coco(case: Case) -> None:
    given = case.group("input.")
    numbers = sorted({int(name.split(".")[0]) for name in given})
    pictures = [
        PictureBoxes(
            given[f"{n}.gt_xywh"].numpy().reshape(-1, 4),
            given[f"{n}.det_xywh"].numpy().reshape(-1, 4),
            given[f"{n}.det_score"].numpy().reshape(-1),
        )
        for n in numbers
    ]
    measured = box_ap(pictures, limits=case.meta["config"]["maxDets"])
    tolerance = case.tolerance()
    for name, expected in case.group("output.").items():
        actual = _number(measured, name)
        assert actual == pytest.approx(
            expected.item(), rel=tolerance["rtol"], abs=tolerance["atol"], nan_ok=True
        ), name


def _number(measured, name: str) -> float:
    """Return what a stored output is called; the reference says -1 where nothing counts."""
    if match := re.fullmatch(r"AP(?:_all)?_maxdet(\d+)", name):
        value = measured.ap(limit=int(match[1]))
    elif match := re.fullmatch(r"AP(\d\d)", name):
        value = measured.ap(overlap=int(match[1]) / 100)
    elif match := re.fullmatch(r"AR@(\d+)", name):
        value = measured.ar(limit=int(match[1]))
    else:
        kind, size = name.split("_")
        value = {"AP": measured.ap, "AR": measured.ar}[kind](size=size)
    return -1.0 if value != value else value


ADAPTERS = {"ego4d-scod-coco": coco}
