"""TGIF-QA: questions about animated GIFs, in four tasks.

| task       | asks                               | answer                             |
|------------|------------------------------------|------------------------------------|
| frameqa    | what is seen; four kinds           | a word                             |
| count      | how often something happens        | a whole number, 0 to 10            |
| action     | what happens so many times         | one of five, by number             |
| transition | what happens before or after       | one of five, by number             |

The original release has tables of tabs called `{Train,Test}_{task}_question.csv`; the options are
in its columns `a1` to `a5`. Later ones have `{task}_{train,test}.jsonl`, with `options`. Videos are
`<gif_name>.gif`, in the folder of the videos or one below it. `frameqa_trainval_ans2label.json`
holds the answers of frameqa.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internvideo.annotations import Annotations, Choice, Question, VideoAnnotation
from internvideo.errors import DataError
from internvideo.formats.files import Collection, files_by_stem
from internvideo.formats.multiple_choice import choice
from internvideo.formats.questions import (
    by_video,
    frequent_answers,
    numbered_answers,
    question,
)
from internvideo.formats.tables import Table, table_kind

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "read", "write"]

_KINDS = ("object", "number", "color", "location")
_OPTIONS = ("a1", "a2", "a3", "a4", "a5")
_ORDER = re.compile(r"\b(before|after)\b")
_SHOWN = 120


def looks_like(file: Glimpse) -> bool:
    """Tell whether rows have a `gif_name` and a question."""
    return any({"gif_name", "question"} <= set(names) for names in (file.keys, file.header("\t")))


def read(path: Path, root: Path | str) -> Annotations:
    """Read the questions of one task; those with options are the `choices` of their videos."""
    kind = table_kind(path)
    table = Table(path, "tsv" if kind in (None, "csv", "tsv") else kind)  # tabs, called csv
    names = files_by_stem(root, subfolders=True)

    def parse(number: int, values: dict[str, Any]) -> tuple[str, Question | Choice]:
        gif = values.get("gif_name")
        if not isinstance(gif, str) or not gif.strip():
            raise DataError(f"'gif_name' is {str(gif)[:_SHOWN]!r}; expected the name of a gif")
        video = names.get(gif, f"{gif}.gif")
        options = values.get("options") or [values[name] for name in _OPTIONS if name in values]
        if not options:
            return video, question(values, number, kind=_kind_of(values))
        answer = values.get("answer")
        if isinstance(answer, str) and answer.strip().isdigit():
            answer = int(answer)
        task = _task_of(path, values)
        row = {**values, "options": options, "answer": answer, "kind": task}
        return video, choice(row, number)

    return Annotations(
        records=by_video(table.parsed(parse)),
        file=path,
        root=root,
        description="TGIF-QA",
    )


def _kind_of(values: dict[str, Any]) -> str:
    """Return what a question without options asks about: frameqa numbers its kinds, or names them.

    Source: answers of the test split: 0 cat, car, dog; 1 two, three; 2 black, white; 3 room, bed.
    """
    told = values.get("type")
    if told in (None, ""):
        return "count" if str(values.get("answer", "")).strip().isdigit() else ""
    return _KINDS[int(told)] if str(told).isdigit() and int(told) < len(_KINDS) else str(told)


def _task_of(path: Path, values: dict[str, Any]) -> str:
    """Return whether a question with options is about an action or a transition."""
    marks = f"{values.get('vid_id', '')} {path.name}".lower()
    if "trans" in marks:
        return "transition"
    in_order = _ORDER.search(str(values.get("question", "")))
    return "action" if "action" in marks or not in_order else "transition"


def write(data: Collection) -> list[Path]:
    """Write the tasks that the videos have questions of, as json lines, and the answers of frameqa.

    Whatever asks for a number of things is `count`, the rest is frameqa; the choices are action.
    """
    written: list[Path] = []
    for split in data.layout.splits:
        tasks: dict[str, list[dict[str, Any]]] = {"frameqa": [], "count": [], "action": []}
        for video in data.of(split):
            gif = Path(video.path).stem
            for each in video.questions:
                task = "count" if each.kind == "count" else "frameqa"
                answer = _digits(each.answer) if task == "count" else each.answer
                row = {"gif_name": gif, "question": each.question, "answer": answer}
                tasks[task].append(row if task == "count" else {**row, "type": each.kind})
            tasks["action"] += _choices(video, data.classes)
        written += [
            data.write_text(f"{task}_{split}.jsonl", (json.dumps(row) + "\n" for row in rows))
            for task, rows in tasks.items()
        ]
    training = (each for video in data.of("train") for each in video.questions)
    answers = frequent_answers(each for each in training if each.kind != "count")
    name = "frameqa_trainval_ans2label.json"
    return [*written, data.write_text(name, numbered_answers(answers))]


def _choices(video: VideoAnnotation, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the questions about actions with five of the classes as options, in turn."""
    rows = []
    for each in video.questions:
        if each.kind != "action" or each.answer not in classes:
            continue
        true = classes.index(each.answer)
        step = max(len(classes) // len(_OPTIONS), 1)
        places = [(true + step * number) % len(classes) for number in range(len(_OPTIONS))]
        first = true % len(_OPTIONS)
        options = [classes[place] for place in places]
        options = options[first:] + options[:first]
        rows.append({
            "gif_name": Path(video.path).stem, "question": f"{each.question}?",
            "options": options, "answer": options.index(each.answer),
        })  # fmt: skip
    return rows


def _digits(word: str) -> str:
    numbers = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return str(numbers.index(word)) if word in numbers else word
