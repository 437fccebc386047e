"""The plain files of AVA: rows of boxes, lists of pictures, classes by their ids.

Rows become arrays, as there are millions of them; `formats.ava` makes annotations of them.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from internvideo.annotations import BadLine
from internvideo.errors import DataError
from internvideo.formats.class_names import ClassNames
from internvideo.formats.files import numbered_lines, opened, read_text

__all__ = [
    "EVALUATED",
    "NUM_CLASSES",
    "BoxRows",
    "image_key",
    "read_excluded",
    "read_label_map",
    "read_rows",
    "write_results",
]

EVALUATED = (
    1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 20, 22, 24, 26, 27, 28, 29, 30, 34, 36, 37,
    38, 41, 43, 45, 46, 47, 48, 49, 51, 52, 54, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66, 67, 68,
    69, 70, 72, 73, 74, 76, 77, 78, 79, 80,
)  # fmt: skip
"""Ids of the 60 classes of AVA v2.2 that are evaluated: those with 25 validation examples."""

NUM_CLASSES = 80
"""Classes of AVA, of which ids are 1 to 80."""

_BLOCK = 1 << 21  # characters that are parsed together
_COLUMNS = "movie,timestamp,x1,y1,x2,y2,action[,person or score]"
_SHOWN = 120


def image_key(movie: str, timestamp: float) -> str:
    """Return what the official evaluation calls a picture, such as "abcDEF12345,0902"."""
    return f"{movie},{int(timestamp):04d}"


@dataclass(frozen=True, slots=True)
class BoxRows:
    """The rows of a csv: one action of one box each.

    Attributes:
        images: names of the pictures, in the order in which they appear.
        image: which of them a row is about.
        boxes: left, top, right and bottom side, as fractions of the picture.
        actions: ids, from 1; 0 where a row has none.
        values: the last column: scores of results, numbers of persons; NaN where there is none.
        lines: of the file.
    """

    images: tuple[str, ...]
    image: Int[np.ndarray, " n"]
    boxes: Float[np.ndarray, "n 4"]
    actions: Int[np.ndarray, " n"]
    values: Float[np.ndarray, " n"]
    lines: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.image)


def read_rows(path: Path, *, bad: list[BadLine] | None = None, scored: bool = False) -> BoxRows:
    """Read an official csv, block by block: beside the arrays there is never more text than one.

    Args:
        path: the file.
        bad: gets the lines that cannot be used; None refuses the file at the first one.
        scored: whether the last column must be there, and a number.

    Raises:
        DataError: a line has a missing field, or one that is no number; the line is named.
    """
    images: dict[str, int] = {}
    parts: list[tuple[Any, ...]] = []
    columns = 8 if scored else 0
    for first, lines in _blocks(path):
        columns = columns or _columns(lines)
        fields = _split_block(lines, columns)
        if fields is None:
            fields = _split_each(path, first, lines, columns, bad, scored=scored)
        pictures, values, kept = fields
        image = np.array([images.setdefault(name, len(images)) for name in pictures], np.int32)
        parts.append((image, values[:, :4], values[:, 4].astype(np.int32), values[:, 5],
                      kept + first))  # fmt: skip
    if not parts:
        return BoxRows((), *(np.zeros(shape, kind) for shape, kind in _EMPTY))
    return BoxRows(tuple(images), *(np.concatenate(part) for part in zip(*parts, strict=True)))


_EMPTY: tuple[tuple[Any, Any], ...] = (
    (0, np.int32), ((0, 4), np.float64), (0, np.int32), (0, np.float64), (0, np.int32),
)  # fmt: skip


def _blocks(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the first of some lines, and the lines."""
    with opened(path) as file:
        number = 1
        while block := file.readlines(_BLOCK):
            yield number, [line.rstrip("\r\n") for line in block]
            number += len(block)


_Fields = tuple[list[str], Float[np.ndarray, "n 6"], Int[np.ndarray, " n"]]
"""Keys of pictures; sides, action and last column; places among the lines."""


def _columns(lines: Sequence[str]) -> int:
    """Return how many fields the rows of a file have, by the first: 7 or 8; 0 is unknown."""
    first = next((line for line in lines if line.strip()), None)
    return 0 if first is None else min(max(len(next(csv.reader([first]))), 7), 8)


def _split_block(lines: Sequence[str], columns: int) -> _Fields | None:
    """Take lines apart that are all alike; None where one is not."""
    commas = columns - 1
    if {line.count(",") for line in lines} != {commas}:
        return None
    values = np.full((len(lines), 6), np.nan)
    pictures: list[str] = []
    start, picture = "\n", ""
    try:
        numbers = np.loadtxt(lines, delimiter=",", usecols=range(2, commas + 1), comments=None,
                             ndmin=2)  # fmt: skip
        for line in lines:
            if not line.startswith(start):
                movie, stamp, _ = line.split(",", 2)
                if not movie.strip():
                    return None
                start, picture = f"{movie},{stamp},", image_key(movie, float(stamp))
            pictures.append(picture)
    except (ValueError, OverflowError):
        return None
    if len(numbers) != len(lines) or not np.isfinite(numbers).all() or '"' in lines[0]:
        return None
    values[:, : commas - 1] = numbers
    whole = bool((values[:, 4] == np.floor(values[:, 4])).all())
    return (pictures, values, np.arange(len(lines), dtype=np.int32)) if whole else None


def _split_each(
    path: Path,
    first: int,
    lines: Sequence[str],
    columns: int,
    bad: list[BadLine] | None,
    *,
    scored: bool,
) -> _Fields:
    """Take lines apart one by one; name those that cannot be used."""
    pictures: list[str] = []
    rows: list[list[float]] = []
    kept: list[int] = []
    for place, fields in enumerate(csv.reader(lines)):
        if not any(field.strip() for field in fields):
            continue
        try:
            picture, row = _row(fields, columns, scored=scored)
        except ValueError as error:
            message = f"{path}:{first + place}: {error}, got {lines[place][:_SHOWN]!r}"
            if bad is None:
                raise DataError(message) from None
            bad.append(BadLine(first + place, message))
            continue
        pictures.append(picture)
        rows.append(row)
        kept.append(place)
    return pictures, np.array(rows, np.float64).reshape(-1, 6), np.array(kept, np.int32)


def _row(fields: Sequence[str], columns: int, *, scored: bool) -> tuple[str, list[float]]:
    if len(fields) != columns:
        raise ValueError(f"{len(fields)} fields, expected {columns}: {_COLUMNS}")
    movie, stamp, *sides = fields
    if not movie.strip():
        raise ValueError("the movie has no name")
    numbers = {"timestamp": stamp, **dict(zip(("x1", "y1", "x2", "y2"), sides, strict=False))}
    found = {name: _number(text, name) for name, text in numbers.items()}
    action = _number(sides[4] or "0", "action")
    if action != int(action):
        raise ValueError(f"action is {sides[4]!r}; expected a whole number")
    last = _number(sides[5], "score") if len(sides) > 5 and (scored or sides[5]) else math.nan
    sides_found = [found[name] for name in ("x1", "y1", "x2", "y2")]
    return image_key(movie, found["timestamp"]), [*sides_found, action, last]


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        missing = "is missing" if not text.strip() else f"is {text[:_SHOWN]!r}; expected a number"
        raise ValueError(f"{name} {missing}")
    return value


def read_label_map(path: Path) -> dict[int, str]:
    """Return the names of the classes by their ids, from 1.

    Args:
        path: a `.pbtxt` of `item { name: "…" id: … }` (or `label_id`), or a class list.

    Raises:
        DataError: it holds none.
    """
    if path.suffix != ".pbtxt" and not re.search(r"^\s*item\s*\{", read_text(path), re.MULTILINE):
        return dict(enumerate(ClassNames.read(path).names, start=1))
    found: dict[int, str] = {}
    for item in re.findall(r"item\s*\{(.*?)\}", read_text(path), re.DOTALL):
        name = re.search(r"\bname:\s*(?:\"((?:[^\"\\]|\\.)*)\"|'([^']*)')", item)
        number = re.search(r"\b(?:label_)?id:\s*(\d+)", item)
        if name is None or number is None:
            raise DataError(f"{path}: an item without name or id: {item.strip()[:_SHOWN]!r}")
        found[int(number[1])] = name[1] if name[1] is not None else name[2]
    if not found:
        raise DataError(f'{path} has no classes; expected items such as item {{ name: "x" id: 1 }}')
    return found


def read_excluded(path: Path) -> frozenset[str]:
    """Return the keys of the pictures in a csv of `movie,timestamp`; it may be empty.

    Raises:
        DataError: a line is something else.
    """
    found: set[str] = set()
    for number, line in numbered_lines(path, may_be_empty=True):
        movie, comma, stamp = line.rpartition(",")
        try:
            found.add(image_key(movie, float(stamp)))
        except (ValueError, OverflowError):
            comma = ""
        if not comma or "," in movie:
            raise DataError(f"{path}:{number}: expected movie,timestamp, got {line[:_SHOWN]!r}")
    return frozenset(found)


def write_results(path: Path, rows: Iterable[tuple[str, int, Sequence[float], int, float]]) -> None:
    """Write a result csv, as the challenge takes it: five decimals, lines that end with CR LF.

    Args:
        path: the file.
        rows: movie, timestamp, sides as fractions, id of the action, score.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for movie, timestamp, box, action, score in rows:
            sides = (f"{side:.5f}" for side in box)
            writer.writerow([movie, f"{timestamp:04d}", *sides, action, f"{score:.5f}"])
