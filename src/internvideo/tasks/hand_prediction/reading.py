"""Annotations and answers of Ego4D Future Hand Prediction, as the challenge has them.

    {"clips": [{"clip_id", "frames": [{"pre_45": {"frame", "path",
        "boxes": [{"left_hand": [x, y]}, {"right_hand": [x, y]}]},
        "pre_30": …, "pre_15": …, "pre_frame": …, "contact_frame": …}]}]}

A key frame may have no `boxes`. An answer is `{"{clip_id}_{frame of pre_45 - 1}": [20 numbers]}`.
Coordinates are pixels of the annotated frame.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from internvideo.errors import DataError
from internvideo.formats.files import is_list, is_mapping, read_json

__all__ = ["KEY_FRAMES", "HandClip", "hand_clips", "read_clips", "read_predictions", "write"]

KEY_FRAMES = ("pre_45", "pre_30", "pre_15", "pre_frame", "contact_frame")
"""In the order of the answer; `pre_45` is 45 frames before `pre_frame`, and so on."""

_HANDS = ("left_hand", "right_hand")


@dataclass(frozen=True, eq=False, slots=True)
class HandClip:
    """What is to be predicted for a clip.

    Attributes:
        name: `{clip_id}_{frame}` with the last frame of the clip that is seen.
        hands: key frame, hand (left, right), x and y in pixels; zeros where it is not annotated.
    """

    name: str
    hands: Float[np.ndarray, "5 2 2"]


def read_clips(path: Path) -> tuple[list[HandClip], list[str]]:
    """Return the clips of an annotation file, and what is wrong with the other entries.

    Raises:
        DataError: the file is no json, or has no list `clips`.
    """
    content = read_json(path)
    if not is_mapping(content) or not is_list(content.get("clips")):
        raise DataError(f"{path}: expected a json with a list 'clips', as fho_hands_val.json has")
    clips: list[HandClip] = []
    faults: list[str] = []
    for each in hand_clips(content["clips"]):
        if isinstance(each, HandClip):
            clips.append(each)
        else:
            faults.append(f"{path}: {each}")
    return clips, faults


def hand_clips(given: list[Any]) -> Iterator[HandClip | str]:
    """Yield a clip for each of its `frames`, or what is wrong with an entry."""
    for place, clip in enumerate(given, start=1):
        held = _mapping(clip)
        frames: Any = held.get("frames")
        if not is_list(frames) or "clip_id" not in held:
            yield f"clip {place} has no clip_id or no list 'frames'"
            continue
        for number, entry in enumerate(frames, start=1):
            try:
                yield _clip(held["clip_id"], entry)
            except DataError as error:
                yield f"clip {place} ({held['clip_id']}), entry {number}: {error}"


def _clip(clip: Any, entry: Any) -> HandClip:
    frame = _mapping(_mapping(entry).get("pre_45")).get("frame")
    if not isinstance(frame, int):
        raise DataError("pre_45 has no frame number; expected {'pre_45': {'frame': 716, …}, …}")
    hands = np.zeros((len(KEY_FRAMES), len(_HANDS), 2))
    for row, key in enumerate(KEY_FRAMES):
        boxes: Any = _mapping(entry.get(key)).get("boxes", [])
        if not is_list(boxes):
            raise DataError(f"{key}: boxes is {boxes!r}; expected a list")
        for box in boxes:
            for hand, point in _points(box, key):
                hands[row, _HANDS.index(hand)] = point
    return HandClip(f"{clip}_{frame - 1}", hands)


def _points(box: Any, key: str) -> Iterator[tuple[str, list[float]]]:
    if not _mapping(box).keys() & set(_HANDS):
        raise DataError(f"{key}: {box!r} names neither left_hand nor right_hand")
    for hand in _HANDS:
        if hand in box:
            point: Any = box[hand]
            if not is_list(point) or len(point) < 2 or not _are_numbers(point[:2]):
                raise DataError(f"{key}: {hand} is {point!r}; expected [x, y] in pixels")
            yield hand, point[:2]


def _mapping(value: Any) -> dict[str, Any]:
    return value if is_mapping(value) else {}


def _are_numbers(values: list[Any]) -> bool:
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)


def read_predictions(path: Path) -> dict[str, Float[np.ndarray, " 20"]]:
    """Return the answers of a submission by the name of the clip.

    Raises:
        DataError: the file is no mapping of names to 20 numbers.
    """
    content = read_json(path)
    if not is_mapping(content):
        raise DataError(f"{path}: expected a json with 20 numbers a clip, {{'12_715': [...]}}")
    for name, row in content.items():
        if not is_list(row) or len(row) != 20 or not _are_numbers(row):
            raise DataError(f"{path}: {name} does not have 20 finite numbers")
    return {name: np.array(row, dtype=float) for name, row in content.items()}


def write(path: Path, predictions: Mapping[str, Float[np.ndarray, " 20"]]) -> None:
    """Write a submission."""
    rows = {name: [float(value) for value in row] for name, row in predictions.items()}
    path.write_text(json.dumps(rows) + "\n", encoding="utf-8")
