"""Looking over an annotation file and its videos before a run of days starts."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TextIO, TypeAlias

import numpy as np

from internvideo.data.clip_list import NO_LABEL, ClipEntry, ClipList
from internvideo.data.clip_sampling import part_frames
from internvideo.data.clips import entry_part, open_entry
from internvideo.data.formats.files import opened
from internvideo.data.formats.tables import text_lines
from internvideo.data.timed_pool import map_with_timeout
from internvideo.errors import ConfigError, VideoError
from internvideo.video.sources import is_url

__all__ = ["CheckReport", "Problem", "ProblemKind", "check_list", "write_clean"]

ProblemKind: TypeAlias = Literal[
    "line", "label", "duplicate", "missing", "corrupt", "timeout", "part", "short"
]
Progress: TypeAlias = Callable[[str, int, int], None]

_STEP = 1000
_NOT_BY_LINE = (".json", ".parquet", ".pkl", ".sqlite", ".sqlite3", ".db")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with one clip.

    Attributes:
        line: line of the annotation file (place in it, for a json).
        path: the video.
        kind: "line" of another shape or with an unknown class, "label" outside the classes or
            missing, "duplicate" clip, "missing" video, "corrupt" video, "timeout" in reading it,
            "part" outside the video, "short": too few frames.
        message: what is wrong, in words.
    """

    line: int
    path: str
    kind: ProblemKind
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """What a check found.

    Attributes:
        file: the annotation file.
        description: what it was read as.
        num_clips: clips in it.
        num_opened: videos that were opened and decoded in three places.
        num_captions: sentences about all clips.
        class_counts: clips of each label that occurs.
        empty_classes: labels below the class count that do not occur.
        problems: in the order of the lines.
    """

    file: str
    description: str
    num_clips: int
    num_opened: int
    num_captions: int
    class_counts: dict[int, int]
    empty_classes: tuple[int, ...]
    problems: tuple[Problem, ...]

    def counts(self) -> dict[str, int]:
        """Return the number of problems of each kind that occurs."""
        return dict(Counter(problem.kind for problem in self.problems))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "counts": self.counts()}


def check_list(
    clips: ClipList,
    *,
    every: int = 10,
    num_classes: int | None = None,
    min_frames: int = 2,
    workers: int = 1,
    timeout: float = 60.0,
    progress: Progress | None = None,
) -> CheckReport:
    """Look for what would stop or spoil a run.

    Labels, duplicates and missing files are looked for in all clips. Every n-th video is opened,
    and the first, middle and last frame of the clip are decoded, in processes of their own.

    Args:
        clips: the annotated clips.
        every: open every n-th video; 1 opens all, 0 none.
        num_classes: labels must be below this; by default the number of names the format gives.
        min_frames: fewer make a clip too short.
        workers: processes.
        timeout: seconds for one video.
        progress: called with (stage, done, in all).
    """
    if every < 0 or workers < 1 or not timeout > 0 or min_frames < 1:
        raise ConfigError(
            "every must be at least 0, workers and min_frames at least 1 and timeout positive, got "
            f"{every}, {workers}, {min_frames} and {timeout}"
        )
    if num_classes is None and clips.class_names is not None:
        num_classes = len(clips.class_names)
    problems = [
        *(Problem(bad.line, "", "line", bad.message) for bad in clips.bad_lines),
        *_label_problems(clips, num_classes),
        *_duplicates(clips),
        *_missing(clips, progress),
    ]
    absent = {problem.line for problem in problems if problem.kind == "missing"}
    chosen = [
        clips[place]
        for place in range(0, len(clips), every or len(clips) + 1)
        if every and clips[place].line not in absent
    ]
    problems += _unreadable(chosen, min_frames, workers, timeout, progress)
    labels = Counter(int(label) for label in clips.labels if label >= 0)
    return CheckReport(
        file=clips.file,
        description=clips.description,
        num_clips=len(clips),
        num_opened=len(chosen),
        num_captions=clips.num_captions,
        class_counts=dict(sorted(labels.items())),
        empty_classes=tuple(n for n in range(num_classes or 0) if n not in labels),
        problems=tuple(sorted(problems, key=lambda problem: problem.line)),
    )


def _label_problems(clips: ClipList, num_classes: int | None) -> Iterator[Problem]:
    labels = clips.labels
    outside = (labels < 0) & (labels != NO_LABEL)
    if num_classes is not None:
        outside = (labels < 0) | (labels >= num_classes)
    for place in np.flatnonzero(outside):
        entry = clips[int(place)]
        classes = (
            "" if num_classes is None else f"; {num_classes} classes are 0 to {num_classes - 1}"
        )
        message = "no label" if entry.label is None else f"label {entry.label}{classes}"
        yield Problem(entry.line, entry.path, "label", message)


def _duplicates(clips: ClipList) -> Iterator[Problem]:
    # Eight bytes a clip tell which may be the same; only these are compared.
    hashes = np.fromiter((hash(_identity(entry)) for entry in clips), np.int64, len(clips))
    values, counts = np.unique(hashes, return_counts=True)
    first: dict[tuple[str, ...], tuple[int, int | None]] = {}
    for place in np.flatnonzero(np.isin(hashes, values[counts > 1])):
        entry = clips[int(place)]
        line, label = first.setdefault(_identity(entry), (entry.line, entry.label))
        if line != entry.line:
            other = "" if label == entry.label else f" with label {label}, here {entry.label}"
            yield Problem(entry.line, entry.path, "duplicate", f"also on line {line}{other}")


def _identity(entry: ClipEntry) -> tuple[str, ...]:
    """Return what makes two entries the same; a clip may have several lines of other captions."""
    key = f"{entry.key}#{entry.first_frame}" if entry.template else entry.key
    return (key, *entry.captions)


def _missing(clips: ClipList, progress: Progress | None) -> Iterator[Problem]:
    for place in range(len(clips)):
        path = clips.path(place)
        if not is_url(path) and not Path(path).exists():
            yield Problem(clips[place].line, path, "missing", "no such file or folder")
        if progress is not None and (place % _STEP == 0 or place + 1 == len(clips)):
            progress("looking for files", place + 1, len(clips))


def _unreadable(
    chosen: list[ClipEntry],
    min_frames: int,
    workers: int,
    timeout: float,
    progress: Progress | None,
) -> Iterator[Problem]:
    questions = [(entry, min_frames) for entry in chosen]
    outcomes = map_with_timeout(_look, questions, workers=workers, timeout=timeout)
    for done, outcome in enumerate(outcomes, start=1):
        entry = chosen[outcome.place]
        if outcome.failure == "timeout":
            yield Problem(entry.line, entry.path, "timeout", f"not read within {timeout:g} s")
        elif outcome.failure is not None:
            message = "the decoder crashed" if outcome.failure == "crash" else outcome.failure
            yield Problem(entry.line, entry.path, "corrupt", message)
        elif outcome.result is not None:
            kind, message = outcome.result
            yield Problem(entry.line, entry.path, kind, message)
        if progress is not None:
            progress("opening videos", done, len(chosen))


def _look(question: tuple[ClipEntry, int]) -> tuple[ProblemKind, str] | None:
    """Open a video and decode three frames of the clip (runs in a process of its own)."""
    entry, min_frames = question
    try:
        with open_entry(entry) as video:
            total = video.num_frames
            try:
                part = None if entry.is_image else entry_part(entry, video)
            except VideoError as error:
                return "part", str(error)
            first, count = (0, total) if part is None else part_frames(total, part)
            video.frames(sorted({first, first + count // 2, first + count - 1}))
    except VideoError as error:
        return "corrupt", str(error)
    if count < min_frames and not entry.is_image:
        return "short", f"{count} frames; at least {min_frames} are wanted"
    return None


def write_clean(clips: ClipList, report: CheckReport, path: Path) -> int:
    """Write the annotation file without the lines that have a problem; return their number.

    Raises:
        ConfigError: the annotations are not one clip a line.
    """
    source = Path(clips.file)
    if source.is_dir() or source.suffix.lower() in _NOT_BY_LINE or clips.copying == "none":
        raise ConfigError(
            f"cannot write a clean copy of {source}: only lists with one clip a line can be copied "
            "without some; use the line numbers of --json instead"
        )
    if path.resolve() == source.resolve():
        raise ConfigError(f"{path} is the annotation file itself; give another name")
    bad = {problem.line for problem in report.problems}
    with (
        opened(source, errors="surrogateescape", newline="") as file,
        path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as copy,
    ):
        records = _rows(file, source) if clips.copying == "rows" else enumerate(file, start=1)
        copy.writelines(text for number, text in records if number not in bad)
    return len(bad)


def _rows(file: TextIO, path: Path) -> Iterator[tuple[int, str]]:
    """Yield the first line and the text of each row of a csv or tsv; texts may have line ends."""
    text: list[str] = []

    def lines() -> Iterator[str]:
        for line in text_lines(file, path):
            text.append(line)
            yield line

    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 1
        text.clear()
        try:
            next(reader)
        except StopIteration:
            return
        except csv.Error:
            pass  # the report has it
        yield number, "".join(text)
