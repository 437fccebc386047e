"""Metadata of millions of clips in blocks of rows: json lines and parquet, read and written.

A row that is kept is written as it was read, with the columns that nobody knows here: a line of
json byte for byte, a row of parquet with its types.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from internvideo.errors import ConfigError, DataError, require
from internvideo.formats.tables import json_line

__all__ = ["Block", "MetadataFile", "Writer", "open_metadata"]

_SUFFIXES: dict[str, Literal["jsonl", "parquet"]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_ROWS = 4096
_MAX_LINE = 1 << 24


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows that follow each other.

    Attributes:
        start: lines (or rows) before the first of them.
        rows: the values of each; a text says why a row cannot be used, None that it was not looked
            at.
        stored: the rows as they are in the file.
        done: share of the file that is read, 0 … 1.
    """

    start: int
    rows: list[dict[str, Any] | str | None]
    stored: Any
    done: float


class Writer(Protocol):
    """Writes rows of blocks to a file, which has its name only when it is complete."""

    def write(self, block: Block, places: Sequence[int]) -> None:
        """Write the rows at these places of a block."""
        ...

    def __enter__(self) -> Writer: ...

    def __exit__(self, kind: type | None, *exception: object) -> None: ...


@dataclass(frozen=True, slots=True)
class MetadataFile:
    """A json-lines or parquet file of clips."""

    path: Path
    kind: Literal["jsonl", "parquet"]

    def blocks(self, *, parse: bool = True) -> Iterator[Block]:
        """Yield the rows in blocks; without `parse` their values stay unknown.

        Raises:
            DataError: the file as a whole cannot be read.
            MissingExtraError: a parquet file, without pyarrow.
        """
        return (
            _line_blocks(self.path, parse) if self.kind == "jsonl" else _batches(self.path, parse)
        )

    def where(self, row: int) -> str:
        """Return what a message calls the row with this many before it."""
        return f"{self.path}:{row + 1}" if self.kind == "jsonl" else f"{self.path}: row {row + 1}"

    def writer(self, out: Path) -> Writer:
        """Return a writer of rows of this file.

        Raises:
            ConfigError: the output is the file itself, of an unknown ending, or a kind that these
                rows cannot be written in.
        """
        kind = _kind(out)
        if out.resolve() == self.path.resolve():
            raise ConfigError(f"{out} is the file that is read; give another name")
        if kind == "parquet" and self.kind == "jsonl":
            raise ConfigError(
                f"{out}: rows of json lines have no types that parquet needs; write a .jsonl file"
            )
        if kind == "parquet":
            return _ParquetWriter(self.path, out)
        return _LineWriter(out, as_stored=self.kind == "jsonl")


def open_metadata(path: Path) -> MetadataFile:
    """Return a file of metadata.

    Raises:
        ConfigError: neither json lines nor parquet.
        DataError: there is no such file.
    """
    if not path.is_file():
        raise DataError(f"no metadata file {path}; check the path")
    return MetadataFile(path, _kind(path))


def _kind(path: Path) -> Literal["jsonl", "parquet"]:
    kind = _SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise ConfigError(
            f"{path}: metadata of clips are json lines or parquet; expected the ending "
            f"{' or '.join(_SUFFIXES)}"
        )
    return kind


def _line_blocks(path: Path, parse: bool) -> Iterator[Block]:
    size, read, start = max(path.stat().st_size, 1), 0, 0
    with path.open("rb") as file:
        while True:
            lines = []
            while len(lines) < _ROWS and (line := file.readline(_MAX_LINE)):
                if len(line) == _MAX_LINE and not line.endswith(b"\n"):
                    raise DataError(
                        f"{path}:{start + len(lines) + 1}: a line of more than {_MAX_LINE:,} bytes"
                    )
                lines.append(line)
                read += len(line)
            if not lines:
                return
            rows: list[dict[str, Any] | str | None] = [None] * len(lines)
            if parse:
                rows = [
                    _parsed(line, f"{path}:{number}")
                    for number, line in enumerate(lines, start + 1)
                ]
            yield Block(start, rows, lines, read / size)
            start += len(lines)


def _parsed(line: bytes, where: str) -> dict[str, Any] | str | None:
    """Return the values of a line; None for a blank one."""
    if line.isspace():
        return None
    text = line.decode("utf-8", "surrogateescape")
    return json_line(text.removeprefix("\ufeff"), where=where)


def _batches(path: Path, parse: bool) -> Iterator[Block]:
    parquet: Any = require("pyarrow.parquet", extra="parquet")
    start = 0
    try:
        with parquet.ParquetFile(path) as file:
            total = max(file.metadata.num_rows, 1)
            for batch in file.iter_batches(batch_size=_ROWS):
                count = batch.num_rows
                rows = batch.to_pylist() if parse else [None] * count
                yield Block(start, rows, batch, (start + count) / total)
                start += count
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
        raise DataError(f"{path}: not a parquet file that can be read ({error})") from None


class _LineWriter:
    def __init__(self, out: Path, *, as_stored: bool) -> None:
        self._out, self._as_stored = out, as_stored
        self._partial = out.with_name(f"{out.name}.part")

    def __enter__(self) -> _LineWriter:
        self._file = self._partial.open("wb")
        return self

    def write(self, block: Block, places: Sequence[int]) -> None:
        if self._as_stored:
            lines = [block.stored[place] for place in places]
        else:
            kept = block.stored.take(np.asarray(places, np.int64)).to_pylist()
            # What json has no form for, such as a date, becomes its text.
            lines = [json.dumps(v, ensure_ascii=False, default=str).encode() for v in kept]
        self._file.writelines(line.rstrip(b"\r\n") + b"\n" for line in lines)

    def __exit__(self, kind: type | None, *exception: object) -> None:
        self._file.close()
        _finish(self._partial, self._out, kind)


class _ParquetWriter:
    def __init__(self, source: Path, out: Path) -> None:
        self._source, self._out = source, out
        self._partial = out.with_name(f"{out.name}.part")
        self._open = ExitStack()

    def __enter__(self) -> _ParquetWriter:
        parquet: Any = require("pyarrow.parquet", extra="parquet")
        schema = parquet.read_schema(self._source)
        self._file = self._open.enter_context(parquet.ParquetWriter(self._partial, schema))
        return self

    def write(self, block: Block, places: Sequence[int]) -> None:
        if len(places):
            self._file.write_batch(block.stored.take(np.asarray(places, np.int64)))

    def __exit__(self, kind: type | None, *exception: object) -> None:
        self._open.close()
        _finish(self._partial, self._out, kind)


def _finish(partial: Path, out: Path, failed: type | None) -> None:
    if failed is None:
        partial.replace(out)
    else:
        partial.unlink(missing_ok=True)
