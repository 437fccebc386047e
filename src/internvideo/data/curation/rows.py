"""The rows of a metadata file, in json lines or parquet: read one by one, and copied as they are.

A row is a clip: its video, start and end, a caption and scores. Rows are numbered from 1 on, in
json lines by their lines. pyarrow reads and writes parquet. Json lines are read here: pyarrow stops
at the first row that is bad or of other types, and knows neither its line nor its bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeAlias, TypeVar

from internvideo.errors import ConfigError, DataError, require
from internvideo.files import replacing
from internvideo.formats.tables import json_line
from internvideo.formats.timestamps import parse_seconds

__all__ = ["KNOWN_COLUMNS", "MetadataColumns", "MetadataFile", "Scan", "open_metadata"]

Progress: TypeAlias = Callable[[int, int], None]
_Result = TypeVar("_Result")

KNOWN_COLUMNS: dict[str, tuple[str, ...]] = {
    "video": ("youtubeid", "videoid", "video_id", "video", "path"),
    "start": ("start_timestamp", "start", "start_time"),
    "end": ("end_timestamp", "end", "end_time"),
    "aesthetic": ("aesthetic_score", "aesthetic"),
    "umt_sim": ("umt_score", "umt_sim"),
    "language": ("language", "lang"),
    "caption": ("caption", "text"),
}
_SUFFIXES: dict[str, Literal["jsonl", "parquet"]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_ID_LENGTH = 11  # of a YouTube id
_ROWS = 1 << 14
_MAX_LINE = 1 << 24
_LISTED = 100
_STEPS = 1000


@dataclass(frozen=True, slots=True)
class MetadataColumns:
    """What the columns of a file are called; None where there is no such column."""

    video: str | None
    start: str | None
    end: str | None
    aesthetic: str | None
    umt_sim: str | None
    language: str | None
    caption: str | None
    names: tuple[str, ...]

    @classmethod
    def of(cls, names: Iterable[str]) -> MetadataColumns:
        """Find the columns by their usual names, whatever their case."""
        given = tuple(names)
        by_lower = {name.lower(): name for name in reversed(given)}
        found = {
            what: next((by_lower[name] for name in known if name in by_lower), None)
            for what, known in KNOWN_COLUMNS.items()
        }
        return cls(**found, names=given)

    def seconds(self, values: dict[str, Any]) -> float | None:
        """Return how long a clip is; None where the file has no times.

        Raises:
            DataError: a time cannot be read, or the clip ends when or before it begins.
        """
        if self.start is None or self.end is None:
            return None
        start, end = parse_seconds(values.get(self.start)), parse_seconds(values.get(self.end))
        if end <= start:
            raise DataError(f"the clip from {start:g} to {end:g} s lasts no time")
        return end - start

    def video_of(self, values: dict[str, Any]) -> str:
        """Return the id of the video: the first 11 characters of its name without folders."""
        return PurePosixPath(str(values.get(self.video or "", ""))).name[:_ID_LENGTH]


@dataclass(frozen=True, slots=True)
class MetadataFile:
    """A json-lines or parquet file of clips."""

    path: Path
    kind: Literal["jsonl", "parquet"]
    columns: MetadataColumns

    def where(self, number: int) -> str:
        """Return what a message calls a row."""
        return f"{self.path}:{number}" if self.kind == "jsonl" else f"{self.path}: row {number}"

    def check_output(self, out: Path) -> None:
        """Check that rows of this file can be copied to `out`.

        Raises:
            ConfigError: it is the file itself, of an unknown ending, or of a kind that these rows
                cannot be written in.
        """
        if out.resolve() == self.path.resolve():
            raise ConfigError(f"{out} is the file that is read; give another name")
        if _kind(out) == "parquet" and self.kind == "jsonl":
            raise ConfigError(
                f"{out}: rows of json lines have no types that parquet needs; write a .jsonl file"
            )

    def copy(self, out: Path, numbers: Iterator[int]) -> int:
        """Copy the rows of these ascending numbers, with all their columns; return how many.

        A line of json stays byte for byte, a row of parquet keeps its types; parquet as json lines
        has the text of what json has no form for, such as a date. `numbers` may come from a scan of
        this file, which the copy follows.
        """
        with replacing(out, exclusive=True) as draft:
            if self.kind == "jsonl":
                return _copy_lines(self.path, draft, numbers)
            return _copy_parquet(self.path, draft, numbers, as_json=_kind(out) == "jsonl")


def open_metadata(path: Path) -> MetadataFile:
    """Return a file of metadata.

    Raises:
        ConfigError: neither json lines nor parquet.
        DataError: there is no such file, or it cannot be read.
        MissingExtraError: a parquet file, without pyarrow.
    """
    if not path.is_file():
        raise DataError(f"no metadata file {path}; check the path")
    kind = _kind(path)
    names = _parquet_names(path) if kind == "parquet" else _json_names(path)
    return MetadataFile(path, kind, MetadataColumns.of(names))


def _kind(path: Path) -> Literal["jsonl", "parquet"]:
    kind = _SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise ConfigError(
            f"{path}: metadata of clips are json lines or parquet; expected the ending "
            f"{' or '.join(_SUFFIXES)}"
        )
    return kind


class Scan:
    """Goes once through a file and counts the rows.

    Args:
        file: the file.
        progress: called with (done, in all), in thousandths of the file.

    Attributes:
        num_rows: rows that were met, those included that cannot be used.
        num_bad: rows that cannot be used.
        bad: why, of the first hundred, each with its place.
    """

    def __init__(self, file: MetadataFile, progress: Progress | None) -> None:
        self.file = file
        self.num_rows = self.num_bad = 0
        self.bad: list[str] = []
        self._progress = progress or (lambda done, total: None)

    def rows(
        self, use: Callable[[dict[str, Any]], _Result], names: Iterable[str | None]
    ) -> Iterator[tuple[int, _Result]]:
        """Yield the number of every row that can be used, and what `use` makes of its values.

        Args:
            use: raises DataError for a row that cannot be used.
            names: the columns that it looks at.

        Raises:
            DataError: the file cannot be read to its end, or has no rows.
        """
        if self.file.kind == "jsonl":
            found = _json_rows(self.file)
        else:
            found = _parquet_rows(self.file.path, {name for name in names if name is not None})
        for number, values, done in found:
            self.num_rows += 1
            problem = values if isinstance(values, str) else None
            if isinstance(values, dict):
                try:
                    yield number, use(values)
                except DataError as error:
                    problem = f"{self.file.where(number)}: {error}"
            if problem is not None:
                self.num_bad += 1
                if len(self.bad) < _LISTED:
                    self.bad.append(problem)
            if self.num_rows % _ROWS == 0:
                self._progress(int(done * _STEPS), _STEPS)
        if not self.num_rows:
            raise DataError(f"{self.file.path} is empty: it has no rows")
        self._progress(_STEPS, _STEPS)


# ---------------------------------------------------------------- json lines


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        number = 1
        while line := file.readline(_MAX_LINE):
            if len(line) == _MAX_LINE and not line.endswith(b"\n"):
                raise DataError(f"{path}:{number}: a line of more than {_MAX_LINE:,} bytes")
            yield line
            number += 1


def _json_rows(file: MetadataFile) -> Iterator[tuple[int, dict[str, Any] | str, float]]:
    """Yield the number of each line that is not blank, its values or what it is, and progress."""
    size, read = file.path.stat().st_size, 0
    for number, line in enumerate(_lines(file.path), start=1):
        read += len(line)
        if not line.isspace():
            text = line.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
            yield number, json_line(text, where=file.where(number)), read / size


def _json_names(path: Path) -> Iterable[str]:
    rows = _json_rows(MetadataFile(path, "jsonl", MetadataColumns.of(())))
    return next((values for _, values, _ in rows if isinstance(values, dict)), ())


def _copy_lines(path: Path, draft: Path, numbers: Iterator[int]) -> int:
    count, wanted = 0, next(numbers, None)
    with draft.open("wb") as copy:
        for number, line in enumerate(_lines(path), start=1):
            if wanted is None:
                break
            if number == wanted:
                copy.write(line.rstrip(b"\r\n") + b"\n")
                count, wanted = count + 1, next(numbers, None)
    return count


# ---------------------------------------------------------------- parquet


def _parquet_names(path: Path) -> list[str]:
    parquet: Any = require("pyarrow.parquet", extra="parquet")
    try:
        return parquet.read_schema(path).names
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
        raise _unreadable(path, error) from None


def _parquet_rows(path: Path, names: set[str]) -> Iterator[tuple[int, dict[str, Any], float]]:
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_ROWS, columns=sorted(names) or None):
                for values in batch.to_pylist():
                    number += 1
                    yield number, values, number / file.metadata.num_rows
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: not a parquet file that can be read ({error})")


def _copy_parquet(path: Path, draft: Path, numbers: Iterator[int], *, as_json: bool) -> int:
    from pyarrow import parquet

    count = 0
    with ExitStack() as stack:
        file = stack.enter_context(parquet.ParquetFile(path))
        if as_json:
            lines = stack.enter_context(draft.open("w", encoding="utf-8", newline="\n"))
        else:
            table = stack.enter_context(parquet.ParquetWriter(draft, file.schema_arrow))
        first, wanted = 1, next(numbers, None)
        for batch in file.iter_batches(batch_size=_ROWS):
            places: list[int] = []
            while wanted is not None and wanted < first + batch.num_rows:
                places.append(wanted - first)
                wanted = next(numbers, None)
            first += batch.num_rows
            count += len(places)
            if places and as_json:
                for values in batch.take(places).to_pylist():
                    lines.write(json.dumps(values, ensure_ascii=False, default=str) + "\n")
            elif places:
                table.write_batch(batch.take(places))
    return count
