"""Questions with one answer each: your own list, and what the readers of public data sets share.

A row of your own is `{"video": "a.mp4", "question": "what color is the car?", "answer": "red"}`,
with a `kind` ("color") where you have one. Rows of one video may stand anywhere in the file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from internvideo.annotations import Annotations, BadLine, Choice, Question, VideoAnnotation
from internvideo.errors import DataError
from internvideo.formats.files import JSON_LIST, Collection, read_json, read_text
from internvideo.formats.tables import open_table

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = [
    "Asked",
    "by_video",
    "frequent_answers",
    "looks_like",
    "numbered_answers",
    "question",
    "read",
    "read_answers",
    "write",
]

_SHOWN = 120
_COLUMNS = {"video", "question", "answer"}

Asked: TypeAlias = "tuple[str, Question | Choice] | BadLine"
"""A video and what is asked about it, or why not."""


def looks_like(file: Glimpse) -> bool:
    """Tell whether rows have a video, a question and an answer, and no options."""
    return any(
        set(names) >= _COLUMNS and "options" not in names
        for names in (file.keys, file.header(","), file.header("\t"))
    )


def read(path: Path, root: Path | str) -> Annotations:
    """Read questions: json lines, a json list, csv, tsv or parquet.

    Raises:
        DataError: there is no such table.
    """
    table = open_table(path)
    rows = table.parsed(lambda number, values: (_video(values), question(values, number)))
    return Annotations(
        records=by_video(rows), file=path, root=root, description=f"questions ({table.kind})"
    )


def _video(values: dict[str, Any]) -> str:
    video = values.get("video")
    if not isinstance(video, str) or not video.strip():
        raise DataError(f"'video' is {str(video)[:_SHOWN]!r}; expected the path of a video")
    return video


def question(values: dict[str, Any], line: int, *, kind: str | None = None) -> Question:
    """Return the question of a row; `kind` is what it asks about, by default what the row says.

    Raises:
        DataError: no question, one without words, or no answer.
    """
    answer = values.get("answer")
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        answer = str(answer)
    for name, text in (("question", values.get("question")), ("answer", answer)):
        if not isinstance(text, str) or not any(map(str.isalnum, text)):
            raise DataError(f"the {name} is {str(text)[:_SHOWN]!r}; expected words")
    told = values.get("kind") if kind is None else kind
    return Question(values["question"].strip(), str(answer).strip(), str(told or ""), line=line)


def by_video(rows: Iterable[Asked]) -> list[VideoAnnotation | BadLine]:
    """Return a record a video, in the order of their first questions, behind the bad lines."""
    bad: list[BadLine] = []
    videos: dict[str, VideoAnnotation] = {}
    asked: dict[str, list[Question | Choice]] = {}
    for row in rows:
        if isinstance(row, BadLine):
            bad.append(row)
            continue
        video, each = row
        videos.setdefault(video, VideoAnnotation(path=video, line=each.line))
        asked.setdefault(video, []).append(each)
    return [
        *bad,
        *(
            replace(
                record,
                questions=tuple(each for each in asked[video] if isinstance(each, Question)),
                choices=tuple(each for each in asked[video] if isinstance(each, Choice)),
            )
            for video, record in videos.items()
        ),
    ]


def read_answers(path: Path) -> tuple[str, ...]:
    """Read the answers of a classifier in the order of its outputs.

    Args:
        path: a json object from answer to number (MSRVTT-QA, TGIF-QA), a json list, or a text with
            an answer a line (MSVD-QA).

    Raises:
        DataError: it is none of these, or an answer or number occurs twice.
    """
    text = read_text(path)
    if text.lstrip().startswith("{"):
        numbers = read_json(path)
        if sorted(map(str, numbers.values())) != sorted(map(str, range(len(numbers)))):
            raise DataError(
                f"{path}: expected an object from each answer to its number, 0 to "
                f"{len(numbers) - 1}, each once"
            )
        answers = sorted(numbers, key=lambda answer: int(numbers[answer]))
    elif JSON_LIST.match(text.lstrip()):
        answers = read_json(path)
    else:
        answers = [line.strip() for line in text.splitlines() if line.strip()]
    seen: set[str] = set()
    for place, answer in enumerate(answers, start=1):
        if not isinstance(answer, str) or not answer.strip():
            raise DataError(f"{path}: answer {place} is {str(answer)[:_SHOWN]!r}; expected words")
        if answer in seen:
            raise DataError(f"{path}: the answer {answer[:_SHOWN]!r} occurs twice")
        seen.add(answer)
    return tuple(answers)


def frequent_answers(questions: Iterable[Question], most: int | None = None) -> tuple[str, ...]:
    """Return the answers to questions, the most frequent first and equals in alphabetical order.

    Args:
        questions: of the training.
        most: so many; None: all.
    """
    counts = Counter(each.answer for each in questions)
    return tuple(sorted(counts, key=lambda answer: (-counts[answer], answer))[:most])


def numbered_answers(answers: Sequence[str]) -> str:
    """Return answers as the json object from answer to number that `read_answers` reads."""
    return json.dumps({answer: number for number, answer in enumerate(answers)})


def write(data: Collection) -> list[Path]:
    """Write a `.jsonl` for each split."""
    return [
        data.write_text(
            f"questions_{split}.jsonl",
            (
                json.dumps(
                    {
                        "video": video.path,
                        "question": each.question,
                        "answer": each.answer,
                        "kind": each.kind,
                    },
                    ensure_ascii=False,
                )
                + "\n"
                for video in data.of(split)
                for each in video.questions
            ),
        )
        for split in data.layout.splits
    ]
