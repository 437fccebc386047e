"""Frame mAP: the official evaluation of AVA, on all detections at once.

Of each picture and class a detection stands for the true box that it overlaps most, and hits it if
the overlap is large enough and no surer detection has it already. Average precision is the area
under the precision made monotone, class by class over all pictures.

Source: the PASCAL evaluation of the ActivityNet challenge for AVA (`ava_evaluation`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from internvideo.formats.box_rows import BoxRows

__all__ = ["FrameAP", "frame_ap"]

_PAIRS = 1 << 18  # detection and true box, compared at once


@dataclass(frozen=True, slots=True)
class FrameAP:
    """Average precision of each class, and what it was measured on.

    Attributes:
        classes: ids, in the order that was asked for.
        average_precision: from 0 to 1; NaN of a class without true boxes.
        num_true: true boxes of each class.
        num_found: detections of each class that have an area.
        num_images: pictures with a true box or a detection.
    """

    classes: tuple[int, ...]
    average_precision: Float[np.ndarray, " k"]
    num_true: Int[np.ndarray, " k"]
    num_found: Int[np.ndarray, " k"]
    num_images: int

    @property
    def mean(self) -> float:
        """The mean over the classes with true boxes, from 0 to 1; 0 where there are none."""
        known = self.average_precision[~np.isnan(self.average_precision)]
        return float(known.mean()) if len(known) else 0.0


def frame_ap(
    truth: BoxRows,
    found: BoxRows,
    classes: Sequence[int],
    *,
    excluded: frozenset[str] = frozenset(),
    overlap: float = 0.5,
) -> FrameAP:
    """Return the average precision of detections.

    Detections of equal score are in the order of the official evaluator with a stable sort: of one
    picture the later row takes a true box first, and of the whole the later picture comes first.

    Args:
        truth: true boxes.
        found: detections; `values` are their scores.
        classes: ids of the classes that count; rows of others are left out.
        excluded: keys of pictures that are left out of both.
        overlap: least intersection over union of a hit.
    """
    number = {action: place for place, action in enumerate(classes)}
    images: dict[str, int] = {}
    # of the detections first: among equal scores the order of their pictures counts
    f_image, f_class, f_rows = _counted(found, number, excluded, images)
    t_image, t_class, t_rows = _counted(truth, number, excluded, images)
    sides = found.boxes
    sized = (sides[f_rows, 3] > sides[f_rows, 1]) & (sides[f_rows, 2] > sides[f_rows, 0])
    f_image, f_class, f_rows = f_image[sized], f_class[sized], f_rows[sized]
    scores = found.values[f_rows]
    # within a picture and class: by score, of equal ones the later row first
    keys = f_image.astype(np.int64) * len(classes) + f_class
    order = np.lexsort((-f_rows, -scores, keys))
    true_keys = t_image.astype(np.int64) * len(classes) + t_class
    hits = np.zeros(len(scores), np.bool_)
    hits[order] = _hits(
        keys[order], sides, f_rows[order], true_keys, truth.boxes[t_rows], overlap=overlap
    )
    del keys, order
    num_true = np.bincount(t_class, minlength=len(classes))
    num_found = np.bincount(f_class, minlength=len(classes))
    # of a class: by score, of equal ones the later picture first, then the earlier row
    ranked = np.lexsort((f_rows, -f_image, -scores, f_class))
    ends = np.cumsum(num_found)
    precision = np.array(
        [
            _average_precision(hits[ranked[end - count : end]], int(true))
            for end, count, true in zip(ends, num_found, num_true, strict=True)
        ]
    )
    return FrameAP(tuple(classes), precision, num_true, num_found, len(images))


def _counted(
    rows: BoxRows, number: dict[int, int], excluded: frozenset[str], images: dict[str, int]
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Return picture, class and row of what counts; new pictures are added to `images`."""
    if not len(rows):
        none = np.zeros(0, np.int64)
        return none, none, none
    lookup = np.full(int(max(rows.actions.max(), max(number, default=0))) + 1, -1, np.int32)
    lookup[list(number)] = list(number.values())
    kept_images = np.array([name not in excluded for name in rows.images])
    label = np.where(rows.actions >= 0, lookup[np.maximum(rows.actions, 0)], -1)
    kept = np.flatnonzero((label >= 0) & kept_images[rows.image])
    _, first = np.unique(rows.image[kept], return_index=True)
    own = np.full(len(rows.images), -1, np.int32)
    places: list[int] = rows.image[kept[np.sort(first)]].tolist()
    for place in places:
        own[place] = images.setdefault(rows.images[place], len(images))
    return own[rows.image[kept]], label[kept], kept


def _hits(
    keys: Int[np.ndarray, " n"],
    boxes: Float[np.ndarray, "r 4"],
    rows: Int[np.ndarray, " n"],
    true_keys: Int[np.ndarray, " m"],
    true_boxes: Float[np.ndarray, "m 4"],
    *,
    overlap: float,
) -> Bool[np.ndarray, " n"]:
    """Tell which detections, the surest of each picture and class first, hit a true box."""
    by_key = np.argsort(true_keys, kind="stable")
    true_keys, true_boxes = true_keys[by_key], true_boxes[by_key]
    starts = np.searchsorted(true_keys, keys, side="left")
    counts = np.searchsorted(true_keys, keys, side="right") - starts
    best = np.full(len(keys), -1, np.int64)
    asked = np.flatnonzero(counts)
    ends = np.cumsum(counts[asked])
    first = 0
    while first < len(asked):
        done = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, done + _PAIRS, side="right")), first + 1)
        part = asked[first:last]
        best[part] = _most_overlapping(
            boxes[rows[part]], true_boxes, starts[part], counts[part], overlap=overlap
        )
        first = last
    hits = np.zeros(len(keys), np.bool_)
    claiming = np.flatnonzero(best >= 0)
    _, winners = np.unique(best[claiming], return_index=True)
    hits[claiming[winners]] = True
    return hits


def _most_overlapping(
    boxes: Float[np.ndarray, "n 4"],
    true_boxes: Float[np.ndarray, "m 4"],
    starts: Int[np.ndarray, " n"],
    counts: Int[np.ndarray, " n"],
    *,
    overlap: float,
) -> Int[np.ndarray, " n"]:
    """Return which true box each detection overlaps most, the first of several; -1: too little."""
    begins = np.cumsum(counts) - counts
    own = np.repeat(np.arange(len(boxes)), counts)
    true = np.arange(int(counts.sum())) - np.repeat(begins - starts, counts)
    mine, theirs = boxes[own], true_boxes[true]
    sides = np.minimum(mine[:, 2:], theirs[:, 2:]) - np.maximum(mine[:, :2], theirs[:, :2])
    shared = np.prod(np.maximum(sides, 0.0), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    true_area = np.prod(theirs[:, 2:] - theirs[:, :2], axis=1)
    iou = shared / (areas[own] + true_area - shared)
    highest = np.maximum.reduceat(iou, begins)
    is_best = np.flatnonzero(iou == highest[own])
    _, firsts = np.unique(own[is_best], return_index=True)
    return np.where(highest >= overlap, true[is_best[firsts]], -1)


def _average_precision(hits: Bool[np.ndarray, " n"], num_true: int) -> float:
    """Return the area under precision over recall, the precision made monotone from the right."""
    if num_true == 0:
        return float("nan")
    right = np.cumsum(hits)
    precision = right / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(precision[hits].sum() / num_true)
