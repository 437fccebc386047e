"""What the captioned data sets share: sentences by video, and lists of ids beside the sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from internvideo.annotations import BadLine, VideoAnnotation
from internvideo.errors import DataError, did_you_mean
from internvideo.formats.files import numbered_lines, read_json
from internvideo.formats.tables import Table, TableRow

__all__ = ["IdList", "Sentences", "flaw_of", "is_list", "list_of_split", "sibling"]

_SHOWN = 120


class Sentences:
    """The sentences of a file by the id of their video, in the order of the file.

    Args:
        path: the file, for messages.

    Attributes:
        captions: the sentences of each video.
        lines: where the first sentence of each video is.
        unread: lines that belong to no video.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.captions: dict[str, list[str]] = {}
        self.lines: dict[str, int] = {}
        self.unread: list[BadLine] = []
        self._bad: dict[str, list[BadLine]] = {}

    def rows(self, table: Table, needed: Iterable[str], *, expected: str) -> Iterator[TableRow]:
        """Yield the rows that have some columns; the others are kept as `unread`."""
        for row in table.rows():
            if isinstance(row, BadLine):
                self.unread.append(row)
            elif missing := sorted({*needed} - row[1].keys()):
                shown = ", ".join(row[1])[:_SHOWN]
                reason = f"no {', '.join(missing)} in {shown}; expected {expected}"
                self.unread.append(table.bad(row[0], reason))
            else:
                yield row

    def add(self, video: str, text: Any, line: int, *, where: str = "") -> bool:
        """Take a sentence about a video, with a letter or digit in it; return whether it is one."""
        flaw = flaw_of(text)
        if not video or not video.isprintable():
            shown = f"the id {video[:_SHOWN]!r} is no name of a video"
            self.unread.append(BadLine(line, f"{where or f'{self.path}:{line}'}: {shown}"))
            return False
        self.lines.setdefault(video, line)
        if not flaw:
            self.captions.setdefault(video, []).append(text)
            return True
        shown = f"the caption {str(text)[:_SHOWN]!r} of {video[:_SHOWN]!r} {flaw}"
        self.refuse(video, line, f"{where or f'{self.path}:{line}'}: {shown}")
        return False

    def refuse(self, video: str, line: int, message: str, *, tolerated: bool = False) -> None:
        """Remember what cannot be used of a video; tolerated also where it has other sentences."""
        self.lines.setdefault(video, line)
        self._bad.setdefault(video, []).append(BadLine(line, message, tolerated))

    def records(
        self,
        make: Callable[[str], VideoAnnotation],
        ids: IdList | None = None,
        *,
        tolerated: bool = False,
    ) -> Iterator[VideoAnnotation | BadLine]:
        """Yield what is known of some videos, with all their sentences, and what cannot be used.

        Args:
            make: returns the record of a video; its line is added, and its sentences where it has
                no captions of its own.
            ids: the videos; None is all, in the order of the sentences.
            tolerated: whether the published list names videos without sentences.
        """
        yield from self.unread
        yield from () if ids is None else ids.repeated
        for video, line in (self.lines if ids is None else ids.lines).items():
            bad, captions = self._bad.get(video, ()), tuple(self.captions.get(video, ()))
            for each in bad:
                yield replace(each, tolerated=each.tolerated or bool(captions))
            if captions:
                record = make(video)
                yield replace(record, captions=record.captions or captions, line=line)
            elif not bad and ids is not None:
                reason = f"has no sentence in {self.path.name}"
                yield ids.bad(video, line, reason, tolerated=tolerated)


def flaw_of(text: Any) -> str:
    """Return why something is no sentence; empty where it is one."""
    if not isinstance(text, str) or not any(map(str.isalnum, text)):
        return "has no words; expected a sentence"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is no UTF-8; save the file as UTF-8"
    return ""


class IdList:
    """The ids of some videos, each once, in their order.

    Args:
        path: the list, for messages.
        unit: what has a number there: a line, or in a json the "id" or "video".

    Attributes:
        lines: where each id is.
        repeated: the lines whose id was there before.
    """

    def __init__(self, path: Path, unit: str = "line") -> None:
        self.path, self.unit = path, unit
        self.lines: dict[str, int] = {}
        self.repeated: list[BadLine] = []

    @classmethod
    def read(cls, path: Path) -> IdList:
        """Read a text of one id a line, or a json list of ids.

        Raises:
            DataError: it is missing or empty, or a json of another shape.
        """
        ids = cls(path)
        numbered: Iterable[tuple[int, Any]] = numbered_lines(path)
        if path.suffix.lower() == ".json":
            content = read_json(path)
            if not isinstance(content, list) or not all(isinstance(each, str) for each in content):
                raise DataError(f"{path}: expected a json list of the ids of videos")
            ids, numbered = cls(path, "id"), enumerate(content, start=1)
        for line, video in numbered:
            ids.add(video, line)
        if not ids.lines:
            raise DataError(f"{path} is an empty list; check that it was copied completely")
        return ids

    def add(self, video: str, line: int) -> bool:
        """Add an id, and return whether it is a new one."""
        first = self.lines.setdefault(video, line)
        if first != line:
            reason = f"is that of {self.unit} {first}, too; it is taken once"
            self.repeated.append(self.bad(video, line, reason, tolerated=True))
        return first == line

    def bad(self, video: str, line: int, reason: str, *, tolerated: bool) -> BadLine:
        """Return a line that cannot be used."""
        where = f"{self.path}:{line}" if self.unit == "line" else f"{self.path}: {self.unit} {line}"
        return BadLine(line, f"{where}: {video[:_SHOWN]!r} {reason}", tolerated)


def is_list(path: Path) -> bool:
    """Tell whether a file is called as the lists of ids are, `train_list.txt` and so on."""
    return path.name.endswith("_list.txt")


def sibling(path: Path, names: Iterable[str], *, what: str) -> Path:
    """Return the first of some files that lies beside another one.

    Raises:
        DataError: none does.
    """
    wanted = list(names)
    for name in wanted:
        if (path.parent / name).is_file():
            return path.parent / name
    raise DataError(f"{path} needs {what} beside it: {' or '.join(wanted)} in {path.parent}")


def list_of_split(path: Path, split: str, lists: Mapping[str, str]) -> Path:
    """Return the list beside a file of sentences that a split stands for.

    Args:
        path: the file.
        split: as the user calls it.
        lists: name of the list by name of the split.

    Raises:
        DataError: an unknown split, or its list is not there.
    """
    if split not in lists:
        known, nearest = ", ".join(lists), did_you_mean(split, lists)
        raise DataError(f"{path} has no split {split!r}; one of: {known}.{nearest}")
    return sibling(path, [lists[split]], what=f"the list of the split {split}")
