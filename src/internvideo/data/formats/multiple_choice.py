"""Multiple choice: which of some sentences belongs to a video. MSR-VTT, LSMDC, and your own."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from internvideo.data.clip_list import ClipEntry, ClipList
from internvideo.data.formats.files import files_by_stem, numbered_lines, read_text
from internvideo.errors import DataError

__all__ = ["ChoiceQuestion", "MultipleChoice", "read_multiple_choice"]

_LSMDC_COLUMNS, _LSMDC_OPTIONS = 11, 5
_LSMDC_SKIPPED = (
    "3056_PUBLIC_ENEMIES_01.24.29",
    "3035_INSIDE_MAN_02.02.18",
    "3064_SPARKLE_2012_00.14.12",
)
"""Clips that the published evaluation leaves out, as their videos are broken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceQuestion:
    """One video with some sentences.

    Attributes:
        path: of the video, as the file names it.
        options: the sentences, two or more.
        answer: number of the true one, from 0.
        kind: what the wrong ones differ in, where the file tells it.
        line: line in the file.
    """

    path: str
    options: tuple[str, ...]
    answer: int
    kind: str = ""
    line: int = 0


@dataclass(frozen=True, kw_only=True)
class MultipleChoice:
    """The questions of one file, by video.

    Attributes:
        videos: each video once.
        questions: those about each of the videos, in the same order.
        file: where they were read.
        description: what was read.
        left_out: why some rows were left out, as the published evaluation does.
    """

    videos: ClipList
    questions: tuple[tuple[ChoiceQuestion, ...], ...]
    file: str
    description: str
    left_out: tuple[str, ...] = field(default=())

    @property
    def num_questions(self) -> int:
        """Questions over all videos."""
        return sum(len(each) for each in self.questions)


def read_multiple_choice(path: Path, *, root: Path | str | None = None) -> MultipleChoice:
    """Read a file of multiple-choice questions; its format is told from its content.

    | file                 | rows                                                          |
    |----------------------|---------------------------------------------------------------|
    | MSR-VTT (`.jsonl`)   | `{"clip_name", "options", "answer"}`, videos `clip_name.mp4`  |
    | your own (`.jsonl`)  | `{"video", "options", "answer"}`, `answer` a number or a text |
    | LSMDC (`.csv`, tabs) | id, 4 times, 5 options, answer from 1; videos `movie/id.avi`  |

    Rows of LSMDC that lack a field, and three clips whose videos are broken, are left out as in the
    published evaluation; `left_out` tells them.

    Args:
        path: the file.
        root: folder of the videos; by default that of the file.

    Raises:
        DataError: a row that is no question; its line is named.
    """
    root = root or path.parent
    if path.suffix.lower() in (".csv", ".tsv"):
        found, description = list(_lsmdc_rows(path, root)), "LSMDC multiple choice"
    else:
        found = list(_json_rows(path, root))
        description = "multiple choice, one json object a line"
    by_video: dict[str, list[ChoiceQuestion]] = {}
    for row in found:
        if isinstance(row, ChoiceQuestion):
            by_video.setdefault(row.path, []).append(row)
    entries = (ClipEntry(path=name, line=asked[0].line) for name, asked in by_video.items())
    return MultipleChoice(
        videos=ClipList(entries, file=path, root=root, description=description),
        questions=tuple(tuple(asked) for asked in by_video.values()),
        file=str(path),
        description=description,
        left_out=tuple(row for row in found if isinstance(row, str)),
    )


def _json_rows(path: Path, root: Path | str) -> Iterator[ChoiceQuestion]:
    names = files_by_stem(root, subfolders=True)
    for number, line in numbered_lines(path):
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{where}: not json ({error.msg})") from None
        if not isinstance(row, dict) or not ("video" in row or "clip_name" in row):
            raise DataError(
                f"{where}: expected an object with 'video' (or 'clip_name'), 'options' and "
                f"'answer', got {line[:120]!r}"
            )
        options = _options(row.get("options"), where)
        if "video" in row:
            video = str(row["video"])
        else:
            video = names.get(str(row["clip_name"]), f"{row['clip_name']}.mp4")
        yield ChoiceQuestion(
            path=video,
            options=options,
            answer=_answer(row.get("answer"), options, where),
            kind=str(row.get("kind", "")),
            line=number,
        )


def _options(options: Any, where: str) -> tuple[str, ...]:
    if (
        not isinstance(options, list)
        or len(options) < 2
        or not all(isinstance(each, str) and each.strip() for each in options)
    ):
        raise DataError(
            f"{where}: 'options' must be a list of two or more sentences, got {str(options)[:120]}"
        )
    return tuple(options)


def _answer(answer: Any, options: tuple[str, ...], where: str) -> int:
    if isinstance(answer, str) and answer in options:
        return options.index(answer)
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(options):
        return answer
    raise DataError(
        f"{where}: 'answer' is {answer!r}; expected one of the options, or its number from 0 to "
        f"{len(options) - 1}"
    )


def _lsmdc_rows(path: Path, root: Path | str) -> Iterator[ChoiceQuestion | str]:
    """Yield the questions, and a line of text for each row that is left out."""
    names = files_by_stem(root, subfolders=True)
    reader = csv.reader(read_text(path).split("\n"), delimiter="\t")
    for row in reader:
        if not any(row):
            continue
        where = f"{path}:{reader.line_num}"
        if len(row) == 1 or len(row) > _LSMDC_COLUMNS:
            raise DataError(
                f"{where}: {len(row)} fields separated by tabs, expected {_LSMDC_COLUMNS}: id, 4 "
                f"times, {_LSMDC_OPTIONS} options, answer from 1"
            )
        if len(row) < _LSMDC_COLUMNS or not all(field.strip() for field in row):
            yield f"{where}: a field is missing"
            continue
        clip = row[0]
        if clip.startswith(_LSMDC_SKIPPED):
            yield f"{where}: the published evaluation skips {clip}"
            continue
        options = tuple(row[5 : 5 + _LSMDC_OPTIONS])
        if not row[-1].strip().isdecimal() or not 1 <= int(row[-1]) <= _LSMDC_OPTIONS:
            raise DataError(
                f"{where}: the answer is {row[-1]!r}; expected a number from 1 to {_LSMDC_OPTIONS}"
            )
        movie = clip.partition(".")[0].rpartition("_")[0]
        yield ChoiceQuestion(
            path=names.get(clip, f"{movie}/{clip}.avi"),
            options=options,
            answer=int(row[-1]) - 1,
            line=reader.line_num,
        )
