"""Multiple choice: which of some sentences belongs to a video. MSR-VTT, LSMDC, and your own.

| file                 | rows                                                          |
|----------------------|---------------------------------------------------------------|
| MSR-VTT (`.jsonl`)   | `{"clip_name", "options", "answer"}`, videos `clip_name.mp4`  |
| your own (`.jsonl`)  | `{"video", "options", "answer"}`, `answer` a number or a text |
|                      | of them; where they answer one, a `question`                  |
| LSMDC (`.csv`, tabs) | id, 4 times, 5 options, answer from 1; videos `movie/id.avi`  |
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from internvideo.annotations import Annotations, BadLine, Choice, VideoAnnotation
from internvideo.errors import DataError
from internvideo.formats.files import Collection, files_by_stem, numbered_lines, read_text
from internvideo.formats.lsmdc import clip_path

__all__ = ["choice", "read", "write"]

_LSMDC_COLUMNS, _LSMDC_OPTIONS = 11, 5
_LSMDC_SKIPPED = (
    "3056_PUBLIC_ENEMIES_01.24.29",
    "3035_INSIDE_MAN_02.02.18",
    "3064_SPARKLE_2012_00.14.12",
)
"""Clips that the published evaluation leaves out, as their videos are broken."""


def read(path: Path, root: Path | str) -> Annotations:
    """Read a file of multiple-choice questions, one record a video.

    Rows of LSMDC that lack a field, and three clips whose videos are broken, are left out as in the
    published evaluation: they are the bad lines.
    """
    lsmdc = path.suffix.lower() in (".csv", ".tsv")
    bad: list[BadLine] = []
    choices: dict[str, list[Choice]] = {}
    for row in _lsmdc_rows(path, root) if lsmdc else _json_rows(path, root):
        if isinstance(row, BadLine):
            bad.append(row)
        else:
            choices.setdefault(row[0], []).append(row[1])
    videos = [
        VideoAnnotation(path=video, choices=tuple(asked), line=asked[0].line)
        for video, asked in choices.items()
    ]
    return Annotations(
        records=[*bad, *videos],
        file=path,
        root=root,
        description="LSMDC multiple choice" if lsmdc else "multiple choice, one json object a line",
    )


def _json_rows(path: Path, root: Path | str) -> Iterator[tuple[str, Choice]]:
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
        try:
            asked = choice(row, number)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        if "video" in row:
            yield str(row["video"]), asked
        else:
            yield names.get(str(row["clip_name"]), f"{row['clip_name']}.mp4"), asked


def choice(row: Mapping[str, Any], line: int) -> Choice:
    """Return the question of a row with `options`, `answer`, and perhaps `question`, `kind`, `id`.

    Raises:
        DataError: fewer than two options, an answer that is none of them, or a question that is no
            text or has no words.
    """
    options, answer, question = row.get("options"), row.get("answer"), row.get("question", "")
    if (
        not isinstance(options, list)
        or len(options) < 2
        or not all(isinstance(each, str) and each.strip() for each in options)
    ):
        raise DataError(
            f"'options' must be a list of two or more sentences, got {str(options)[:120]}"
        )
    if isinstance(answer, str) and answer in options:
        answer = options.index(answer)
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(options):
        raise DataError(
            f"'answer' is {answer!r}; expected one of the options, or its number from 0 to "
            f"{len(options) - 1}"
        )
    if not isinstance(question, str) or ("question" in row and not any(map(str.isalnum, question))):
        raise DataError(f"the question is {str(question)[:120]!r}; expected words")
    return Choice(
        options=tuple(options),
        answer=answer,
        question=question,
        kind=str(row.get("kind", "")),
        id=str(row.get("id", "")),
        line=line,
    )


def _lsmdc_rows(path: Path, root: Path | str) -> Iterator[tuple[str, Choice] | BadLine]:
    """Yield the questions with their videos, and the rows that are left out."""
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
            yield BadLine(reader.line_num, f"{where}: a field is missing")
            continue
        clip = row[0]
        if clip.startswith(_LSMDC_SKIPPED):
            yield BadLine(reader.line_num, f"{where}: the published evaluation skips {clip}")
            continue
        options = tuple(row[5 : 5 + _LSMDC_OPTIONS])
        if not row[-1].strip().isdecimal() or not 1 <= int(row[-1]) <= _LSMDC_OPTIONS:
            raise DataError(
                f"{where}: the answer is {row[-1]!r}; expected a number from 1 to {_LSMDC_OPTIONS}"
            )
        choice = Choice(options=options, answer=int(row[-1]) - 1, line=reader.line_num)
        yield clip_path(clip, names), choice


def write(data: Collection) -> list[Path]:
    """Write `multiple_choice.jsonl`: `video`, `options`, `answer` (from 0) and `kind`."""
    rows = (
        {"video": video.path, "options": c.options, "answer": c.answer, "kind": c.kind}
        for video in data.videos
        for c in video.choices
    )
    return [data.write_text("multiple_choice.jsonl", (json.dumps(row) + "\n" for row in rows))]
