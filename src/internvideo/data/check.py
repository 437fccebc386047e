"""Looking over an annotation file and its videos before a run of days starts."""

from __future__ import annotations

import csv
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TextIO, TypeAlias

import numpy as np

from internvideo.data.clip_list import NO_LABEL, ClipEntry, ClipList
from internvideo.data.clip_sampling import part_frames
from internvideo.data.clips import entry_part, frame_files, open_entry
from internvideo.data.split import relative_path
from internvideo.data.timed_pool import map_with_timeout
from internvideo.errors import ConfigError, VideoError
from internvideo.formats.files import opened
from internvideo.formats.tables import text_lines
from internvideo.video.sources import is_url

__all__ = ["CheckReport", "Problem", "ProblemKind", "check_list", "write_clean"]

ProblemKind: TypeAlias = Literal[
    "line", "label", "duplicate", "missing", "corrupt", "timeout", "part", "short"
]
Progress: TypeAlias = Callable[[str, int, int], None]

_STEP = 1000
_LATE = 0.01  # seconds
_COMPLETE = 0.9
_NOT_BY_LINE = (".json", ".parquet", ".pkl", ".sqlite", ".sqlite3", ".db")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with one clip.

    Attributes:
        line: line of the annotation file (place in it, for a json).
        path: the video.
        kind: "line" of another shape or with an unknown class, "label" outside the classes or
            missing, "duplicate" clip, "missing" video, "corrupt" video, "timeout" in reading it,
            "part" without length or outside the video, "short": too few frames.
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
        interrupted: whether it was stopped before its end, and this is what it had found.
    """

    file: str
    description: str
    num_clips: int
    num_opened: int
    num_captions: int
    class_counts: dict[int, int]
    empty_classes: tuple[int, ...]
    problems: tuple[Problem, ...]
    interrupted: bool = False

    def counts(self) -> dict[str, int]:
        """Return the number of problems of each kind that occurs."""
        return dict(Counter(problem.kind for problem in self.problems))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        problems = [
            {"line": each.line, "path": each.path, "kind": each.kind, "message": each.message}
            for each in self.problems
        ]  # a million of them, perhaps: `asdict` takes four times as long
        return {**values, "problems": problems, "counts": self.counts()}


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
    and the first, middle and last frame of the clip are decoded, in processes of their own. Ctrl-C
    ends it with a report of what was found until then.

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
    labelled = bool((clips.labels != NO_LABEL).any())  # classes may be those of boxes or segments
    if num_classes is None and clips.class_names is not None and labelled:
        num_classes = len(clips.class_names)
    problems = [Problem(bad.line, "", "line", bad.message) for bad in clips.bad_lines]

    def report(place: int, kind: ProblemKind, message: str) -> None:
        entry = clips[place]
        problems.append(Problem(entry.line, entry.path, kind, message))

    num_opened, absent, outside, interrupted = 0, set[int](), set[int](), False
    try:
        for place, message in _bad_labels(clips, num_classes):
            report(place, "label", message)
        for place, message in _bad_parts(clips):
            report(place, "part", message)
            outside.add(place)
        for place, message in _duplicates(clips):
            report(place, "duplicate", message)
        for place, message in _missing(clips, progress):
            report(place, "missing", message)
            absent.add(place)
        chosen = range(0, len(clips), every) if every else ()
        chosen = [place for place in chosen if place not in absent]
        questions = [(clips[place], min_frames) for place in chosen]
        outcomes = map_with_timeout(_look, questions, workers=workers, timeout=timeout)
        for num_opened, outcome in enumerate(outcomes, start=1):
            if outcome.failure == "timeout":
                report(chosen[outcome.place], "timeout", f"not read within {timeout:g} s")
            elif outcome.failure is not None:
                crashed = outcome.failure == "crash"
                message = "the decoder crashed" if crashed else outcome.failure
                report(chosen[outcome.place], "corrupt", message)
            elif outcome.result is not None:
                kind, message = outcome.result
                if kind != "part" or chosen[outcome.place] not in outside:
                    report(chosen[outcome.place], kind, message)
            if progress is not None:
                progress("opening videos", num_opened, len(chosen))
    except KeyboardInterrupt:
        interrupted = True
    labels = Counter(int(label) for label in clips.labels if label >= 0)
    return CheckReport(
        file=clips.file,
        description=clips.description,
        num_clips=len(clips),
        num_opened=num_opened,
        num_captions=clips.num_captions,
        class_counts=dict(sorted(labels.items())),
        empty_classes=tuple(n for n in range(num_classes or 0) if n not in labels),
        problems=tuple(sorted(problems, key=lambda problem: problem.line)),
        interrupted=interrupted,
    )


def _bad_labels(clips: ClipList, num_classes: int | None) -> Iterator[tuple[int, str]]:
    """Yield the place of every clip without a label that can be one, and what is wrong."""
    labels = clips.labels
    outside, classes = (labels < 0) & (labels != NO_LABEL), "labels count from 0"
    if num_classes is not None:
        outside = (labels < 0) | (labels >= num_classes)
        classes = f"{num_classes} classes are 0 to {num_classes - 1}"
        if len(labels) and labels.min() == 1 and labels.max() == num_classes:
            classes += ", this list counts from 1: --first-label 1 (first_label: 1 in a recipe)"
    for place in np.flatnonzero(outside).tolist():
        label = clips[place].label
        yield place, "no label" if label is None else f"label {label}; {classes}"


def _bad_parts(clips: ClipList) -> Iterator[tuple[int, str]]:
    """Yield the place of every part without length or outside its video, by the annotation alone.

    A part may end a hundredth of a second late, as lengths are rounded.
    """
    starts, ends, durations = clips.times
    wrong = (ends <= starts) | (starts >= durations) | (ends > durations + _LATE)
    for place in np.flatnonzero(wrong).tolist():
        start, end, duration = starts[place], ends[place], durations[place]
        if end <= start:
            yield place, f"the part at {start:g} s has no length"
        elif start >= duration:
            yield place, f"the part begins at {start:g} s, the video is over after {duration:g} s"
        else:
            yield place, f"the part ends at {end:g} s, the video after {duration:g} s"


def _duplicates(clips: ClipList) -> Iterator[tuple[int, str]]:
    """Yield the place of every clip that was there before, and on which line."""
    # Eight bytes a clip tell which may be the same; only these are compared.
    hashes = np.fromiter((hash(_identity(entry)) for entry in clips), np.int64, len(clips))
    values, counts = np.unique(hashes, return_counts=True)
    first: dict[tuple[str, ...], tuple[int, int | None]] = {}
    for place in np.flatnonzero(np.isin(hashes, values[counts > 1])).tolist():
        entry = clips[place]
        line, label = first.setdefault(_identity(entry), (entry.line, entry.label))
        if line != entry.line:
            other = "" if label == entry.label else f" with label {label}, here {entry.label}"
            yield place, f"also on line {line}{other}"


def _identity(entry: ClipEntry) -> tuple[str, ...]:
    """Return what makes two entries the same; a clip may have several lines of other captions."""
    key = f"{entry.key}#{entry.first_frame}" if entry.template else entry.key
    if "./" in key and not is_url(entry.path):
        key = os.path.normpath(key)
    return (key, *entry.captions)


def _missing(clips: ClipList, progress: Progress | None) -> Iterator[tuple[int, str]]:
    """Yield the place of every clip whose video is not there, and what is wrong."""
    for place in range(len(clips)):
        path = clips.path(place)
        if not is_url(path) and not os.path.exists(path):  # noqa: PTH110 - twice as fast
            yield place, _why_missing(path)
        if progress is not None and (place % _STEP == 0 or place + 1 == len(clips)):
            progress("looking for files", place + 1, len(clips))


def _why_missing(path: str) -> str:
    if os.path.islink(path):  # noqa: PTH114
        return f"a link to {os.readlink(path)}, which is not there"  # noqa: PTH115
    if "\\" in path and os.path.exists(path.replace("\\", "/")):  # noqa: PTH110
        return "no such file or folder, but there is one with / in place of \\ in its path"
    return "no such file or folder"


def _look(question: tuple[ClipEntry, int]) -> tuple[ProblemKind, str] | None:
    """Open a video and decode three frames of the clip (runs in a process of its own)."""
    entry, min_frames = question
    try:
        with open_entry(entry) as video:
            total = video.num_frames
            if (files := frame_files(entry)) is not None:
                files.check(Path(entry.path))
            try:
                part = None if entry.is_image else entry_part(entry, video)
            except VideoError as error:
                return "part", str(error)
            first, count = (0, total) if part is None else part_frames(total, part)
            video.frames(sorted({first, first + count // 2, first + count - 1}))
            # The frames of a folder were taken at a rate that it does not tell.
            lasts = math.inf if video.codec == "images" else total / video.fps
    except VideoError as error:
        return "corrupt", str(error)
    if count < min_frames and not entry.is_image:
        frames = "frame" if count == 1 else "frames"
        return "short", f"{count} {frames}; at least {min_frames} are wanted"
    if entry.duration is not None and lasts < _COMPLETE * entry.duration - 1:
        return "part", (
            f"the video lasts {lasts:g} s, by the annotation {entry.duration:g} s; it may be cut "
            "off, and its parts are elsewhere then: copy it again"
        )
    return None


def write_clean(clips: ClipList, report: CheckReport, path: Path) -> int:
    """Write the annotation file without the lines that have a problem; return their number.

    Of a folder whose classes have names a list `path,label` is written, relative to itself.

    Raises:
        ConfigError: the annotations are not one clip a line.
    """
    source = Path(clips.file)
    if source.is_dir() and clips.class_names is not None:
        return _write_folder(clips, report, clips.class_names, path)
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


def _write_folder(clips: ClipList, report: CheckReport, names: Sequence[str], path: Path) -> int:
    bad = {(problem.line, problem.path) for problem in report.problems}
    good = [each for each in clips if (each.line, each.path) not in bad and each.label is not None]
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("path", "label"))
        for each in good:
            rows.writerow((relative_path(each.path, path.parent), names[int(each.label or 0)]))
    return len(clips) - len(good)


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
