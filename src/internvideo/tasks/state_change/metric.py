"""Average precision of boxes by the rules of COCO, for one category; `faster-coco-eval` counts.

The headline AP (overlaps 0.50 to 0.95) is at the smallest number of detections a picture, all other
APs are at the largest, as the published evaluation of SCOD has it (fixture `ego4d-scod-coco`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from internvideo.errors import require

__all__ = ["LIMITS", "BoxAP", "PictureBoxes", "box_ap"]

LIMITS = (100, 300, 1000)
"""How many detections of a picture count."""

_OVERLAPS = np.linspace(0.5, 0.95, 10)
_SIZES = ("all", "small", "medium", "large")


@dataclass(frozen=True, eq=False, slots=True)
class PictureBoxes:
    """What is in a picture, and what was found there; boxes are left, top, width, height in pixels.

    Attributes:
        true: the boxes of the annotation.
        found: the detections.
        scores: of the detections.
    """

    true: Float[np.ndarray, "n 4"]
    found: Float[np.ndarray, "m 4"]
    scores: Float[np.ndarray, " m"]


@dataclass(frozen=True, eq=False, slots=True)
class BoxAP:
    """Precisions and recalls from 0 to 1; NaN where no true box has the size.

    Attributes:
        limits: numbers of detections a picture, ascending.
        precision: mean over recalls, by overlap, size of the true box, and limit.
        recall: the largest, likewise.
    """

    limits: tuple[int, ...]
    precision: Float[np.ndarray, "10 4 limits"]
    recall: Float[np.ndarray, "10 4 limits"]

    def ap(
        self, *, overlap: float | None = None, size: str = "all", limit: int | None = None
    ) -> float:
        """Return the mean average precision, or that of one overlap.

        Args:
            overlap: 0.5, 0.55 … 0.95; None is the mean over them.
            size: "all", "small" (less than 32² pixels), "medium" or "large" (96² and more).
            limit: of detections a picture; None is the largest.
        """
        return self._mean(self.precision, overlap, size, limit)

    def ar(self, *, size: str = "all", limit: int | None = None) -> float:
        """Return the mean over overlaps of the share of true boxes that are found."""
        return self._mean(self.recall, None, size, limit)

    def _mean(
        self, values: np.ndarray, overlap: float | None, size: str, limit: int | None
    ) -> float:
        column = -1 if limit is None else self.limits.index(limit)
        row = values[:, _SIZES.index(size), column]
        if overlap is not None:
            row = row[np.isclose(_OVERLAPS, overlap)]
        return float(row.mean())

    def headline(self) -> dict[str, float]:
        """Return what the published table has, under its names, from 0 to 1."""
        sizes = _SIZES[1:]
        return {
            "AP": self.ap(limit=self.limits[0]),
            "AP50": self.ap(overlap=0.5),
            "AP75": self.ap(overlap=0.75),
            **{f"AP_{size}": self.ap(size=size) for size in sizes},
            **{f"AR@{limit}": self.ar(limit=limit) for limit in self.limits},
            **{f"AR_{size}": self.ar(size=size) for size in sizes},
        }


def box_ap(pictures: Sequence[PictureBoxes], *, limits: Sequence[int] = LIMITS) -> BoxAP:
    """Return the average precision of detections.

    A picture without true boxes counts by its detections, which are all wrong; without any true box
    in all pictures every number is NaN. A true box without area is one that only a detection
    without area could hit, so it costs recall.

    Args:
        pictures: true boxes and detections.
        limits: how many of the surest detections of a picture count.

    Raises:
        MissingExtraError: `faster-coco-eval` is not installed.
    """
    module = "faster_coco_eval.core"
    coco = require(f"{module}.coco", extra="detection").COCO
    evaluator = require(f"{module}.faster_eval_api", extra="detection").COCOeval_faster
    numbered = list(enumerate(pictures, start=1))
    boxes = [(number, box) for number, each in numbered for box in each.true.tolist()]
    truth: dict[str, Any] = {
        "info": {},
        "images": [{"id": number} for number, _ in numbered],
        "categories": [{"id": 1, "name": "object"}],
        "annotations": [
            {"id": place, "image_id": number, "category_id": 1, "bbox": box,
             "area": box[2] * box[3], "iscrowd": 0}
            for place, (number, box) in enumerate(boxes, start=1)
        ],
    }  # fmt: skip
    found = [
        {"image_id": number, "category_id": 1, "bbox": box, "score": score}
        for number, each in numbered
        for box, score in zip(each.found.tolist(), each.scores.tolist(), strict=True)
    ]
    ordered = tuple(sorted(limits))
    if not boxes:
        nothing = np.full((len(_OVERLAPS), len(_SIZES), len(ordered)), np.nan)
        return BoxAP(ordered, nothing, nothing)
    if not found:  # the evaluator takes no empty list, and this one hits nothing
        found = [{"image_id": 1, "category_id": 1, "bbox": [0.0, 0.0, 0.0, 0.0], "score": 0.0}]
    held: Any = coco(truth)
    measure: Any = evaluator(held, held.loadRes(found), "bbox")
    measure.params.maxDets = list(ordered)
    measure.evaluate()
    measure.accumulate()
    # axes: overlap, recall, category, size, limit; -1 where there is no true box
    precision, recall = measure.eval["precision"][:, :, 0], measure.eval["recall"][:, 0]
    return BoxAP(ordered, _known(precision).mean(axis=1), _known(recall))


def _known(values: np.ndarray) -> np.ndarray:
    return np.where(values < 0, np.nan, values)
