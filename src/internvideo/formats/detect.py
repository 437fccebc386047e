"""Which format an annotation file has, from its content and what lies beside it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from internvideo.annotations import BadLine
from internvideo.errors import DataError
from internvideo.formats import READABLE
from internvideo.formats.fields import trailing_numbers
from internvideo.formats.files import annotation_files, numbered_lines, read_json
from internvideo.formats.tables import Table, TableKind, table_kind

__all__ = ["Glimpse", "detect_kind"]

_LINES, _MOSTLY, _SHOWN = 200, 0.8, 120
_PICKLE = ".pkl"


def detect_kind(path: Path) -> str:
    """Return the name of the format that an annotation file has.

    Raises:
        DataError: it looks like none that is known.
    """
    file = Glimpse(path)
    for name, known in READABLE.items():
        if known.load().looks_like(file):
            return name
    if path.is_dir():
        if files := annotation_files(path):
            raise DataError(
                f"{path} is a folder with annotation files; name one of them: {', '.join(files)}"
            )
        raise DataError(
            f"{path} is a folder without a folder for each class in it, so that its format "
            "is not known; name the annotation file, or the format with --format"
        )
    number, line = next(numbered_lines(path))
    raise DataError(
        f"{path}: its content has no known format; name one with --format "
        f"(line {number} is {line[:_SHOWN]!r})"
    )


class Glimpse:
    """The beginning of an annotation file, of which each format knows its own marks.

    Args:
        path: the file, or a folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.suffix = "" if path.is_dir() else path.suffix.lower()

    @cached_property
    def kind(self) -> TableKind | None:
        """How a table, or any other json, is written; None for folders, pickles and other texts.

        Raises:
            DataError: the file is missing or empty.
        """
        return None if self.path.is_dir() or self.suffix == _PICKLE else table_kind(self.path)

    @cached_property
    def lines(self) -> Sequence[str]:
        """The first lines of a text that is no json; else nothing.

        Raises:
            DataError: the file is missing, not text, or empty.
        """
        if self.path.is_dir() or self.suffix == _PICKLE or self.kind not in (None, "csv", "tsv"):
            return ()
        return [line for _, line in islice(numbered_lines(self.path), _LINES)]

    def header(self, delimiter: str = ",") -> list[str]:
        """Return the fields of the first line."""
        return [name.strip() for name in next(csv.reader(self.lines[:1], delimiter=delimiter), [])]

    @cached_property
    def trailing(self) -> Sequence[tuple[str, ...]]:
        """The numbers that lines end with, up to four; nothing where too few lines end with any."""
        fields = [trailing_numbers(line, 4).numbers for line in self.lines]
        if len(fields) > 1 and not fields[0]:
            fields = fields[1:]  # perhaps a header; a reader says so
        numbers = [each for each in fields if each]
        return numbers if len(numbers) >= _MOSTLY * len(fields) else ()  # some may be broken

    @property
    def fewest(self) -> int:
        """How many numbers every line ends with."""
        return min(map(len, self.trailing), default=0)

    @cached_property
    def is_json_list(self) -> bool:
        """Whether the file is a json list."""
        return self.kind == "json" and next(numbered_lines(self.path))[1].startswith("[")

    @cached_property
    def keys(self) -> Iterable[str]:
        """The keys of the first object in a json list or in json lines, or the columns of parquet.

        Raises:
            MissingExtraError: a parquet file, without pyarrow.
        """
        if self.kind is None or not (self.is_json_list or self.kind in ("jsonl", "parquet")):
            return ()
        row = next(iter(Table(self.path, self.kind).rows()), None)
        return () if row is None or isinstance(row, BadLine) else tuple(row[1])

    @cached_property
    def json(self) -> dict[str, Any]:
        """The one object of a json; else an empty dict."""
        one_line = self.kind == "jsonl" and len(list(islice(numbered_lines(self.path), 2))) == 1
        if not one_line and (self.kind != "json" or self.is_json_list):
            return {}
        content = read_json(self.path)
        return content if isinstance(content, dict) else {}
