"""Taking from the metadata of a clip collection the rows of the clips that are wanted."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from internvideo.data.metadata import ClipFilter, MetadataColumns
from internvideo.data.metadata_files import Block, MetadataFile, open_metadata
from internvideo.errors import ConfigError, DataError

__all__ = ["FilterReport", "diverse_choice", "filter_metadata"]

Progress = Callable[[int, int], None]

_LISTED = 100
_STEPS = 1000


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
        diverse: of these, draw so many by `diverse_choice`, in a second pass.
        seed: of this draw.
        progress: called with (done, in all), in thousandths of the file.

    Raises:
        ConfigError: an impossible output, or more clips to draw than there are.
        DataError: the file cannot be read or lacks a column.
    """
    file = open_metadata(path)
    writer = file.writer(out)  # before hours of reading
    scan = _Scan(file, wanted, progress)
    if diverse is None:
        with writer:
            for block, places in scan:
                writer.write(block, places)
        return scan.report(scan.num_taken)
    taken, videos = array("q"), array("q")
    for block, places in scan:
        taken.extend(block.start + place for place in places)
        videos.extend(hash(scan.columns.video_of(_values(block, place))) for place in places)
    if not 0 < diverse <= len(taken):
        raise ConfigError(f"cannot draw {diverse} clips of the {len(taken)} that the filter takes")
    if scan.columns.video is None:
        raise DataError(f"{path}: no column that names the video; a diverse draw needs one")
    drawn = diverse_choice(np.frombuffer(videos, np.int64), diverse, seed=seed)
    rows = np.sort(np.frombuffer(taken, np.int64)[drawn])
    with writer:
        for block in file.blocks(parse=False):
            ends = np.searchsorted(rows, [block.start, block.start + len(block.rows)])
            writer.write(block, (rows[ends[0] : ends[1]] - block.start).tolist())
            if progress is not None:
                progress(int(block.done * _STEPS), _STEPS)
    return scan.report(diverse)


def _values(block: Block, place: int) -> dict[str, Any]:
    values = block.rows[place]
    assert isinstance(values, dict)
    return values


class _Scan:
    """Goes through a file and tells for each block which rows a filter takes."""

    columns: MetadataColumns

    def __init__(self, file: MetadataFile, wanted: ClipFilter, progress: Progress | None) -> None:
        self._file, self._wanted, self._progress = file, wanted, progress
        self.columns = MetadataColumns.of(())
        self.num_rows = self.num_taken = self.num_bad = 0
        self._bad: list[str] = []

    def __iter__(self) -> Iterator[tuple[Block, list[int]]]:
        for block in self._file.blocks():
            places = [
                place for place, row in enumerate(block.rows) if self._takes(block, place, row)
            ]
            self.num_taken += len(places)
            yield block, places
            if self._progress is not None:
                self._progress(int(block.done * _STEPS), _STEPS)
        if not self.num_rows:
            raise DataError(f"{self._file.path} is empty: it has no rows")

    def _takes(self, block: Block, place: int, row: dict[str, Any] | str | None) -> bool:
        if row is None:  # a blank line
            return False
        self.num_rows += 1
        where = self._file.where(block.start + place)
        if isinstance(row, str):
            self._refuse(row)
            return False
        if not self.columns.names:
            self.columns = MetadataColumns.of(row)
            self._wanted.check_columns(self.columns, where)
        try:
            return self._wanted.takes(row, self.columns)
        except DataError as error:
            self._refuse(f"{where}: {error}")
            return False

    def _refuse(self, message: str) -> None:
        self.num_bad += 1
        if len(self._bad) < _LISTED:
            self._bad.append(message)

    def report(self, num_written: int) -> FilterReport:
        return FilterReport(
            num_rows=self.num_rows,
            num_taken=self.num_taken,
            num_written=num_written,
            num_bad=self.num_bad,
            bad=tuple(self._bad),
        )
