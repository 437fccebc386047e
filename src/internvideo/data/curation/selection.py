"""Which clips of a collection are wanted, and copying their rows to another file."""

from __future__ import annotations

import math
import operator
import re
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from internvideo.data.curation.rows import (
    KNOWN_COLUMNS,
    MetadataColumns,
    MetadataFile,
    Progress,
    Scan,
    open_metadata,
)
from internvideo.errors import ConfigError, DataError, did_you_mean

__all__ = [
    "ClipFilter",
    "Condition",
    "FilterReport",
    "diverse_choice",
    "filter_metadata",
    "score",
]

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
_CONDITION = re.compile(rf"([^<>=!]+?)\s*({'|'.join(_OPERATORS)})\s*(.*)", re.DOTALL)
_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison of a column with a value, such as `Type=Sports` or `views>=1000`."""

    column: str
    sign: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Take `column=value` apart; the signs are = != < <= > >=.

        Raises:
            ConfigError: it has none of these signs.
        """
        match = _CONDITION.fullmatch(text.strip())
        if match is None:
            raise ConfigError(
                f"the condition {text!r} is not of the form column=value; signs are "
                f"{' '.join(_OPERATORS)}"
            )
        return cls(*match.groups())

    def holds(self, values: dict[str, Any]) -> bool:
        """Return whether a row fulfils it: as numbers where both are, else as texts."""
        given = values.get(self.column)
        if given is None:
            return self.sign == "!="
        pair: tuple[Any, Any] = (_number(given), _number(self.value))
        if None in pair:
            pair = (str(given), self.value)
        return _OPERATORS[self.sign](*pair)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def score(values: dict[str, Any], column: str) -> float:
    """Return a score of a row.

    Raises:
        DataError: it is not a number.
    """
    number = _number(values.get(column))
    if number is None:
        raise DataError(f"{column} is {str(values.get(column))[:_SHOWN]!r}; expected a number")
    return number


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipFilter:
    """Which clips are wanted; None is any.

    Attributes:
        min_aesthetic: least aesthetic score.
        min_umt_sim: least similarity of clip and caption.
        languages: languages of the video, such as "en".
        min_duration: least length of the clip in seconds.
        max_duration: its greatest length.
        where: further comparisons, all of which must hold.
    """

    min_aesthetic: float | None = None
    min_umt_sim: float | None = None
    languages: tuple[str, ...] = ()
    min_duration: float | None = None
    max_duration: float | None = None
    where: tuple[Condition, ...] = ()

    def check_columns(self, file: MetadataFile) -> None:
        """Check that a file has the columns that the filter asks about.

        Raises:
            DataError: one is missing.
        """
        columns = file.columns
        timed = self.min_duration is not None or self.max_duration is not None
        needed = {
            "start": timed,
            "end": timed,
            "aesthetic": self.min_aesthetic is not None,
            "umt_sim": self.min_umt_sim is not None,
            "language": bool(self.languages),
        }
        for what, wanted in needed.items():
            if wanted and getattr(columns, what) is None:
                raise DataError(
                    f"{file.path}: no column with the {what} ({' or '.join(KNOWN_COLUMNS[what])}); "
                    f"the columns are {', '.join(columns.names)}"
                )
        for condition in self.where:
            if condition.column not in columns.names:
                raise DataError(
                    f"{file.path}: no column {condition.column!r}; the columns are "
                    f"{', '.join(columns.names)}.{did_you_mean(condition.column, columns.names)}"
                )

    def takes(self, values: dict[str, Any], columns: MetadataColumns) -> bool:
        """Return whether a clip is wanted.

        Raises:
            DataError: the clip lasts no time, or a score is not a number.
        """
        seconds = columns.seconds(values)
        if seconds is not None:
            if self.min_duration is not None and seconds < self.min_duration:
                return False
            if self.max_duration is not None and seconds > self.max_duration:
                return False
        for column, least in (
            (columns.aesthetic, self.min_aesthetic),
            (columns.umt_sim, self.min_umt_sim),
        ):
            if column is not None and least is not None and score(values, column) < least:
                return False
        if self.languages and values.get(columns.language or "") not in self.languages:
            return False
        return all(condition.holds(values) for condition in self.where)


def diverse_choice(videos: Int[np.ndarray, " n"], count: int, *, seed: int = 42) -> np.ndarray:
    """Draw clips so that videos of many clips do not outweigh the others (InternVid-10M-DIV).

    The weight of a clip is one over the clips of its video. The legacy generator of numpy draws,
    as it did for the published subset.

    Args:
        videos: number of the video of each clip.
        count: clips to draw, without replacement.
        seed: of the generator.

    Returns:
        Places `(count,)` in the order of the draw.
    """
    _, number, counts = np.unique(videos, return_inverse=True, return_counts=True)
    weights = 1.0 / counts[number]
    weights /= weights.sum()
    generator = np.random.RandomState(seed)  # the published draw is this one's
    return generator.choice(len(videos), count, replace=False, p=weights)


@dataclass(frozen=True, kw_only=True, slots=True)
class FilterReport:
    """What a filter did.

    Attributes:
        num_rows: rows read.
        num_taken: rows that the filter takes.
        num_written: rows written; fewer than taken where a diverse part was drawn.
        num_bad: rows that cannot be used and are left out.
        bad: why, of the first hundred.
    """

    num_rows: int
    num_taken: int
    num_written: int
    num_bad: int
    bad: tuple[str, ...]


def filter_metadata(
    path: Path,
    out: Path,
    wanted: ClipFilter,
    *,
    diverse: int | None = None,
    seed: int = 42,
    progress: Progress | None = None,
) -> FilterReport:
    """Write the rows of the clips that are wanted, as they are and in their order.

    Args:
        path: json lines or parquet; memory stays small whatever its size (with `diverse`, 16 bytes
            for each row that the filter takes).
        out: file to write; parquet only from parquet.
        wanted: which clips.
        diverse: of these, draw so many by `diverse_choice`.
        seed: of this draw.
        progress: called with (done, in all), in thousandths of the file.

    Raises:
        ConfigError: an impossible output, or more clips to draw than there are.
        DataError: the file cannot be read, has no rows, or lacks a column.
    """
    file = open_metadata(path)
    file.check_output(out)
    columns, scan = file.columns, Scan(file, progress)
    if columns.names:
        wanted.check_columns(file)
    if diverse is not None and columns.names and columns.video is None:
        raise DataError(f"{path}: no column that names the video; a diverse draw needs one")

    def video_if_taken(values: dict[str, Any]) -> int | None:
        if not wanted.takes(values, columns):
            return None
        return hash(columns.video_of(values)) if diverse is not None else 0

    names = [getattr(columns, what) for what in KNOWN_COLUMNS if what != "caption"]
    names += [condition.column for condition in wanted.where]
    found = scan.rows(video_if_taken, names)
    taken = ((number, video) for number, video in found if video is not None)
    if diverse is None:
        num_taken = num_written = file.copy(out, (number for number, _ in taken))
    else:
        numbers, videos = array("q"), array("q")
        for number, video in taken:
            numbers.append(number)
            videos.append(video)
        num_taken, num_written = len(numbers), diverse
        if not 0 < diverse <= num_taken:
            raise ConfigError(f"cannot draw {diverse} clips of the {num_taken} that are wanted")
        drawn = diverse_choice(np.frombuffer(videos, np.int64), diverse, seed=seed)
        file.copy(out, map(int, np.sort(np.frombuffer(numbers, np.int64)[drawn])))
    return FilterReport(
        num_rows=scan.num_rows,
        num_taken=num_taken,
        num_written=num_written,
        num_bad=scan.num_bad,
        bad=tuple(scan.bad),
    )
