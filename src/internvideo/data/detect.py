"""Which format an annotation file has, from its content and what lies beside it."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from internvideo.data.clip_list import BadLine
from internvideo.data.formats.captions import looks_like_captions
from internvideo.data.formats.fields import trailing_numbers
from internvideo.data.formats.files import numbered_lines, read_json
from internvideo.data.formats.labelled import (
    has_class_folders,
    has_labelled_header,
    looks_labelled,
)
from internvideo.data.formats.tables import open_table
from internvideo.data.kinds import ListKind
from internvideo.errors import DataError

__all__ = ["detect_kind"]

_LINES, _MOSTLY, _PART_FIELDS, _SHOWN = 200, 0.8, 4, 120
_V1_LINE = re.compile(r"\d+;.")
_MOMENTS_NAMES = ("trainingSet.csv", "validationSet.csv")
_MSVD_NAMES = ("AllVideoDescriptions", "sents_")
_TABLES = (".jsonl", ".ndjson", ".parquet", ".sqlite", ".sqlite3", ".db")


def detect_kind(path: Path) -> ListKind:
    """Return the format of an annotation file.

    Raises:
        DataError: it looks like none that is known.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        kind: ListKind | None = "hmdb51" if any(path.glob("*_test_split?.txt")) else None
        kind = kind or ("class-folders" if has_class_folders(path) else None)
        if kind is None:
            raise DataError(
                f"{path} is a folder without a folder for each class in it, so that its format "
                "cannot be told; name the annotation file, or say it with --format"
            )
    elif suffix in _TABLES:
        kind = "captions"
    elif suffix == ".json":
        kind = _json_kind(path)
    elif suffix == ".pkl" or path.name.startswith(_MSVD_NAMES):
        kind = "msvd"
    else:
        kind = _text_kind(path, [line for _, line in islice(numbered_lines(path), _LINES)])
    if kind is None:
        number, line = next(numbered_lines(path))
        raise DataError(
            f"{path}: its format cannot be told from its content; say it with --format "
            f"(line {number} is {line[:_SHOWN]!r})"
        )
    return kind


def _json_kind(path: Path) -> ListKind | None:
    begin = next((line for _, line in numbered_lines(path)), "")
    table = open_table(path)
    if begin.startswith("[") or table.kind == "jsonl":
        row = next(iter(table.rows()), None)
        names = set() if row is None or isinstance(row, BadLine) else set(row[1])
        if "QA" in names:
            return "videochat"
        if looks_like_captions(names):
            return "captions"
        if begin.startswith("["):
            return "something-something" if "id" in names else None
    content = read_json(path)
    if not isinstance(content, dict):
        return None
    if "database" in content:
        return "activitynet"
    return "msrvtt" if {"videos", "sentences"} <= set(content) else None


def _text_kind(path: Path, lines: Sequence[str]) -> ListKind | None:
    header = [name.strip() for name in next(csv.reader(lines[:1]))]
    if "youtube_id" in header:
        return "hacs" if "classname" in header else "kinetics"
    if {"VideoID", "Description"} <= set(header):
        return "msvd"
    if any(looks_like_captions(next(csv.reader([lines[0]], delimiter=mark))) for mark in ",\t"):
        return "captions"
    if path.name.startswith(("trainlist", "testlist")) or (path.parent / "classInd.txt").is_file():
        return "ucf101"
    if path.match("*_test_split[123].txt"):
        return "hmdb51"
    if path.name in _MOMENTS_NAMES or (path.parent / "moments_categories.txt").is_file():
        return "moments"
    if has_labelled_header(lines[0]) and len(header) < _PART_FIELDS:
        return "labelled"
    fields = [trailing_numbers(line, 4).numbers for line in lines]
    if not fields[0] and len(fields) > 1:
        fields = fields[1:]  # perhaps a header; a reader says so
    counts = [len(numbers) for numbers in fields if numbers]
    if len(counts) < _MOSTLY * len(fields):  # a few lines may be broken
        if all(_V1_LINE.match(line) for line in lines):
            return "something-something"
        return "labelled" if looks_labelled(lines) else None
    fewest = min(counts)
    if fewest == 4:
        return "activitynet"
    if fewest == 3 or (fewest == 2 and any("-1" in numbers for numbers in fields)):
        return "hybrid"
    if fewest == 2 and all(numbers[-2] in ("0", "1") for numbers in fields if len(numbers) > 1):
        return "hybrid"  # the first frame and the count; no clip has so few frames
    return "something-something" if fewest == 2 else "kinetics"
