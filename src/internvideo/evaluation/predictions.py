"""The answers of an evaluation as a file that grows line by line, and from which it goes on.

    {"evaluation": {…protocol, weights…}}
    {"index": 0, "video": …, …what the answerer's `to_json` says…}
    {"index": 7, "video": …, "error": …}

What is kept in memory, and goes into a report, is what `from_json` reads back from a line: a
report of an evaluation that was stopped cannot differ from that of one that was not. Further
processes write files of their own beside `predictions.jsonl` (`predictions.jsonl.1`); in the end
the first one puts all lines into order. Videos that could not be read are tried again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Generic, Protocol, TypeVar

from internvideo.errors import ConfigError

__all__ = ["Answered", "PredictionFile", "differing", "read_header", "read_predictions"]

_HEADER = "evaluation"

A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Answered(Generic[A]):
    """What became of one video of an evaluation.

    Attributes:
        index: number of the video in its source.
        video: its name.
        answer: None where it could not be read.
        error: why it could not be read; empty where it could.
    """

    index: int
    video: str
    answer: A | None = None
    error: str = ""


class _Json(Protocol[A]):
    """The part of an answerer that makes its answers json and back."""

    def to_json(self, answer: A) -> dict[str, Any]: ...
    def from_json(self, line: dict[str, Any]) -> A: ...


class PredictionFile(Generic[A]):
    """One process's view of the file.

    Args:
        path: the file; None keeps nothing on disk.
        evaluation: what must be the same to go on: protocol, weights, number of videos.
        answers: makes json of them and back.
        rank: number of this process.

    Attributes:
        kept: what is known by now, by number of the video.

    Raises:
        ConfigError: the file belongs to another evaluation.
    """

    def __init__(
        self,
        path: Path | None,
        evaluation: Mapping[str, Any],
        answers: _Json[A],
        *,
        rank: int = 0,
    ) -> None:
        self.path = path
        self.evaluation = dict(evaluation)
        self.answers = answers
        self.rank = rank
        self._file: IO[str] | None = None
        self.kept: dict[int, Answered[A]] = {}
        for each in _files_of(self.path):
            self._check(each)
            for _, line in _lines(each):
                self._keep(line)

    @property
    def finished(self) -> frozenset[int]:
        """Numbers of the videos that need no further look."""
        return frozenset(index for index, each in self.kept.items() if not each.error)

    def add(self, answered: Answered[A]) -> None:
        """Keep one answer; its line is handed to the system when this returns."""
        line = {"index": answered.index, "video": answered.video}
        line |= _said(answered, self.answers)
        self._keep(line)
        if self.path is None:
            return
        if self._file is None:
            self._file = self._open(self.path)
        self._file.write(_text(line))
        self._file.flush()

    def complete(self, answered: Sequence[Answered[A]]) -> None:
        """Replace all files by one that holds these answers, in order; called by one process."""
        self.close()
        if self.path is None:
            return
        places: dict[int, tuple[Path, int]] = {}
        for each in _files_of(self.path):
            for offset, line in _lines(each):
                if line["index"] not in places or "error" not in line:
                    places[line["index"]] = (each, offset)
        draft = self.path.with_name(f".{self.path.name}.part")
        draft.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("w", encoding="utf-8") as file, ExitStack() as stack:
            opened = {each: stack.enter_context(each.open("rb")) for each in _files_of(self.path)}
            file.write(_text({_HEADER: self.evaluation}))
            for each in answered:
                if (place := places.get(each.index)) is None:  # written on another machine
                    line = {"index": each.index, "video": each.video, **_said(each, self.answers)}
                    file.write(_text(line))
                    continue
                opened[place[0]].seek(place[1])
                file.write(opened[place[0]].readline().decode("utf-8"))
        old = _files_of(self.path)
        draft.replace(self.path)
        for each in old:
            if each != self.path:
                each.unlink()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _keep(self, line: dict[str, Any]) -> None:
        index, error = line["index"], line.get("error", "")
        if error and index in self.kept and not self.kept[index].error:
            return
        answer = None if error else self.answers.from_json(line)
        self.kept[index] = Answered(index, line["video"], answer, error)

    def _check(self, path: Path) -> None:
        earlier = read_header(path)
        if earlier is not None and (other := differing(earlier, self.evaluation)):
            raise ConfigError(
                f"{path} is of another evaluation (other {', '.join(other)}); choose another "
                "folder, or delete the file"
            )

    def _open(self, path: Path) -> IO[str]:
        own = path if self.rank == 0 else path.with_name(f"{path.name}.{self.rank}")
        own.parent.mkdir(parents=True, exist_ok=True)
        begun = own.exists() and own.stat().st_size > 0
        file = own.open("a", encoding="utf-8")
        # The empty line ends one that was cut off.
        file.write("\n" if begun else _text({_HEADER: self.evaluation}))
        return file


def differing(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return by what two evaluations are not the same; videos may lie in another folder."""

    def comparable(identity: Mapping[str, Any]) -> dict[str, Any]:
        first = str(identity.get("first_video", ""))
        return {**identity, "first_video": first.rpartition("/")[2]}

    one, other = comparable(earlier), comparable(now)
    return sorted(n for n in one.keys() | other.keys() if one.get(n) != other.get(n))


def read_header(path: Path) -> dict[str, Any] | None:
    """Return what a predictions file says of its evaluation; None where the line is cut off."""
    with path.open(encoding="utf-8") as file:
        try:
            return json.loads(file.readline())[_HEADER]
        except (json.JSONDecodeError, KeyError):
            return None


def read_predictions(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a predictions file, one a video; a line that was cut off is left."""
    return [line for _, line in _lines(path)]


def _said(answered: Answered[A], answers: _Json[A]) -> dict[str, Any]:
    if answered.answer is None:
        return {"error": answered.error}
    return answers.to_json(answered.answer)


def _files_of(path: Path | None) -> list[Path]:
    """Return the files of all processes that there are."""
    if path is None:
        return []
    parts = sorted(path.parent.glob(f"{path.name}.[0-9]*"))
    return [path, *parts] if path.exists() else parts


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield where each line begins, and the line."""
    offset = 0
    with path.open("rb") as file:
        for raw in file:
            try:
                line = json.loads(raw)
            except json.JSONDecodeError:
                line = {}
            if "index" in line:
                yield offset, line
            offset += len(raw)


def _text(line: Mapping[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False) + "\n"
