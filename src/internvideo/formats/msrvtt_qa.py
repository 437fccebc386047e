"""MSRVTT-QA: questions made of the sentences of MSR-VTT; the answers are single words.

| file                                 | rows                                                   |
|--------------------------------------|--------------------------------------------------------|
| `msrvtt_qa_{train,val,test}.jsonl`   | `question`, `answer`, `video_id` ("video123"), perhaps |
|                                      | `answer_type`, a line each                             |
| `{train,val,test}_qa.json`, original | one list, `video_id` (123), `category_id`, `id`        |
| `msrvtt_train_ans2label.json`        | answer → number, see `questions.read_answers`          |

Videos are `<video_id>.mp4`. A question asks what, who, how, when or where: its first such word.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internvideo.annotations import Annotations, Question
from internvideo.errors import DataError
from internvideo.formats.files import Collection, files_by_stem
from internvideo.formats.questions import (
    by_video,
    frequent_answers,
    numbered_answers,
    question,
)
from internvideo.formats.tables import open_table

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "question_word", "read", "write"]

_KEYS = {"question", "answer", "video_id"}
_QUESTION_WORD = re.compile(r"\b(what|who|how|when|where)\b")
_SHOWN = 120


def looks_like(file: Glimpse) -> bool:
    """Tell whether rows have a question, an answer and a `video_id` of MSR-VTT."""
    keys = set(file.keys)
    return keys >= _KEYS and (not file.is_json_list or "category_id" in keys)


def read(path: Path, root: Path | str) -> Annotations:
    """Read questions, one record a video."""
    names = files_by_stem(root, subfolders=True)

    def parse(number: int, values: dict[str, Any]) -> tuple[str, Question]:
        video = values.get("video_id")
        if not isinstance(video, int | str) or isinstance(video, bool) or video == "":
            raise DataError(f"'video_id' is {str(video)[:_SHOWN]!r}; expected such as 'video123'")
        name = f"video{video}" if str(video).isdigit() else str(video)
        asked = str(values.get("question") or "")
        kind = values.get("answer_type") or question_word(asked)
        return names.get(name, f"{name}.mp4"), question(values, number, kind=str(kind))

    rows = open_table(path).parsed(parse)
    return Annotations(records=by_video(rows), file=path, root=root, description="MSRVTT-QA")


def question_word(asked: str) -> str:
    """Return which of the five words a question has first, or "other".

    >>> question_word("in which room is who dancing?")
    'who'
    """
    match = _QUESTION_WORD.search(asked.lower())
    return match[1] if match else "other"


def write(data: Collection) -> list[Path]:
    """Write `msrvtt_qa_{split}.jsonl` and the answers of the training split."""
    written = [
        data.write_text(f"msrvtt_qa_{split}.jsonl", (
            json.dumps({
                "answer": each.answer, "question": each.question,
                "video_id": Path(video.path).stem, "answer_type": each.kind,
            }) + "\n"
            for video in data.of(split)
            for each in video.questions
        ))
        for split in data.layout.splits
    ]  # fmt: skip
    answers = frequent_answers(each for video in data.of("train") for each in video.questions)
    return [*written, data.write_text("msrvtt_train_ans2label.json", numbered_answers(answers))]
