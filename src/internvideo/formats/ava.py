"""AVA and AVA-Kinetics: who does what, in boxes around people at one key frame a second.

| file                                                       | a row, or an entry                |
|------------------------------------------------------------|-----------------------------------|
| official csv: `movie,timestamp,x1,y1,x2,y2,action,person`  | an action of a box, in fractions  |
| result csv: the same with a score at the end               | likewise                          |
| json: {images: […], annotations: […]}                      | a box with its actions, x y w h   |
| person boxes: [{image_id, bbox, score}], or a result csv   | a box that a detector found       |
| excluded timestamps: `movie,timestamp`                     | a picture that does not count     |
| `*.pbtxt`: item {name: …, id: …}                           | a class, numbered from 1          |

A timestamp counts the seconds of the movie. The video of a movie is `{movie}.mp4` (or another
ending) below the root, or a folder of files of one second each, `{movie}/{second}.mp4`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from internvideo.annotations import ActorBox, Annotations, BadLine, Box, VideoAnnotation
from internvideo.errors import DataError
from internvideo.formats.box_rows import (
    EVALUATED,
    NUM_CLASSES,
    image_key,
    read_label_map,
    read_rows,
)
from internvideo.formats.files import (
    Collection,
    files_by_stem,
    holds_json,
    read_json,
)

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = [
    "Persons",
    "json_sides",
    "looks_like",
    "read",
    "read_boxes",
    "read_persons",
    "write",
    "write_json",
    "write_label_map",
]

LABEL_MAP = "ava_action_list.pbtxt"
_KINETICS_NAME = re.compile(r"(?P<movie>.+)_(?P<start>\d+)_(?P<end>\d+)")


def looks_like(file: Glimpse) -> bool:
    """Tell whether a csv has rows of boxes in fractions, or a json boxes in pixels with actions."""
    if file.kind == "csv":
        first = [_is_official(line) for line in file.lines[:20]]
        return 2 * sum(first) > len(first)  # a header or a bad line is the reader's to name
    sides = json_sides(file)
    return sides is not None and max(sides, default=2.0) > 1.0


def _is_official(line: str) -> bool:
    fields = line.split(",")
    try:
        sides = [float(each) for each in fields[2:6]]
        float(fields[1])
        int(fields[6])
    except (ValueError, IndexError):
        return False
    return len(fields) in (7, 8) and len(fields[1]) >= 3 and all(-0.5 < e < 1.5 for e in sides)


def json_sides(file: Glimpse) -> list[float] | None:
    """Return the sides of the first boxes of a json of this kind; None where it is another."""
    images, held = file.json.get("images"), file.json.get("annotations")
    if not isinstance(images, list) or not isinstance(held, list):
        return None
    first = [each for each in held[:20] if isinstance(each, dict) and "action_ids" in each]
    if not first or not isinstance(images[0], dict) or "timestamp" not in images[0]:
        return None
    return [float(side) for each in first for side in each.get("bbox", ())]


def read(path: Path, root: Path | str, *, labels: Path | None = None) -> Annotations:
    """Read boxes with their actions, one record a movie.

    Args:
        path: the official csv, or the json.
        root: folder of the videos.
        labels: the label map; by default a `.pbtxt` beside the file.
    """
    return read_boxes(path, root, labels=labels, kinetics=False)


def read_boxes(path: Path, root: Path | str, *, labels: Path | None, kinetics: bool) -> Annotations:
    """Read boxes with their actions; see `read`.

    Args:
        path: the file.
        root: folder of the videos.
        labels: the label map.
        kinetics: boxes of a json are fractions, and videos are parts called `{movie}_{start}_{end}`
            (seconds).
    """
    if labels is None:
        beside = sorted(path.parent.glob("*.pbtxt"))
        labels = beside[0] if beside else None
    names = None
    if labels is not None:
        by_id = read_label_map(labels)
        last = max(NUM_CLASSES if len(by_id) == len(EVALUATED) else 0, *by_id)
        names = tuple(by_id.get(number, f"action {number}") for number in range(1, last + 1))
    places = _Places(root, kinetics=kinetics)
    bad: list[BadLine] = []
    as_json = holds_json(path)
    movies = _from_json(path, bad, kinetics=kinetics) if as_json else _from_csv(path, bad)

    def records() -> Iterator[VideoAnnotation | BadLine]:
        yield from bad
        for movie, held in movies.items():
            file, start, duration = places.of(movie)
            yield VideoAnnotation(
                path=file,
                id=movie,
                parent=movie if start else "",
                offset=start,
                duration=duration,
                boxes=tuple(_at(each, start) for each in held.boxes),
                size=held.size,
                line=held.line,
            )

    return Annotations(
        records=records(), file=path, root=root, class_names=names, copying="none",
        description="AVA-Kinetics" if kinetics else "AVA",
    )  # fmt: skip


def _at(box: ActorBox, start: float) -> ActorBox:
    if not start:
        return box
    return ActorBox(
        time=box.time - start, box=box.box, labels=box.labels, actor=box.actor, score=box.score
    )


@dataclass(slots=True)
class _Movie:
    boxes: list[ActorBox]
    line: int
    size: tuple[int, int] | None = None


class _Places:
    """Where the videos of movies are, and which part of the movie they show."""

    def __init__(self, root: Path | str, *, kinetics: bool) -> None:
        self.root = root
        self.names = files_by_stem(root, subfolders=True)
        self.parts: dict[str, tuple[str, float, float]] = {}
        for stem, name in self.names.items() if kinetics else ():
            if (match := _KINETICS_NAME.fullmatch(stem)) is not None:
                start, end = float(match["start"]), float(match["end"])
                self.parts[match["movie"]] = (name, start, end - start)

    def of(self, movie: str) -> tuple[str, float, float | None]:
        """Return path, start and length of the video of a movie, as far as they are known."""
        if movie in self.parts:
            return self.parts[movie]
        if movie not in self.names and (Path(self.root) / movie).is_dir():
            return movie, 0.0, None
        return self.names.get(movie, f"{movie}.mp4"), 0.0, None


def _check_box(box: Sequence[float], where: str) -> Box:
    x1, y1, x2, y2 = map(float, box)
    if not (x2 > x1 and y2 > y1):
        raise DataError(f"{where}: the box {x1:g}, {y1:g}, {x2:g}, {y2:g} has no area")
    if x1 >= 1 or y1 >= 1 or x2 <= 0 or y2 <= 0:
        raise DataError(
            f"{where}: the box {x1:g}, {y1:g}, {x2:g}, {y2:g} lies outside the picture; expected "
            "fractions from 0 to 1"
        )
    return x1, y1, x2, y2


def _from_csv(path: Path, bad: list[BadLine]) -> dict[str, _Movie]:
    rows = read_rows(path, bad=bad)
    if not len(rows) and not bad:
        raise DataError(f"{path} is empty: it lists no boxes; check that it was copied completely")
    persons = bool(np.isnan(rows.values).all() or (rows.values == np.floor(rows.values)).all())
    movies: dict[str, _Movie] = {}
    groups: dict[tuple[Any, ...], list[int]] = {}
    for row, (image, box) in enumerate(zip(rows.image.tolist(), rows.boxes.tolist(), strict=True)):
        value = float(rows.values[row])
        actor = int(value) if persons and not math.isnan(value) else None
        groups.setdefault((image, *box, actor), []).append(row)
    for (image, *box, actor), held in groups.items():
        movie, _, stamp = rows.images[image].rpartition(",")
        line = int(rows.lines[held[0]])
        try:
            sides = _check_box(box, f"{path}:{line}")
        except DataError as error:
            bad.append(BadLine(line, str(error), tolerated=True))
            continue
        actions = sorted({int(rows.actions[row]) - 1 for row in held if rows.actions[row] > 0})
        found = ActorBox(time=float(stamp), box=sides, labels=tuple(actions), actor=actor)
        movies.setdefault(movie, _Movie([], line)).boxes.append(found)
    return movies


def _from_json(path: Path, bad: list[BadLine], *, kinetics: bool) -> dict[str, _Movie]:
    content = read_json(path)
    try:
        images = {str(each["id"]): each for each in content["images"]}
        held = list(content["annotations"])
    except (KeyError, TypeError):
        raise DataError(
            f"{path}: expected a json of images and annotations, as ava_train_v2.2_min.json"
        ) from None
    movies: dict[str, _Movie] = {}
    for place, image in enumerate(images.values(), start=1):
        size = (int(image.get("width") or 0), int(image.get("height") or 0))
        movie = movies.setdefault(str(image["movie"]), _Movie([], place))
        movie.size = size if all(size) else movie.size
    for place, each in enumerate(held, start=1):
        where = f"{path}: annotation {place}"
        try:
            image = images.get(str(each.get("image_id")))
            if image is None:
                raise DataError(f"{where} is about {each.get('image_id')!r}, which is no image")
            movie = movies[str(image["movie"])]
            box = _fractions(each["bbox"], movie.size, where, kinetics=kinetics)
            actions = each.get("action_ids") or ()
            if not all(isinstance(action, int) for action in actions):
                raise DataError(f"{where} has actions {actions!r}; expected whole numbers")
            movie.boxes.append(
                ActorBox(
                    time=float(image["timestamp"]),
                    box=_check_box(box, where),
                    labels=tuple(sorted({action - 1 for action in actions})),
                )
            )
        except DataError as error:
            bad.append(BadLine(place, str(error), tolerated=True))
        except (KeyError, TypeError, ValueError) as error:
            bad.append(BadLine(place, f"{where} cannot be used: {error!r}"))
    return movies


def _fractions(
    bbox: Sequence[float], size: tuple[int, int] | None, where: str, *, kinetics: bool
) -> Box:
    x, y, width, height = map(float, bbox)
    if kinetics:
        return x, y, x + width, y + height
    if size is None:
        raise DataError(f"{where}: its image has no width and height, so pixels say nothing")
    w, h = size
    return x / w, y / h, (x + width) / w, (y + height) / h


# --- boxes that a detector found ------------------------------------------------------------------

Persons = Mapping[str, Sequence[tuple[Box, float]]]
"""Boxes as fractions and their scores, by `image_key`."""


def read_persons(path: Path, sizes: Mapping[str, tuple[int, int] | None]) -> Persons:
    """Read the boxes that a detector of persons found.

    Args:
        path: a json of {image_id, bbox, score}, in pixels (x, y, w, h) or fractions (x1, y1, x2,
            y2), or a csv as of results.
        sizes: width and height of the pictures of each movie, for pixels.

    Raises:
        DataError: it is something else, or the size of a picture is not known.
    """
    found: dict[str, list[tuple[Box, float]]] = {}
    if not holds_json(path):
        bad: list[BadLine] = []
        rows = read_rows(path, bad=bad, scored=True)
        if bad:
            raise DataError(bad[0].message)
        numbered = bool((rows.values == np.floor(rows.values)).all())  # persons, of true boxes
        scores = np.ones(len(rows)) if numbered else rows.values
        for image, box, score in zip(rows.image.tolist(), rows.boxes.tolist(),
                                     scores.tolist(), strict=True):  # fmt: skip
            held = found.setdefault(rows.images[image], [])
            if (each := (tuple(box), score)) not in held:  # a row for each action
                held.append(each)
        return found
    content = read_json(path)
    if not isinstance(content, list):
        raise DataError(f"{path}: expected a json list of image_id, bbox and score")
    try:
        entries = [(str(e["image_id"]), list(map(float, e["bbox"])), float(e["score"]))
                   for e in content]  # fmt: skip
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{path}: expected entries with image_id, bbox and score") from None
    in_pixels = any(max(box, default=0.0) > 2.0 for _, box, _ in entries)
    for image, box, score in entries:
        movie, _, stamp = image.rpartition("_")
        try:
            key = image_key(movie, float(stamp))
        except ValueError:
            raise DataError(f"{path}: image_id {image!r} does not end with _timestamp") from None
        if in_pixels:
            box = _fractions(box, sizes.get(movie), f"{path}: {image}", kinetics=False)
        found.setdefault(key, []).append((tuple(box), score))  # type: ignore[arg-type]
    return found


# --- writing --------------------------------------------------------------------------------------


def write(data: Collection) -> list[Path]:
    """Write csv, json, person boxes and excluded timestamps of each split, and the label map."""
    written = [write_label_map(data)]
    for split in data.layout.splits:
        videos, stem = data.of(split), f"ava_{split}"
        lines = [
            ",".join([video.id, f"{int(each.time):04d}", *(f"{side:.3f}" for side in each.box),
                      str(label + 1), str(each.actor or 0)]) + "\n"
            for video in videos
            for each in video.boxes
            for label in each.labels
        ]  # fmt: skip
        written += [
            data.write_text(f"{stem}.csv", lines),
            data.write_text(f"{stem}_excluded_timestamps.csv", ()),
            *write_json(data, split, stem=stem, kinetics=False),
        ]
    return written


def write_label_map(data: Collection) -> Path:
    """Write the classes with their ids."""
    items = (f'item {{\n  name: "{name}"\n  id: {number}\n}}\n'
             for number, name in enumerate(data.classes, start=1))  # fmt: skip
    return data.write_text(LABEL_MAP, items)


def write_json(data: Collection, split: str, *, stem: str, kinetics: bool) -> list[Path]:
    """Write the json of the annotations, and the true boxes as those of a detector."""
    images: dict[str, dict[str, Any]] = {}
    boxes: list[dict[str, Any]] = []
    persons: list[dict[str, Any]] = []
    for video in data.of(split):
        assert video.size is not None
        width, height = video.size
        for each in video.boxes:
            stamp = int(each.time + video.offset)
            image = f"{video.id}_{stamp:04d}"
            images.setdefault(image, {"id": image, "movie": video.id, "timestamp": stamp,
                                      "width": width, "height": height})  # fmt: skip
            x1, y1, x2, y2 = each.box
            w, h = (1, 1) if kinetics else (width, height)
            sides = [x1 * w, y1 * h, (x2 - x1) * w, (y2 - y1) * h]
            sides = [round(side, 5) for side in sides]
            found = [round(side, 5) for side in each.box] if kinetics else sides
            boxes.append({"image_id": image, "bbox": sides,
                          "action_ids": [label + 1 for label in each.labels]})  # fmt: skip
            persons.append({"image_id": image, "bbox": found, "score": each.score})
    content = {"images": list(images.values()), "annotations": boxes}
    return [
        data.write_text(f"{stem}.json", (json.dumps(content), "\n")),
        data.write_text(f"{stem}_persons.json", (json.dumps(persons), "\n")),
    ]
