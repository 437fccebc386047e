"""Top-k average precision of objects that are about to be touched: where, what, how and when.

A detection is right if it overlaps a true box enough and also has its noun, verb or time to
contact, whichever are asked for. As not every object is annotated, a picture with g true boxes has
its first (k - 1) g wrong detections left out.

Source: Grauman et al. (2022), Ego4D, arXiv 2110.07058, appendix on short-term anticipation
(fixture `ego4d-sta-metrics`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from internvideo.annotations import NextContact

__all__ = ["HEADLINE", "Contacts", "Part", "Picture", "average_precision", "headline", "overlaps"]

Part = Literal["noun", "verb", "ttc"]

HEADLINE: dict[str, tuple[Part, ...]] = {
    "noun": ("noun",),
    "noun+verb": ("noun", "verb"),
    "noun+ttc": ("noun", "ttc"),
    "all": ("noun", "verb", "ttc"),
}
"""The columns of the challenge and what must be right beside the box; "all" ranks the entries."""


@dataclass(frozen=True, eq=False, slots=True)
class Contacts:
    """Objects of a picture.

    Attributes:
        boxes: left, top, right and bottom in pixels, the last ones included.
        nouns: class of the object.
        verbs: class of what will be done with it.
        ttcs: seconds until it is touched.
    """

    boxes: Float[np.ndarray, "n 4"]
    nouns: Int[np.ndarray, " n"]
    verbs: Int[np.ndarray, " n"]
    ttcs: Float[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def of(cls, given: Sequence[NextContact]) -> Contacts:
        """Return objects as arrays; an unknown verb is -1, an unknown time NaN."""
        return cls(
            np.reshape(np.array([each.box for each in given], dtype=float), (-1, 4)),
            np.array([each.noun for each in given], dtype=int),
            np.array([-1 if each.verb is None else each.verb for each in given], dtype=int),
            np.array([np.nan if each.seconds is None else each.seconds for each in given]),
        )


@dataclass(frozen=True, eq=False, slots=True)
class Picture:
    """A picture as it is annotated and as it was answered; `scores` are of the detections."""

    true: Contacts
    found: Contacts
    scores: Float[np.ndarray, " m"]

    @classmethod
    def of(cls, true: Sequence[NextContact], found: Sequence[NextContact]) -> Picture:
        """Return a picture of annotated and detected objects."""
        scores = np.array([each.score for each in found], dtype=float)
        return cls(Contacts.of(true), Contacts.of(found), scores)


def overlaps(
    boxes: Float[np.ndarray, "m 4"], others: Float[np.ndarray, "n 4"]
) -> Float[np.ndarray, "m n"]:
    """Return intersection over union of boxes whose last pixels are included."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.maximum(high - low + 1, 0).prod(axis=-1)
    areas, other_areas = ((each[:, 2:] - each[:, :2] + 1).prod(axis=1) for each in (boxes, others))
    union = areas[:, None] + other_areas[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared, dtype=float), where=union > 0)


def average_precision(
    pictures: Sequence[Picture],
    parts: Sequence[Part] = (),
    *,
    by_noun: bool = False,
    top_k: int = 5,
    overlap: float = 0.5,
    ttc_tolerance: float = 0.25,
    strict: bool = False,
    count_all_classes: bool = False,
) -> float:
    """Return the average precision in percent; NaN where there is nothing to find.

    Args:
        pictures: annotations and detections.
        parts: what must be right beside the box.
        by_noun: mean over the nouns, each by its own detections, instead of all at once.
        top_k: 1 counts every wrong detection.
        overlap: a box is right above it.
        ttc_tolerance: seconds by which the time to contact may be off.
        strict: COMPAT: the official evaluation leaves the true boxes of a picture without any
            detection out of the recall; strict counts them.
        count_all_classes: nouns that are only detected count with a precision of 0, too.
    """
    right: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    nouns: list[np.ndarray] = []
    true_nouns: list[np.ndarray] = []
    for picture in pictures:
        if not len(picture.found) and not strict:
            continue
        order = np.argsort(-picture.scores, kind="stable")
        hits = _hits(picture, order, parts, overlap, ttc_tolerance)
        left = hits | (np.cumsum(~hits) > (top_k - 1) * len(picture.true))
        right.append(hits[left])
        scores.append(picture.scores[order][left])
        nouns.append(picture.found.nouns[order][left])
        true_nouns.append(picture.true.nouns)
    if not right:
        return float("nan")
    hit, score, noun, true = map(np.concatenate, (right, scores, nouns, true_nouns))
    if not by_noun:
        return 100 * _area(hit, score, len(true))
    classes = np.unique(np.concatenate([true, noun]) if count_all_classes else true)
    values = [_area(hit[noun == c], score[noun == c], int((true == c).sum())) for c in classes]
    if count_all_classes:
        values = [0.0 if value != value else value for value in values]
    return 100 * float(np.mean(values)) if values else float("nan")


def headline(
    pictures: Sequence[Picture], *, top_k: int = 5, strict: bool = False
) -> dict[str, float]:
    """Return the mean average precisions over nouns, in percent, by the names of `HEADLINE`."""
    return {
        name: average_precision(pictures, parts, by_noun=True, top_k=top_k, strict=strict)
        for name, parts in HEADLINE.items()
    }


def _hits(
    picture: Picture, order: np.ndarray, parts: Sequence[Part], overlap: float, tolerance: float
) -> Bool[np.ndarray, " m"]:
    """Tell which detections are right; the surest takes the true box that it overlaps most."""
    true, found = picture.true, picture.found
    ious = overlaps(found.boxes, true.boxes)
    fits = ious > overlap
    if "noun" in parts:
        fits &= found.nouns[:, None] == true.nouns[None]
    if "verb" in parts:
        fits &= found.verbs[:, None] == true.verbs[None]
    if "ttc" in parts:
        fits &= np.abs(found.ttcs[:, None] - true.ttcs[None]) <= tolerance
    hits = np.zeros(len(order), dtype=bool)
    for place, index in enumerate(order):
        if fits[index].any():
            best = int(np.argmax(np.where(fits[index], ious[index], -1.0)))
            fits[:, best] = False
            hits[place] = True
    return hits


def _area(hits: np.ndarray, scores: np.ndarray, num_true: int) -> float:
    """Return the area below the falling envelope of precision over recall."""
    if not num_true:
        return float("nan")
    hits = hits[np.argsort(-scores, kind="stable")]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[hits].sum() / num_true)
