"""Annotation files as rows of named values: csv, tsv, json lines, json lists, parquet and SQLite.

Rows come one after the other, whatever the size of the file. A row that cannot be used comes as a
`BadLine`, and reading goes on behind it.
"""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal, TextIO, TypeAlias, TypeVar

from internvideo.annotations import BadLine
from internvideo.errors import DataError, require
from internvideo.formats.files import JSON_LIST, opened

__all__ = ["Table", "TableRow", "json_line", "open_table", "table_kind", "text_lines"]

T = TypeVar("T")

TableRow: TypeAlias = "tuple[int, dict[str, Any]]"
TableKind: TypeAlias = Literal["csv", "tsv", "jsonl", "json", "parquet", "sqlite"]

_SUFFIXES: dict[str, TableKind] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".sqlite": "sqlite",
    ".sqlite3": "sqlite",
    ".db": "sqlite",
}
_MAGIC: dict[str, TableKind] = {"SQLite format 3\0": "sqlite", "PAR1": "parquet"}
_MAX_LINE = 1 << 24
_BLOCK = 1 << 20
_ROWS = 4096
_SQL_TABLE = "annos"
_SHOWN = 120


@dataclass(frozen=True, slots=True)
class Table:
    """A file of rows.

    Attributes:
        path: the file.
        kind: how it is written.
    """

    path: Path
    kind: TableKind

    def rows(self) -> Iterator[TableRow | BadLine]:
        """Yield the number (a line, or the place from 1 on) and the values of each row.

        Raises:
            DataError: the file as a whole cannot be read.
            MissingExtraError: a parquet file, without pyarrow.
        """
        match self.kind:
            case "csv":
                return _csv_rows(self, ",")
            case "tsv":
                return _csv_rows(self, "\t")
            case "jsonl":
                return _json_line_rows(self)
            case "json":
                return _json_list_rows(self)
            case "parquet":
                return _parquet_rows(self)
            case "sqlite":
                return _sqlite_rows(self)

    def parsed(self, parse: Callable[[int, dict[str, Any]], T]) -> Iterator[T | BadLine]:
        """Yield what `parse` makes of each row, or why it makes nothing of it (its DataError)."""
        for row in self.rows():
            if isinstance(row, BadLine):
                yield row
                continue
            number, values = row
            try:
                yield parse(number, values)
            except DataError as error:
                yield self.bad(number, str(error))

    def where(self, number: int) -> str:
        """Return what a message calls a row."""
        by_line = self.kind in ("csv", "tsv", "jsonl")
        return f"{self.path}:{number}" if by_line else f"{self.path}: row {number}"

    def bad(self, number: int, reason: str) -> BadLine:
        """Return a row that cannot be used."""
        return BadLine(number, f"{self.where(number)}: {reason}")


def open_table(path: Path) -> Table:
    """Return an annotation file as rows.

    Raises:
        DataError: it is missing, empty, a folder, or of an unknown kind.
    """
    kind = table_kind(path)
    if kind is None:
        raise DataError(
            f"{path}: unknown kind of table; expected one of {' '.join(sorted(_SUFFIXES))}"
        )
    return Table(path, kind)


def table_kind(path: Path) -> TableKind | None:
    """Return how the rows of a file are written: its start says so, or else its ending.

    Raises:
        DataError: it is missing, empty, or a folder.
    """
    kind = _SUFFIXES.get(path.suffix.lower())
    with opened(path, errors="surrogateescape") as file:
        start = file.read(_ROWS).lstrip()
        if not start:
            raise DataError(f"{path} is empty; check that it was copied completely")
        for magic, named in _MAGIC.items():
            if start.startswith(magic):
                return named
        if JSON_LIST.match(start):
            return "json"
        if start[0] == "{" and kind != "jsonl":
            file.seek(0)
            first = next(
                line for line in iter(lambda: file.readline(_MAX_LINE), "") if line.strip()
            )
            return "jsonl" if _is_json(first) else "json"
    return kind


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


# ---------------------------------------------------------------- lines


def text_lines(file: TextIO, path: Path) -> Iterator[str]:
    """Yield the lines of a file.

    Raises:
        DataError: a line is so long that it can be none.
    """
    for number in count(1):
        line = file.readline(_MAX_LINE)
        if not line:
            return
        if len(line) == _MAX_LINE and not line.endswith("\n"):
            raise DataError(
                f"{path}:{number}: a line of more than {_MAX_LINE:,} characters; expected rows"
            )
        yield line


def _csv_rows(table: Table, delimiter: str) -> Iterator[TableRow | BadLine]:
    with opened(table.path, errors="surrogateescape", newline="") as file:
        reader = csv.reader(text_lines(file, table.path), delimiter=delimiter, strict=True)
        header: list[str] | None = None
        while True:
            number = reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                yield table.bad(
                    number, f"no row of a {table.kind} file ({error}); check its quotes"
                )
                continue
            if not any(fields):
                continue
            if header is None:
                header = _header(fields, f"{table.path}:{number}")
            elif len(fields) != len(header):
                more = "; quote what holds a delimiter" if len(fields) > len(header) else ""
                yield table.bad(
                    number, f"{len(fields)} fields, but the header has {len(header)}{more}"
                )
            else:
                yield number, dict(zip(header, fields, strict=True))


def _header(fields: list[str], where: str) -> list[str]:
    names = [name.strip() for name in fields]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{where}: two columns {twice!r} in the header; rename one")
    return names


def _json_line_rows(table: Table) -> Iterator[TableRow | BadLine]:
    with opened(table.path, errors="surrogateescape") as file:
        for number, line in enumerate(text_lines(file, table.path), start=1):
            if not line.isspace():
                values = json_line(line, where=table.where(number))
                yield (number, values) if isinstance(values, dict) else BadLine(number, values)


def json_line(line: str, *, where: str) -> dict[str, Any] | str:
    """Return the object that a line holds, or why there is none."""
    try:
        line.encode()
        values = json.loads(line)
    except UnicodeEncodeError as error:
        return f"{where}: character {error.start + 1} is no UTF-8"
    except json.JSONDecodeError as error:
        return f"{where}: not json ({error.msg}, column {error.colno})"
    except (ValueError, RecursionError) as error:
        return f"{where}: not json that can be read ({error})"
    if not isinstance(values, dict):
        return f"{where}: expected a json object, got {line.strip()[:_SHOWN]!r}"
    return values


# ---------------------------------------------------------------- one list of objects


def _json_list_rows(table: Table) -> Iterator[TableRow | BadLine]:
    with opened(table.path, errors="surrogateescape") as file:
        for number, item in enumerate(_JsonList(file, table).items(), start=1):
            if isinstance(item, dict):
                yield number, item
            else:
                yield table.bad(number, f"expected a json object, got {str(item)[:_SHOWN]!r}")


class _JsonList:
    """Takes the items of a json list one after the other; only a block of text is in memory."""

    def __init__(self, file: TextIO, table: Table) -> None:
        self._file, self._table = file, table
        self._text, self._at, self._number = "", 0, 1
        self._decode = json.JSONDecoder().raw_decode

    def items(self) -> Iterator[Any]:
        if self._following() != "[":
            raise DataError(
                f"{self._table.path}: expected a json list of objects, such as "
                '[{"video": "a.mp4", "caption": "a dog runs"}]'
            )
        self._at += 1
        more = self._following() != "]"
        while more:
            yield self._item()
            self._number += 1
            mark = self._following()
            if mark not in ("]", ","):
                raise self._broken("expected ',' or ']' before it")
            self._at += 1
            more = mark == ","
            self._following()

    def _following(self) -> str:
        """Go to what is not blank, and return its first character; "" at the end of the file."""
        while True:
            while self._at < len(self._text) and self._text[self._at].isspace():
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            self._text, self._at = self._file.read(_BLOCK), 0
            if not self._text:
                return ""

    def _item(self) -> Any:
        while True:
            try:
                item, end = self._decode(self._text, self._at)
                if end < len(self._text):  # at the very end, a number might go on
                    self._at = end
                    return item
                reason = "the list does not end"
            except json.JSONDecodeError as error:
                reason = error.msg
            except (ValueError, RecursionError) as error:
                raise self._broken(str(error)) from None
            rest = self._text[self._at :]
            # Twice as much each time, so that a long object is not tried again too often.
            more = self._file.read(max(len(rest), _BLOCK))
            if not more or len(rest) > _MAX_LINE:
                raise self._broken(reason)
            self._text, self._at = rest + more, 0

    def _broken(self, reason: str) -> DataError:
        where = self._table.where(self._number)
        return DataError(f"{where}: not json ({reason}); check that it is complete")


# ---------------------------------------------------------------- data bases


def _parquet_rows(table: Table) -> Iterator[TableRow | BadLine]:
    parquet: Any = require("pyarrow.parquet", extra="parquet")
    numbers = count(1)
    try:
        with parquet.ParquetFile(table.path) as file:
            for batch in file.iter_batches(batch_size=_ROWS):
                for values in batch.to_pylist():
                    yield next(numbers), values
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
        raise DataError(f"{table.path}: not a parquet file that can be read ({error})") from None


def _sqlite_rows(table: Table) -> Iterator[TableRow | BadLine]:
    address = f"{table.path.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True)) as connection:
            cursor = connection.execute(f"SELECT * FROM {_SQL_TABLE} ORDER BY id")
            names = [column[0] for column in cursor.description]
            for number, values in enumerate(cursor, start=1):
                yield number, dict(zip(names, values, strict=True))
    except sqlite3.Error as error:
        raise DataError(
            f"{table.path}: no SQLite annotations ({error}); expected a table {_SQL_TABLE}(id, "
            "video or image, caption)"
        ) from None
