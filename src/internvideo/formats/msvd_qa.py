"""MSVD-QA: questions that were made of the sentences of MSVD.

`msvd_{train,val,test}_qa_encode.json` (originally `{train,val,test}_qa.json`) is one json list of
`question`, `answer`, `video_id` (12) and `id`. `msvd_youtube_mapping.txt` (or
`youtube_mapping.txt`), beside it or the videos, has lines `<clip> vid12`; the video is
`<clip>.avi`, or `vid12.avi` where there is no such line. `msvd_answer_set.txt` has an answer a
line.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internvideo.annotations import Annotations, Question
from internvideo.errors import DataError
from internvideo.formats.files import Collection, files_by_stem, numbered_lines
from internvideo.formats.msrvtt_qa import question_word
from internvideo.formats.questions import by_video, frequent_answers, question
from internvideo.formats.tables import open_table
from internvideo.video.sources import is_url

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "read", "write"]

_KEYS = {"question", "answer", "video_id"}
_MAPPINGS = ("msvd_youtube_mapping.txt", "youtube_mapping.txt")
_SHOWN = 120


def looks_like(file: Glimpse) -> bool:
    """Tell whether this is a json list of questions with a `video_id`, and not MSR-VTT's."""
    keys = set(file.keys)
    return file.is_json_list and keys >= _KEYS and "category_id" not in keys


def read(path: Path, root: Path | str) -> Annotations:
    """Read questions, one record a video."""
    names, clips = files_by_stem(root, subfolders=True), _clips(path, root)

    def parse(number: int, values: dict[str, Any]) -> tuple[str, Question]:
        video = values.get("video_id")
        if not isinstance(video, int | str) or not str(video).isdigit():
            raise DataError(f"'video_id' is {str(video)[:_SHOWN]!r}; expected a number")
        name = f"vid{video}"
        clip = clips.get(name, name)
        kind = question_word(str(values.get("question") or ""))
        place = names.get(clip) or names.get(name) or f"{clip}.avi"
        return place, question(values, number, kind=kind)

    rows = open_table(path).parsed(parse)
    return Annotations(records=by_video(rows), file=path, root=root, description="MSVD-QA")


def _clips(path: Path, root: Path | str) -> dict[str, str]:
    """Return the name of each clip by its number, where a mapping tells it."""
    places = [path.parent] if is_url(str(root)) else [path.parent, Path(root)]
    found = [place / name for place in places for name in _MAPPINGS if (place / name).is_file()]
    clips: dict[str, str] = {}
    for number, line in numbered_lines(found[0]) if found else ():
        words = line.split()
        if len(words) != 2:
            raise DataError(f"{found[0]}:{number}: expected 'clip vid12', got {line[:_SHOWN]!r}")
        clips[words[1]] = words[0]
    return clips


def write(data: Collection) -> list[Path]:
    """Write a list for each split, the mapping to the videos, and the answers of training."""
    numbers = {video.path: Path(video.path).stem.removeprefix("vid") for video in data.videos}
    written, count = [], 0
    for split in data.layout.splits:
        rows = [
            {"answer": each.answer, "question": each.question, "video_id": int(numbers[video.path])}
            for video in data.of(split)
            for each in video.questions
        ]
        rows = [{**row, "id": count + place} for place, row in enumerate(rows)]
        count += len(rows)
        written.append(data.write_text(f"msvd_{split}_qa_encode.json", json.dumps(rows)))
    mapping = (
        f"{video.id}_0_{max(round(video.duration or 0), 1)} vid{numbers[video.path]}\n"
        for video in data.videos
    )
    answers = frequent_answers(each for video in data.of("train") for each in video.questions)
    return [
        *written,
        data.write_text(_MAPPINGS[0], mapping),
        data.write_text("msvd_answer_set.txt", (f"{answer}\n" for answer in answers)),
    ]
