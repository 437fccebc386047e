"""Video instruction data (VideoChat, 11 thousand conversations): questions and answers on videos.

One json list of `{"video": path, "QA": [{"q": question, "a": answer}, …]}`, with a `start` in
seconds and an instruction `i` for a turn where there is one. A single turn asks for a detailed
description; several are a conversation.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internvideo.annotations import Annotations, Question, Segment, VideoAnnotation
from internvideo.errors import ConfigError, DataError
from internvideo.formats.files import Collection
from internvideo.formats.tables import open_table
from internvideo.formats.timestamps import parse_seconds

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["conversation_text", "looks_like", "read", "write"]

_MARK = "###"
_SHOWN = 120
_MAX_TURNS = 4
_REQUESTS = (
    "Describe the video in detail.",
    "Portray the clip with a rich narrative.",
    "What happens in this video?",
    "Tell what can be seen in the video.",
)


def looks_like(file: Glimpse) -> bool:
    """Tell whether this is a json of objects with questions and answers."""
    return "QA" in file.keys


def read(path: Path, root: Path | str) -> Annotations:
    """Read conversations, one a record; a description (one turn) is the caption, too.

    Raises:
        DataError: it is not a list of conversations at all.
    """
    table = open_table(path)

    return Annotations(
        records=table.parsed(_conversation),
        file=path,
        root=root,
        description="VideoChat conversations",
    )


def _conversation(number: int, values: dict[str, Any]) -> VideoAnnotation:
    video, turns = values.get("video"), values.get("QA")
    if not isinstance(turns, list) or not turns:
        raise DataError(
            f"'QA' is {str(turns)[:_SHOWN]!r}; expected a list of questions and answers"
        )
    start = values.get("start")
    questions = tuple(_turn(turn, place) for place, turn in enumerate(turns, start=1))
    return VideoAnnotation(
        path=_text(video, "video"),
        captions=(questions[0].answer,) if len(questions) == 1 else (),
        segments=() if start is None else (Segment(start=parse_seconds(start)),),
        questions=questions,
        line=number,
    )


def _turn(turn: Any, place: int) -> Question:
    if not isinstance(turn, dict):
        raise DataError(f"turn {place} is {str(turn)[:_SHOWN]!r}; expected {{'q': …, 'a': …}}")
    question, answer = (_text(turn.get(name), f"{name!r} of turn {place}") for name in ("q", "a"))
    instruction = turn.get("i") or ""
    if instruction:
        instruction = _text(instruction, f"'i' of turn {place}")
    return Question(question=question, answer=answer, instruction=instruction)


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{what} is {str(value)[:_SHOWN]!r}; expected a text")
    if _MARK in value or "\0" in value:
        raise DataError(f"{what} has {_MARK!r} or a character 0, which no text may hold")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(f"{what} is no UTF-8") from None
    return value.strip()


def conversation_text(
    turns: Sequence[Question], seconds: Sequence[float], *, system: str = ""
) -> str:
    """Return the text that VideoChat is trained on.

    Args:
        turns: the conversation.
        seconds: times of the sampled frames, written with one decimal.
        system: what stands before everything; must be empty or end with a space.

    Raises:
        ConfigError: another ending of `system`.

    >>> turn = Question(question="What happens?", answer="A dog jumps.")
    >>> conversation_text([turn], [0.5, 2.1])
    '###Human: <Video></Video> The video contains 2 frames sampled at 0.5, 2.1 seconds. \
###Human: What happens? ###Assistant: A dog jumps. ###'
    """
    if system and not system.endswith(" "):
        raise ConfigError("the system prompt must end with a space, as another part follows it")
    times = ", ".join(f"{second:.1f}" for second in seconds)
    frames = f"The video contains {len(seconds)} frames sampled at {times} seconds."
    talk = "".join(
        f"{_MARK}Human: {turn.question} {_MARK}Assistant: {turn.answer} " for turn in turns
    )
    return f"{system}{_MARK}Human: <Video></Video> {frames} {talk}{_MARK}"


def write(data: Collection) -> list[Path]:
    """Write a json for each split.

    Videos of even number are described in one turn, the others talked about in up to four.
    """
    talks = [
        {"video": video.path.removeprefix("videos/"), "QA": _written_turns(number, video)}
        for number, video in enumerate(data.videos)
    ]
    written = []
    for split in data.layout.splits:
        held = [t for t, video in zip(talks, data.videos, strict=True) if video.split == split]
        text = json.dumps(held, ensure_ascii=False, indent=1)
        written.append(data.write_text(f"videochat_{split}.json", text))
    return written


def _written_turns(number: int, video: VideoAnnotation) -> list[dict[str, str]]:
    turn = number // 2
    if number % 2 == 0:
        answer = " ".join(_sentence(caption, ".") for caption in video.captions)
        return [{"q": _REQUESTS[turn % len(_REQUESTS)], "a": answer}]
    first = turn % len(video.questions)
    chosen = (video.questions[first:] + video.questions[:first])[:_MAX_TURNS]
    return [{"q": _sentence(q.question, "?"), "a": _sentence(q.answer, ".")} for q in chosen]


def _sentence(text: str, end: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{end}"
