"""Ego4D State Change Object Detection: the object that changes, as a box in a key frame.

    {"images": [{"id", "file_name", "width", "height"}],
     "annotations": [{"id", "image_id", "category_id", "bbox": [left, top, width, height]}],
     "categories": [{"id", "name": "object_of_change"}]}

These are the lists of COCO in which InternVideo-Ego4D publishes the annotations; any other such
list of boxes is read as well. One record an image, with or without boxes; a box is at the time 0 of
it. Answers are a list of `{"image_id", "category_id", "bbox", "score"}`.

An image may also name a video, with the `time` of its key frame in seconds (a key of ours): then no
picture has to be cut out of it before.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internvideo.annotations import ActorBox, Annotations, BadLine, Segment, VideoAnnotation
from internvideo.errors import DataError
from internvideo.formats.files import Collection, read_json

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["CLASS", "key_time", "looks_like", "pixel_box", "read", "write"]

CLASS = "object_of_change"
_LISTS = ("images", "annotations", "categories")


def looks_like(file: Glimpse) -> bool:
    """Tell whether a json lists images, categories, and boxes with one category each."""
    images, boxes, classes = (file.json.get(name) for name in _LISTS)
    if not (isinstance(images, list) and isinstance(boxes, list) and isinstance(classes, list)):
        return False
    first = next((each for each in boxes if isinstance(each, dict)), {"bbox": (), "category_id": 0})
    return bool(images) and "file_name" in images[0] and {"bbox", "category_id"} <= first.keys()


def read(path: Path, root: Path | str) -> Annotations:
    """Read the pictures; they are below `root` by their `file_name`.

    A box without area, outside of every picture or without a class is a line that cannot be used;
    one without area is tolerated, as the published reader leaves it out in training.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(content.get(n), list) for n in _LISTS):
        raise DataError(
            f"{path}: expected a json with the lists {', '.join(_LISTS)}, as COCO has them"
        )
    try:
        named = sorted((int(each["id"]), str(each["name"])) for each in content["categories"])
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{path}: a category has no id or no name") from None
    labels = {number: place for place, (number, _) in enumerate(named)}
    boxes: dict[Any, list[tuple[int, Mapping[str, Any]]]] = {}
    for place, each in enumerate(content["annotations"], start=1):
        boxes.setdefault(each.get("image_id"), []).append((place, each))

    def records() -> Iterator[VideoAnnotation | BadLine]:
        for place, image in enumerate(content["images"], start=1):
            held = boxes.pop(image.get("id"), [])
            try:
                size, time = _picture(image, f"{path}: image {place}")
            except DataError as error:
                yield BadLine(place, str(error))
                continue
            found: list[ActorBox] = []
            for number, each in held:
                box = _box(each, labels, size, time or 0.0, f"{path}: annotation {number}")
                if isinstance(box, ActorBox):
                    found.append(box)
                else:
                    message, tolerated = box
                    yield BadLine(place, message, tolerated=tolerated)
            yield VideoAnnotation(
                path=str(image["file_name"]),
                id=str(image["id"]),
                size=size,
                segments=() if time is None else (Segment(start=time, end=time),),
                boxes=tuple(found),
                line=place,
            )
        for image, lost in boxes.items():
            message = (
                f"{path}: annotation {lost[0][0]} is of the image {image!r}, which is not there"
            )
            yield BadLine(lost[0][0], message)

    return Annotations(
        records=records(), file=path, root=root, description="Ego4D state change objects",
        class_names=tuple(name for _, name in named), copying="none",
    )  # fmt: skip


def key_time(video: VideoAnnotation) -> float:
    """Return the time of the key frame in seconds; 0 of a picture."""
    return video.segments[0].start if video.segments else 0.0


def pixel_box(box: ActorBox, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return left, top, width and height in pixels of a picture (width, height)."""
    x1, y1, x2, y2 = box.box
    return (x1 * size[0], y1 * size[1], (x2 - x1) * size[0], (y2 - y1) * size[1])


def _picture(image: Mapping[str, Any], where: str) -> tuple[tuple[int, int], float | None]:
    """Return width and height of a picture, and the time of a key frame, if it is one."""
    if not image.get("file_name") or "id" not in image:
        raise DataError(f"{where} has no file_name or no id")
    size = (image.get("width"), image.get("height"))
    if not all(isinstance(each, int) and each > 0 for each in size):
        raise DataError(f"{where}: its size is {size[0]} x {size[1]}; expected width and height")
    time = image.get("time")
    if time is not None and (not isinstance(time, int | float) or not 0 <= time < math.inf):
        raise DataError(f"{where}: time is {time!r}; expected seconds")
    return size, None if time is None else float(time)  # type: ignore[return-value]


def _box(
    given: Mapping[str, Any],
    labels: Mapping[Any, int],
    size: tuple[int, int],
    time: float,
    where: str,
) -> ActorBox | tuple[str, bool]:
    """Return a box, or what is wrong with it and whether that is tolerated."""
    sides, category = given.get("bbox"), given.get("category_id")
    if not isinstance(sides, Sequence) or len(sides) != 4 or not all(map(_is_number, sides)):
        return f"{where}: bbox is {sides!r}; expected [left, top, width, height] in pixels", False
    if category not in labels:
        return f"{where}: category_id {category!r} is none of the categories", False
    left, top, width, height = map(float, sides)
    if width <= 0 or height <= 0:
        return f"{where}: the box {sides} has no area", True
    if left >= size[0] or top >= size[1] or left + width <= 0 or top + height <= 0:
        return f"{where}: the box {sides} is outside of the picture {size[0]} x {size[1]}", False
    box = (left / size[0], top / size[1], (left + width) / size[0], (top + height) / size[1])
    return ActorBox(time=time, box=box, labels=(labels[category],))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def write(data: Collection) -> list[Path]:
    """Write `{split}.json`, as `read` reads them.

    Of videos in which it is said who does what at several moments, each moment is a key frame, and
    whoever is not still is an object of change.
    """
    written = []
    for split in data.layout.splits:
        images: list[dict[str, Any]] = []
        boxes: list[dict[str, Any]] = []
        for video in data.of(split):
            assert video.size is not None
            for time, held in _moments(video, data.classes):
                alone = video.id.isdecimal() and not _has_moments(video)
                number = int(video.id) if alone else len(images) + 1
                image = {"id": number, "file_name": video.path}
                image |= {"width": video.size[0], "height": video.size[1]}
                images.append(image if time is None else {**image, "time": time})
                for box in held:
                    sides = [round(side, 6) for side in pixel_box(box, video.size)]
                    boxes.append(
                        {"id": len(boxes) + 1, "image_id": number, "category_id": 1,
                         "bbox": sides, "area": round(sides[2] * sides[3], 6), "iscrowd": 0}
                    )  # fmt: skip
        content = dict(zip(_LISTS, (images, boxes, [{"id": 1, "name": CLASS}]), strict=True))
        written.append(data.write_text(f"{split}.json", (json.dumps(content, indent=1), "\n")))
    return written


def _has_moments(video: VideoAnnotation) -> bool:
    return video.duration is not None


def _moments(
    video: VideoAnnotation, classes: Sequence[str]
) -> Iterator[tuple[float | None, list[ActorBox]]]:
    """Yield each key frame with its objects of change; the time of a picture is None."""
    if not _has_moments(video):
        yield (key_time(video) if video.segments else None), list(video.boxes)
        return
    for time in sorted({box.time for box in video.boxes}):
        held = [box for box in video.boxes if box.time == time]
        yield time, [box for box in held if any(classes[n] != "still" for n in box.labels)]
