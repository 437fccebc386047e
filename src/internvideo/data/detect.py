"""Which format an annotation file has, from its content and what lies beside it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from internvideo.data.build import ListKind
from internvideo.data.formats.fields import trailing_numbers
from internvideo.data.formats.files import numbered_lines, read_json
from internvideo.errors import DataError

__all__ = ["detect_kind"]

_LINES, _MOSTLY = 200, 0.8


def detect_kind(path: Path) -> ListKind:
    """Return the format of an annotation file.

    Raises:
        DataError: it looks like none that is known.
    """
    if path.is_dir():
        kind: ListKind | None = "hmdb51" if any(path.glob("*_test_split?.txt")) else None
    elif path.suffix.lower() == ".json":
        kind = _json_kind(path)
    else:
        kind = _text_kind(path, [line for _, line in islice(numbered_lines(path), _LINES)])
    if kind is None:
        raise DataError(f"{path}: its format cannot be told from its content; say it with --format")
    return kind


def _json_kind(path: Path) -> ListKind | None:
    content = read_json(path)
    if isinstance(content, dict):
        if "database" in content:
            return "activitynet"
        return "msrvtt" if {"videos", "sentences"} <= set(content) else None
    first = content[0] if isinstance(content, list) and content else None
    return "something-something" if isinstance(first, dict) and "id" in first else None


def _text_kind(path: Path, lines: Sequence[str]) -> ListKind | None:
    header = lines[0].split(",")
    if "youtube_id" in header:
        return "hacs" if "classname" in header else "kinetics"
    if path.name.startswith(("trainlist", "testlist")) or (path.parent / "classInd.txt").is_file():
        return "ucf101"
    if (path.parent / "moments_categories.txt").is_file():
        return "moments"
    fields = [trailing_numbers(line, 4).numbers for line in lines]
    counts = [len(numbers) for numbers in fields if numbers]
    if len(counts) < _MOSTLY * len(fields):  # a few lines may be broken
        return "something-something" if all(";" in line for line in lines) else None
    fewest = min(counts)
    if fewest == 4:
        return "activitynet"
    if fewest == 3 or (fewest == 2 and any("-1" in numbers for numbers in fields)):
        return "hybrid"
    return "something-something" if fewest == 2 else "kinetics"
