"""Video instruction data (VideoChat, 11 thousand conversations): questions and answers on videos.

One json list of `{"video": path, "QA": [{"q": question, "a": answer}, …]}`, with a `start` in
seconds and an instruction `i` for a turn where there is one. A single turn asks for a detailed
description; several are a conversation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from internvideo.data.clip_list import BadLine, ClipEntry, ClipList
from internvideo.data.formats.files import refuse_split
from internvideo.data.formats.tables import open_table
from internvideo.data.timestamps import parse_seconds
from internvideo.errors import ConfigError, DataError

__all__ = ["Conversation", "Turn", "conversation_text", "read_conversations", "read_videochat"]

_MARK = "###"
_SHOWN = 120


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer; `instruction` may say how to answer."""

    question: str
    answer: str
    instruction: str = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is said about one video.

    Attributes:
        video: its path, below the folder of the videos.
        turns: at least one.
        start: second of the video that the talk begins at, or None.
        place: its number in the file, from 1.
    """

    video: str
    turns: tuple[Turn, ...]
    start: float | None = None
    place: int = 0


def read_conversations(path: Path) -> Iterator[Conversation | BadLine]:
    """Yield the conversations of a file, and what cannot be used in it.

    Raises:
        DataError: it is not a list of conversations at all.
    """
    table = open_table(path)
    for row in table.rows():
        if isinstance(row, BadLine):
            yield row
            continue
        number, values = row
        try:
            yield _conversation(number, values)
        except DataError as error:
            yield table.bad(number, str(error))


def _conversation(number: int, values: dict[str, Any]) -> Conversation:
    video, turns = values.get("video"), values.get("QA")
    if not isinstance(turns, list) or not turns:
        raise DataError(
            f"'QA' is {str(turns)[:_SHOWN]!r}; expected a list of questions and answers"
        )
    start = values.get("start")
    return Conversation(
        video=_text(video, "video"),
        turns=tuple(_turn(turn, place) for place, turn in enumerate(turns, start=1)),
        start=None if start is None else parse_seconds(start),
        place=number,
    )


def _turn(turn: Any, place: int) -> Turn:
    if not isinstance(turn, dict):
        raise DataError(f"turn {place} is {str(turn)[:_SHOWN]!r}; expected {{'q': …, 'a': …}}")
    question, answer = (_text(turn.get(name), f"{name!r} of turn {place}") for name in ("q", "a"))
    instruction = turn.get("i") or ""
    if instruction:
        instruction = _text(instruction, f"'i' of turn {place}")
    return Turn(question, answer, instruction)


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


def conversation_text(turns: Sequence[Turn], seconds: Sequence[float], *, system: str = "") -> str:
    """Return the text that VideoChat is trained on.

    Args:
        turns: the conversation.
        seconds: times of the sampled frames, told with one decimal.
        system: what stands before everything; must be empty or end with a space.

    Raises:
        ConfigError: another ending of `system`.

    >>> conversation_text([Turn("What happens?", "A dog jumps.")], [0.5, 2.1])
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


def read_videochat(
    path: Path,
    *,
    root: Path | str | None = None,
    labels: Path | None = None,
    split: str | None = None,
) -> ClipList:
    """Read the videos of instruction data; a description (one turn) becomes the caption.

    Args:
        path: the json.
        root: folder of the videos; by default that of the json.
        labels: must be None.
        split: must be None.

    Raises:
        DataError: it is not a list of conversations.
    """
    refuse_split(split, path=path)
    if labels is not None:
        raise DataError(f"{path}: conversations have no classes; leave out {labels}")

    def entries() -> Iterator[ClipEntry | BadLine]:
        for item in read_conversations(path):
            if isinstance(item, BadLine):
                yield item
                continue
            captions = (item.turns[0].answer,) if len(item.turns) == 1 else ()
            yield ClipEntry(path=item.video, captions=captions, start=item.start, line=item.place)

    return ClipList(
        entries(), file=path, root=root or path.parent, description="VideoChat conversations"
    )
