"""What a file of metadata holds: videos, hours, lengths, scores, languages."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from internvideo.data.curation.rows import (
    KNOWN_COLUMNS,
    MetadataColumns,
    Progress,
    Scan,
    open_metadata,
)
from internvideo.data.curation.selection import score
from internvideo.errors import DataError, require

__all__ = ["LENGTH_EDGES", "QUANTILES", "MetadataStats", "measure_metadata"]

LENGTH_EDGES = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, math.inf)
"""Bounds of the histogram of clip lengths, in seconds; the lower one belongs to a bin."""

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_DIGITS = 4
_FOLD_AT, _MERGE_AT = 1 << 16, 1 << 18
_MAX_LANGUAGES, _SHOWN_LANGUAGES = 1000, 12


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
        """Return a matplotlib figure of the lengths and the quantiles of the scores.

        Args:
            path: also write the picture there; the suffix decides the format.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        figure_type = require("matplotlib.figure", extra="plot").Figure
        figure = figure_type(figsize=(4.5 * (1 + len(self.scores)), 3.2), layout="constrained")
        lengths, *others = figure.subplots(1, 1 + len(self.scores), squeeze=False)[0]
        lengths.bar(_LENGTH_NAMES, self.lengths)
        lengths.set(xlabel="seconds", ylabel="clips", title=f"{self.num_clips:,} clips")
        lengths.tick_params(axis="x", rotation=45)
        lengths.yaxis.get_major_locator().set_params(integer=True)
        for axes, (name, values) in zip(others, self.scores.items(), strict=True):
            axes.plot(values, [100 * quantile for quantile in QUANTILES], marker="o")
            axes.set(xlabel=name, ylabel="% of the clips below", ylim=(0, 100))
            axes.grid(alpha=0.3)
        if path is not None:
            figure.savefig(path)
        return figure

    def __rich__(self) -> Any:
        from rich.markup import escape
        from rich.table import Table

        rows = {
            "rows": f"{self.num_rows:,}" + (f", {self.num_bad:,} unusable" if self.num_bad else ""),
            "videos": f"{self.num_videos:,}",
            "hours": f"{self.hours:,.2f}",
            "seconds of a clip, mean": f"{self.mean_seconds:.2f}",
            "words of a caption, mean": f"{self.mean_words:.1f}",
        }
        for name, count in zip(_LENGTH_NAMES, self.lengths, strict=True):
            if count:
                rows[f"{name} s"] = f"{count:,} ({100 * count / max(sum(self.lengths), 1):.1f} %)"
        for name, values in self.scores.items():
            for quantile, value in zip(QUANTILES, values, strict=True):
                rows[f"{name}, {100 * quantile:g} %"] = f"{value:g}"
        for language, count in list(self.languages.items())[:_SHOWN_LANGUAGES]:
            rows[f"in {language}"] = f"{count:,}"
        table = Table(title=escape(self.file), show_header=False)
        table.add_column(style="bold")
        table.add_column(justify="right")
        for name, value in rows.items():
            table.add_row(escape(name), value)
        return table


_LENGTH_NAMES = [
    f"{a:g} to {b:g}" if math.isfinite(b) else f"{a:g} and more" for a, b in pairwise(LENGTH_EDGES)
]


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
    file = open_metadata(path)
    scan, counts = Scan(file, progress), _Counts(file.columns)
    names = [getattr(file.columns, what) for what in KNOWN_COLUMNS]
    for _ in scan.rows(counts.add, names):
        pass
    if not counts.num_clips:
        raise DataError(f"{scan.bad[0]}; no row can be used")
    counts.fold()
    return MetadataStats(
        file=str(path),
        num_rows=scan.num_rows,
        num_clips=counts.num_clips,
        num_bad=scan.num_bad,
        bad=tuple(scan.bad),
        num_videos=counts.num_videos,
        hours=counts.total_seconds / 3600,
        lengths=tuple(counts.lengths.tolist()),
        mean_seconds=counts.total_seconds / max(int(counts.lengths.sum()), 1),
        mean_words=counts.num_words / counts.num_clips,
        scores={name: _quantiles(values) for name, values in counts.scores.items()},
        languages=dict(counts.languages.most_common()),
    )


class _Counts:
    """Counts of the rows so far; the latest rows wait in lists until `fold` adds them up."""

    def __init__(self, columns: MetadataColumns) -> None:
        self.columns = columns
        self.num_clips = self.num_words = 0
        self.total_seconds, self.lengths = 0.0, np.zeros(len(LENGTH_EDGES) - 1, np.int64)
        self.languages: Counter[str] = Counter()
        known = (columns.aesthetic, columns.umt_sim)
        self.scores: dict[str, Counter[float]] = {name: Counter() for name in known if name}
        # Hashes; to merge millions of them takes a second, so that new ones are gathered first.
        self._videos, self._new_videos = np.zeros(0, np.int64), set[int]()
        self._new_seconds: list[float] = []
        self._new_scores: dict[str, list[float]] = {name: [] for name in self.scores}

    def add(self, row: dict[str, Any]) -> None:
        columns = self.columns
        seconds = columns.seconds(row)
        scores = [score(row, name) for name in self.scores]
        self.num_clips += 1
        if seconds is not None:
            self._new_seconds.append(seconds)
        for values, value in zip(self._new_scores.values(), scores, strict=True):
            values.append(value)
        if columns.video is not None:
            self._new_videos.add(hash(columns.video_of(row)))
        if columns.caption is not None:
            self.num_words += len(str(row.get(columns.caption) or "").split())
        if columns.language is not None:
            language = str(row.get(columns.language))
            known = language in self.languages or len(self.languages) < _MAX_LANGUAGES
            self.languages[language if known else "others"] += 1
        if self.num_clips % _FOLD_AT == 0:
            self.fold()

    def fold(self) -> None:
        self.total_seconds += float(np.sum(self._new_seconds))
        self.lengths += np.histogram(self._new_seconds, bins=np.array(LENGTH_EDGES))[0]
        for name, values in self._new_scores.items():
            rounded, counts = np.unique(_rounded(np.array(values)), return_counts=True)
            self.scores[name].update(dict(zip(rounded.tolist(), counts.tolist(), strict=True)))
            values.clear()
        self._new_seconds.clear()
        if len(self._new_videos) >= _MERGE_AT:
            self._merge_videos()

    def _merge_videos(self) -> None:
        self._videos = np.union1d(self._videos, np.array(list(self._new_videos), np.int64))
        self._new_videos.clear()

    @property
    def num_videos(self) -> int:
        self._merge_videos()
        return len(self._videos)


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
