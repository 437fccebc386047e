"""What a file of metadata holds: videos, hours, lengths, scores, languages."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from internvideo.data.metadata import MetadataColumns, score
from internvideo.data.metadata_files import Block, MetadataFile, open_metadata
from internvideo.errors import DataError, require

__all__ = ["MetadataStats", "measure_metadata"]

Progress = Callable[[int, int], None]

LENGTH_EDGES = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, math.inf)
"""Bounds of the histogram of clip lengths, in seconds; the lower one belongs to a bin."""

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_DIGITS = 4
_MERGE_AT = 1 << 18
_MAX_LANGUAGES, _SHOWN_LANGUAGES = 1000, 12
_LISTED = 100
_STEPS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class MetadataStats:
    """What a file holds.

    Attributes:
        file: its path.
        num_rows: rows, those included that cannot be used.
        num_clips: rows that can be used.
        num_bad: rows that cannot.
        bad: why, of the first hundred.
        num_videos: different videos.
        hours: length of all clips together.
        lengths: clips in each bin of `LENGTH_EDGES`.
        mean_seconds: mean length of a clip.
        mean_words: mean number of words of a caption.
        scores: quantiles (`QUANTILES`) of each score, right to four digits.
        languages: clips in each language, the most frequent first.
    """

    file: str
    num_rows: int
    num_clips: int
    num_bad: int
    bad: tuple[str, ...]
    num_videos: int
    hours: float
    lengths: tuple[int, ...]
    mean_seconds: float
    mean_words: float
    scores: dict[str, tuple[float, ...]]
    languages: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        edges = [edge if math.isfinite(edge) else None for edge in LENGTH_EDGES]
        return {**asdict(self), "length_edges": edges, "quantiles": list(QUANTILES)}

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw the histogram of lengths and the quantiles of the scores.

        Args:
            path: also write the picture there; the suffix decides the format.

        Returns:
            The matplotlib figure.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        figure_type = require("matplotlib.figure", extra="plot").Figure
        figure = figure_type(figsize=(4.5 * (1 + len(self.scores)), 3.2), layout="constrained")
        lengths, *others = figure.subplots(1, 1 + len(self.scores), squeeze=False)[0]
        lengths.bar(length_names(), self.lengths)
        lengths.set(xlabel="seconds", ylabel="clips", title=f"{self.num_clips:,} clips")
        lengths.tick_params(axis="x", rotation=45)
        for axes, (name, values) in zip(others, self.scores.items(), strict=True):
            axes.plot(values, [100 * quantile for quantile in QUANTILES], marker="o")
            axes.set(xlabel=name, ylabel="% of the clips below")
        if path is not None:
            figure.savefig(path)
        return figure

    def __rich__(self) -> Any:
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=escape(self.file), show_header=False)
        table.add_column(style="bold")
        table.add_column(justify="right")
        rows = {
            "rows": f"{self.num_rows:,}" + (f", {self.num_bad:,} unusable" if self.num_bad else ""),
            "videos": f"{self.num_videos:,}",
            "hours": f"{self.hours:,.2f}",
            "seconds of a clip, mean": f"{self.mean_seconds:.2f}",
            "words of a caption, mean": f"{self.mean_words:.1f}",
        }
        for name, count in zip(length_names(), self.lengths, strict=True):
            if count:
                rows[f"{name} s"] = f"{count:,} ({100 * count / max(sum(self.lengths), 1):.1f} %)"
        for name, values in self.scores.items():
            for quantile, value in zip(QUANTILES, values, strict=True):
                rows[f"{name}, {100 * quantile:g} %"] = f"{value:g}"
        for language, count in list(self.languages.items())[:_SHOWN_LANGUAGES]:
            rows[f"in {language}"] = f"{count:,}"
        for name, value in rows.items():
            table.add_row(escape(name), value)
        return table


def length_names() -> list[str]:
    """Return what the bins of lengths are called, such as "2 to 5"."""
    pairs = pairwise(LENGTH_EDGES)
    return [f"{a:g} to {b:g}" if math.isfinite(b) else f"{a:g} and more" for a, b in pairs]


def measure_metadata(path: Path, *, progress: Progress | None = None) -> MetadataStats:
    """Go once through a file of metadata.

    Memory grows with the number of different videos, by 8 bytes for each, and not with the rows.

    Args:
        path: json lines or parquet.
        progress: called with (done, in all), in thousandths of the file.

    Raises:
        ConfigError: another kind of file.
        DataError: the file cannot be read, or no row of it can be used.
    """
    tally = _Tally(open_metadata(path))
    for block in tally.file.blocks():
        tally.add(block)
        if progress is not None:
            progress(int(block.done * _STEPS), _STEPS)
    return tally.stats()


class _Tally:
    """Counts block after block."""

    columns: MetadataColumns

    def __init__(self, file: MetadataFile) -> None:
        self.file = file
        self.columns = MetadataColumns.of(())
        self.num_rows = self.num_bad = self.num_clips = self.num_words = 0
        self.bad: list[str] = []
        self.videos, self.new_videos = np.zeros(0, np.int64), set[int]()
        self.seconds, self.lengths = 0.0, np.zeros(len(LENGTH_EDGES) - 1, np.int64)
        self.scores: dict[str, Counter[float]] = {}
        self.languages: Counter[str] = Counter()

    def add(self, block: Block) -> None:
        seconds: list[float] = []
        scores: dict[str, list[float]] = {name: [] for name in self.scores}
        for place, row in enumerate(block.rows):
            if row is None:  # a blank line
                continue
            self.num_rows += 1
            if isinstance(row, str):
                self._refuse(row)
                continue
            if not self.columns.names:
                self._begin(row)
                scores = {name: [] for name in self.scores}
            try:
                self._take(row, seconds, scores)
            except DataError as error:
                self._refuse(f"{self.file.where(block.start + place)}: {error}")
        self._count(np.array(seconds), scores)

    def _begin(self, row: dict[str, Any]) -> None:
        self.columns = MetadataColumns.of(row)
        known = (self.columns.aesthetic, self.columns.umt_sim)
        self.scores = {name: Counter() for name in known if name is not None}

    def _take(
        self, row: dict[str, Any], seconds: list[float], scores: dict[str, list[float]]
    ) -> None:
        columns = self.columns
        timed = columns.start is not None and columns.end is not None
        length = columns.seconds(row) if timed else None
        values = {name: score(row, name) for name in scores}
        if length is not None:
            seconds.append(length)
        for name, value in values.items():
            scores[name].append(value)
        self.num_clips += 1
        if columns.video is not None:
            self.new_videos.add(hash(columns.video_of(row)))
        if columns.caption is not None:
            self.num_words += len(str(row.get(columns.caption) or "").split())
        if columns.language is not None:
            language = str(row.get(columns.language))
            known = language in self.languages or len(self.languages) < _MAX_LANGUAGES
            self.languages[language if known else "others"] += 1

    def _refuse(self, message: str) -> None:
        self.num_bad += 1
        if len(self.bad) < _LISTED:
            self.bad.append(message)

    def _count(self, seconds: np.ndarray, scores: dict[str, list[float]]) -> None:
        self.seconds += float(seconds.sum())
        self.lengths += np.histogram(seconds, bins=np.array(LENGTH_EDGES))[0]
        for name, values in scores.items():
            rounded, counts = np.unique(_rounded(np.array(values)), return_counts=True)
            for value, count in zip(rounded.tolist(), counts.tolist(), strict=True):
                self.scores[name][value] += count
        if len(self.new_videos) >= _MERGE_AT:
            self._merge_videos()

    def _merge_videos(self) -> None:
        self.videos = np.union1d(self.videos, np.array(list(self.new_videos), np.int64))
        self.new_videos.clear()

    def stats(self) -> MetadataStats:
        if not self.num_clips:
            reason = self.bad[0] if self.bad else f"{self.file.path} is empty"
            raise DataError(f"{reason}; no row can be used")
        self._merge_videos()
        timed = int(self.lengths.sum())
        return MetadataStats(
            file=str(self.file.path),
            num_rows=self.num_rows,
            num_clips=self.num_clips,
            num_bad=self.num_bad,
            bad=tuple(self.bad),
            num_videos=len(self.videos) if self.columns.video is not None else 0,
            hours=self.seconds / 3600,
            lengths=tuple(self.lengths.tolist()),
            mean_seconds=self.seconds / max(timed, 1),
            mean_words=self.num_words / self.num_clips,
            scores={name: _quantiles(counts) for name, counts in self.scores.items()},
            languages=dict(self.languages.most_common()),
        )


def _rounded(values: np.ndarray) -> np.ndarray:
    """Round to four digits, so that there are only so many different values."""
    sizes = np.floor(np.log10(np.maximum(np.abs(values), 1e-12)))
    scale = 10.0 ** (sizes - _DIGITS + 1)
    return np.round(values / scale) * scale


def _quantiles(counts: Counter[float]) -> tuple[float, ...]:
    """Return the least values that the shares of all counts do not exceed."""
    values = np.array(sorted(counts))
    below = np.cumsum([counts[value] for value in values.tolist()])
    places = np.searchsorted(below, np.array(QUANTILES) * below[-1])
    return tuple(float(f"{value:.{_DIGITS}g}") for value in values[places])
