"""Lines such as `path start end label`, taken apart from their end: a path may hold anything."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from internvideo.annotations import BadLine, VideoAnnotation
from internvideo.errors import DataError
from internvideo.video import VIDEO_SUFFIXES

__all__ = [
    "DelimiterCheck",
    "TrailingNumbers",
    "as_whole_number",
    "bad_line",
    "parsed",
    "refuse_several_labels",
    "trailing_numbers",
    "whole_number",
]

_Row = TypeVar("_Row")

_SHOWN = 120
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")
_WHOLE = re.compile(r"([-+]?\d{1,9})(?:\.0*)?")
_SEPARATORS = " \t,;|"
_NUMBERS_AFTER_VIDEO = re.compile(
    rf"(?P<video>.*(?:{'|'.join(map(re.escape, sorted(VIDEO_SUFFIXES)))}))\"?"
    rf"(?P<numbers>(?:[{_SEPARATORS}]+{_NUMBER.pattern})+)",
    re.IGNORECASE,
)
_DELIMITERS = {" ": "a space", ",": "a comma", "\t": "a tab"}


@dataclass(frozen=True, slots=True)
class TrailingNumbers:
    """A line taken apart from its end.

    Attributes:
        path: what is before the numbers; may hold the delimiter.
        numbers: the numbers, as written.
        delimiter: what separates the last number; None if there is none.
    """

    path: str
    numbers: tuple[str, ...]
    delimiter: str | None


def trailing_numbers(line: str, most: int) -> TrailingNumbers:
    """Split up to `most` numbers off the end of a line; the path before them may hold anything."""
    numbers: list[str] = []
    delimiter = None
    while len(numbers) < most and (parted := _last_number(line)) is not None:
        rest, found, number = parted
        if not rest or (delimiter is not None and found != delimiter):
            break
        line, delimiter = rest, found
        numbers.insert(0, number)
    return TrailingNumbers(_unquoted(line), tuple(numbers), delimiter)


def _last_number(line: str) -> tuple[str, str, str] | None:
    """Return what is before the last number of a line, the delimiter before it, and the number."""
    place = max(line.rfind(separator) for separator in _SEPARATORS)
    if place < 0 or _NUMBER.fullmatch(line, place + 1) is None:
        return None
    rest, delimiter = line[:place].rstrip(" "), line[place]
    if delimiter == " " and rest and rest[-1] in _SEPARATORS:  # a comma and a space, say
        rest, delimiter = rest[:-1].rstrip(" "), rest[-1]
    return rest, delimiter, line[place + 1 :]


def _unquoted(path: str) -> str:
    if len(path) > 1 and path[0] == path[-1] == '"':
        return path[1:-1].replace('""', '"')
    return path


class DelimiterCheck:
    """Watches that all lines of a list are separated by the same character."""

    def __init__(self, path: Path, shape: str) -> None:
        self._path, self._shape = path, shape
        self._first: tuple[int, str] | None = None

    @property
    def name(self) -> str:
        """What separates the fields, in words."""
        return "nothing" if self._first is None else _DELIMITERS[self._first[1]]

    def __call__(self, number: int, delimiter: str) -> None:
        """Look at the delimiter of one line.

        Raises:
            DataError: it is not a space, comma or tab, or not that of the first line.
        """
        known = ", ".join(_DELIMITERS.values())
        if delimiter not in _DELIMITERS:
            raise DataError(
                f"{self._path}:{number}: fields are separated by {delimiter!r}; expected "
                f"{self._shape!r} separated by one of {known}: replace the last {delimiter!r} of "
                "each line"
            )
        if self._first is None:
            self._first = (number, delimiter)
        elif delimiter != self._first[1]:
            raise DataError(
                f"{self._path}:{number}: fields are separated by {_DELIMITERS[delimiter]}, those "
                f"of line {self._first[0]} by {self.name}; write all lines with the same one"
            )


def parsed(
    rows: Iterable[tuple[int, _Row]], parse: Callable[[int, _Row], VideoAnnotation | None]
) -> Iterator[VideoAnnotation | BadLine]:
    """Yield what `parse` makes of each numbered row: a record, nothing, or why not."""
    for number, row in rows:
        try:
            entry = parse(number, row)
        except DataError as error:
            yield BadLine(number, str(error))
        else:
            if entry is not None:
                yield entry


def bad_line(path: Path, number: int, line: str, shape: str) -> DataError:
    """Return the error of a line that has not the expected shape."""
    return DataError(f"{path}:{number}: expected {shape!r}, got {line[:_SHOWN]!r}")


def refuse_several_labels(line: str, *, path: Path, number: int) -> None:
    """Check that a line that names a video file has no more than one number behind it.

    Raises:
        DataError: it has several.
    """
    match = _NUMBERS_AFTER_VIDEO.fullmatch(line)
    if match is not None and len(_NUMBER.findall(match["numbers"])) > 1:
        raise DataError(
            f"{path}:{number}: several numbers {match['numbers'].strip(_SEPARATORS)!r} after the "
            f"video {match['video'][:_SHOWN]!r}, expected its label; a list with several labels a "
            "video (multi-label) cannot be read: keep one label a line"
        )


def whole_number(text: str, *, path: Path, number: int, what: str) -> int:
    """Return a field as an integer; `3.0` is one, too, as tables with gaps write 3.

    Raises:
        DataError: it is not one, or one of more than nine digits.
    """
    if (value := as_whole_number(text)) is None:
        size = " of at most nine digits" if text.lstrip("+-").isdigit() else ""
        raise DataError(
            f"{path}:{number}: {what} is {text[:_SHOWN]!r}; expected a whole number{size}"
        )
    return value


def as_whole_number(text: str) -> int | None:
    """Return the integer of at most nine digits that a text is, or None."""
    match = _WHOLE.fullmatch(text)
    return None if match is None else int(match[1])
