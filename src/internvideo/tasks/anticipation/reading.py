"""Annotations and answers of Ego4D Short-Term Anticipation, as the challenge has them.

    {"annotations": [{"uid", "video_id", "frame", "objects": [{"box": [left, top, right, bottom],
        "noun_category_id", "verb_category_id", "time_to_contact"}]}]}
    {"version", "challenge", "results": {uid: [the same, with "score"]}}

Boxes are in pixels of the original frame, times in seconds.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from internvideo.errors import DataError
from internvideo.formats.files import is_list, is_mapping, read_json
from internvideo.tasks.anticipation.metric import Contacts, Picture

__all__ = ["read_pictures"]

_NUMBERS = ("noun_category_id", "verb_category_id", "time_to_contact")


def read_pictures(annotations: Path, predictions: Path) -> tuple[list[Picture], list[str]]:
    """Return the annotated pictures with their answers, and what could not be used.

    An object that is malformed, or whose box has no area, is named and left out. A picture that
    has no answer is named, and has no detections.

    Raises:
        DataError: a file is not such a json.
    """
    content, answers = read_json(annotations), read_json(predictions)
    if not is_mapping(content) or not is_list(content.get("annotations")):
        raise DataError(
            f"{annotations}: expected a json with a list 'annotations', as fho_sta_val.json has"
        )
    if not is_mapping(answers) or not is_mapping(answers.get("results")):
        raise DataError(f"{predictions}: expected a json with 'results': {{uid: [detections]}}")
    results = dict(answers["results"])
    pictures: list[Picture] = []
    faults: list[str] = []
    for place, entry in enumerate(content["annotations"], start=1):
        if not is_mapping(entry) or not isinstance(entry.get("uid"), str):
            faults.append(f"{annotations}: annotation {place} has no uid")
            continue
        uid = entry["uid"]
        true, _ = _contacts(entry.get("objects"), f"{annotations}: {uid}", (), faults)
        if uid not in results:
            faults.append(f"{predictions}: {uid} has no answer")
        given = results.pop(uid, [])
        found, scores = _contacts(given, f"{predictions}: {uid}", ("score",), faults)
        pictures.append(Picture(true, found, scores))
    faults += [f"{predictions}: {uid} is not annotated" for uid in results]
    return pictures, faults


def _contacts(
    given: Any, where: str, more: tuple[str, ...], faults: list[str]
) -> tuple[Contacts, np.ndarray]:
    """Return objects and the last number of each: its score, if it is asked for."""
    rows: list[list[float]] = []
    if not is_list(given):
        faults.append(f"{where}: its objects are {given!r}; expected a list")
        given = []
    for place, each in enumerate(given, start=1):
        held: dict[str, Any] = each if is_mapping(each) else {}
        box: Any = held.get("box")
        values: list[Any] = [held.get(name) for name in (*_NUMBERS, *more)]
        if not is_list(box) or len(box) != 4 or not all(map(_is_number, (*box, *values))):
            faults.append(f"{where}: object {place} is {each!r}; expected box, noun, verb and time")
        elif box[2] <= box[0] or box[3] <= box[1]:
            faults.append(f"{where}: object {place}: the box {box} has no area")
        else:
            rows.append([*map(float, box), *map(float, values)])
    table = np.reshape(np.array(rows, dtype=float), (len(rows), 4 + len(_NUMBERS) + len(more)))
    nouns, verbs = table[:, 4].astype(int), table[:, 5].astype(int)
    return Contacts(table[:, :4], nouns, verbs, table[:, 6]), table[:, -1]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
