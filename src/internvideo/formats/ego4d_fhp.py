"""Ego4D Future Hand Prediction: where the hands are at five key frames after a clip.

    {"clips": [{"clip_id", "frames": [{"pre_45": {"frame", "path",
        "boxes": [{"left_hand": [x, y]}, {"right_hand": [x, y]}]},
        "pre_30": …, "pre_15": …, "pre_frame": …, "contact_frame": …}]}]}

One record an entry of `frames`: the clip that ends one frame before `pre_45`, with the name
`{clip_id}_{frame of pre_45 - 1}`, in `cropped_clips` below the root. A key frame may have no
`boxes`. Coordinates are pixels of the annotated frame. Answers are `{name: [20 numbers]}`: in each
key frame left x, left y, right x, right y.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from internvideo.annotations import Annotations, BadLine, HandPoint, Track, VideoAnnotation
from internvideo.errors import DataError
from internvideo.formats.files import Collection, is_list, is_mapping, read_json

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = [
    "KEY_FRAMES",
    "looks_like",
    "read",
    "read_answers",
    "records",
    "write",
    "write_answers",
]

KEY_FRAMES = ("pre_45", "pre_30", "pre_15", "pre_frame", "contact_frame")
"""In the order of the answer; `pre_45` is 45 frames before `pre_frame`, and so on."""

_HANDS = ("left_hand", "right_hand")
_FOLDER = "cropped_clips"


def looks_like(file: Glimpse) -> bool:
    """Tell whether a json lists clips whose frames have a `pre_45`."""
    clips = file.json.get("clips")
    first = _mapping(clips[0] if is_list(clips) and clips else None).get("frames")
    return is_list(first) and bool(first) and "pre_45" in _mapping(first[0])


def read(path: Path, root: Path | str) -> Annotations:
    """Read the clips.

    Raises:
        DataError: the file is no json, or has no list `clips`.
    """
    content = read_json(path)
    if not is_mapping(content) or not is_list(content.get("clips")):
        raise DataError(f"{path}: expected a json with a list 'clips', as fho_hands_val.json has")
    return Annotations(
        records=records(content["clips"], str(path)), file=path, root=root,
        description="Ego4D future hands", copying="none",
    )  # fmt: skip


def records(given: list[Any], file: str) -> Iterator[VideoAnnotation | BadLine]:
    """Yield a record for each entry of the clips of a json, or what is wrong with it."""
    line = 0
    for place, clip in enumerate(given, start=1):
        held = _mapping(clip)
        frames: Any = held.get("frames")
        if not is_list(frames) or "clip_id" not in held:
            line += 1
            yield BadLine(line, f"{file}: clip {place} has no clip_id or no list 'frames'")
            continue
        for number, entry in enumerate(frames, start=1):
            line += 1
            try:
                yield _record(held, entry, line)
            except DataError as error:
                what = f"clip {place} ({held['clip_id']}), entry {number}"
                yield BadLine(line, f"{file}: {what}: {error}")


def _record(clip: Mapping[str, Any], entry: Any, line: int) -> VideoAnnotation:
    frame = _mapping(_mapping(entry).get("pre_45")).get("frame")
    if not isinstance(frame, int):
        raise DataError("pre_45 has no frame number; expected {'pre_45': {'frame': 716, …}, …}")
    hands: dict[tuple[int, int], HandPoint] = {}
    for row, key in enumerate(KEY_FRAMES):
        boxes: Any = _mapping(entry.get(key)).get("boxes", [])
        if not is_list(boxes):
            raise DataError(f"{key}: boxes is {boxes!r}; expected a list")
        for box in boxes:
            for hand, (x, y) in _points(box, key):
                hands[row, hand] = HandPoint(key_frame=row, hand=hand, point=(float(x), float(y)))
    name = f"{clip['clip_id']}_{frame - 1}"
    return VideoAnnotation(
        path=f"{_FOLDER}/{name}.mp4", id=name, parent=str(clip.get("clip_uid") or ""),
        hands=tuple(hands.values()), line=line,
    )  # fmt: skip


def _points(box: Any, key: str) -> Iterator[tuple[int, list[float]]]:
    if not _mapping(box).keys() & set(_HANDS):
        raise DataError(f"{key}: {box!r} names neither left_hand nor right_hand")
    for number, hand in enumerate(_HANDS):
        if hand in box:
            point: Any = box[hand]
            if not is_list(point) or len(point) < 2 or not _are_numbers(point[:2]):
                raise DataError(f"{key}: {hand} is {point!r}; expected [x, y] in pixels")
            yield number, point[:2]


def _mapping(value: Any) -> dict[str, Any]:
    return value if is_mapping(value) else {}


def _are_numbers(values: list[Any]) -> bool:
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)


def read_answers(path: Path) -> dict[str, Float[np.ndarray, " 20"]]:
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


def write_answers(path: Path, answers: Mapping[str, Float[np.ndarray, " 20"]]) -> None:
    """Write a submission."""
    rows = {name: [round(float(value), 3) for value in row] for name, row in answers.items()}
    path.write_text(json.dumps(rows) + "\n", encoding="utf-8")


def write(data: Collection) -> list[Path]:
    """Write `fho_hands_{split}.json`, as `read` reads it.

    Objects stand for hands: of those that are seen in the first frame after the clip, the one that
    is furthest to the left and the one that is furthest to the right; a single one is the left hand
    where it is in the left half. The key frames are spread over the rest of the tracks.
    """
    written = []
    for split in data.layout.splits:
        clips = [_clip(video, data.layout.shown) for video in data.of(split)]
        text = json.dumps({"version": "1.0", "split": split, "clips": clips}, indent=1)
        written.append(data.write_text(f"fho_hands_{split}.json", (text, "\n")))
    return written


def _clip(video: VideoAnnotation, shown: float) -> dict[str, Any]:
    assert video.size is not None
    assert video.num_frames is not None
    first, last = round(video.num_frames * shown), video.num_frames - 1
    seen = [track for track in video.tracks if track.boxes[first] is not None]
    seen.sort(key=lambda track: _centre(track, first)[0])
    hands = {_HANDS[0]: seen[:1], _HANDS[1]: seen[-1:]}
    if len(seen) == 1:
        is_left = _centre(seen[0], first)[0] < video.size[0] / 2
        hands.pop(_HANDS[1] if is_left else _HANDS[0])
    entry: dict[str, Any] = {}
    for row, key in enumerate(KEY_FRAMES):
        frame = first + round((last - first) * row / (len(KEY_FRAMES) - 1))
        boxes = [
            {name: _centre(track, frame)}
            for name, held in hands.items()
            for track in held
            if track.boxes[frame] is not None
        ]
        entry[key] = {"frame": frame, "path": f"{video.id}/{frame}.jpg", "boxes": boxes}
    uid = f"world-{video.id}"
    return {"clip_id": int(video.id), "clip_uid": uid, "video_uid": uid, "frames": [entry]}


def _centre(track: Track, frame: int) -> list[float]:
    box = track.boxes[frame]
    assert box is not None
    return [round((box[0] + box[2]) / 2, 2), round((box[1] + box[3]) / 2, 2)]
