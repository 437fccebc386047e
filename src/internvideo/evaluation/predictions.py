"""The answers of an evaluation as a file that grows line by line, so that it can be resumed.

    {"evaluation": {…protocol, weights…}}
    {"index": 0, "video": …, …the answer as the answerer's `to_json` writes it…}
    {"index": 7, "video": …, "error": …}

Memory, and so the report, holds what `from_json` reads back from a line: stopping an evaluation
cannot change its report. Further processes write files of their own beside `predictions.jsonl`
(`predictions.jsonl.1`); at the end the first process merges all lines in order. Videos that could
not be read are tried again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from internvideo.errors import ConfigError
from internvideo.files import JsonLinesWriter, json_text, read_json_lines, replacing

__all__ = [
    "Answered",
    "JsonAnswers",
    "PredictionFile",
    "differing",
    "read_header",
    "read_predictions",
]

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


class JsonAnswers(Protocol[A]):
    """The part of an answerer that makes its answers json and back."""

    def to_json(self, answer: A, /) -> dict[str, Any]:
        """Return an answer as plain data."""
        ...

    def from_json(self, line: dict[str, Any], /) -> A:
        """Return the answer of a line."""
        ...


class PredictionFile(Generic[A]):
    """One process's view of the file.

    Args:
        path: the file; None keeps nothing on disk.
        evaluation: what must be the same to go on: protocol, weights, number of videos.
        answers: makes json of them and back.
        rank: number of this process.

    Attributes:
        kept: what is known so far, by number of the video.

    Raises:
        ConfigError: the file belongs to another evaluation.
    """

    def __init__(
        self,
        path: Path | None,
        evaluation: Mapping[str, Any],
        answers: JsonAnswers[A],
        *,
        rank: int = 0,
    ) -> None:
        self.path = path
        self.evaluation = dict(evaluation)
        self.answers = answers
        self.rank = rank
        self.kept: dict[int, Answered[A]] = {}
        self._writer: JsonLinesWriter | None = None
        for each in _files_of(path):
            self._check(each)
            for line in read_predictions(each):
                self._keep(line)

    @property
    def finished(self) -> frozenset[int]:
        """Numbers of the videos that need no further look."""
        return frozenset(index for index, each in self.kept.items() if not each.error)

    def add(self, answered: Answered[A]) -> None:
        """Keep one answer; its line is handed to the system when this returns."""
        line = self._line(answered)
        self._keep(line)
        if self.path is not None:
            self._writer = self._writer or self._open(self.path)
            self._writer.append(line)

    def complete(self, answered: Sequence[Answered[A]]) -> None:
        """Replace all files by one that holds these answers, in order; called by one process."""
        self.close()
        if self.path is None:
            return
        files = _files_of(self.path)
        places: dict[int, tuple[Path, int]] = {}
        for each in files:
            for offset, line in read_json_lines(each):
                index = line.get("index")
                if index is not None and (index not in places or "error" not in line):
                    places[index] = (each, offset)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with (
            replacing(self.path) as draft,
            draft.open("w", encoding="utf-8", newline="\n") as file,
            ExitStack() as stack,
        ):
            opened = {each: stack.enter_context(each.open("rb")) for each in files}
            file.write(f"{json_text({_HEADER: self.evaluation})}\n")
            for each in answered:
                if (place := places.get(each.index)) is None:  # written on another machine
                    file.write(f"{json_text(self._line(each))}\n")
                    continue
                opened[place[0]].seek(place[1])
                file.write(opened[place[0]].readline().decode("utf-8"))
        for each in files:
            if each != self.path:
                each.unlink()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _line(self, answered: Answered[A]) -> dict[str, Any]:
        found: dict[str, Any] = {"error": answered.error}
        if answered.answer is not None:
            found = self.answers.to_json(answered.answer)
        return {"index": answered.index, "video": answered.video, **found}

    def _keep(self, line: Mapping[str, Any]) -> None:
        index, error = line["index"], line.get("error", "")
        if error and index in self.kept and not self.kept[index].error:
            return
        answer = None if error else self.answers.from_json(dict(line))
        self.kept[index] = Answered(index, line["video"], answer, error)

    def _check(self, path: Path) -> None:
        earlier = read_header(path)
        if earlier is not None and (other := differing(earlier, self.evaluation)):
            raise ConfigError(
                f"{path} belongs to another evaluation (different {', '.join(other)}); choose "
                "another folder, or delete the file"
            )

    def _open(self, path: Path) -> JsonLinesWriter:
        own = path if self.rank == 0 else path.with_name(f"{path.name}.{self.rank}")
        own.parent.mkdir(parents=True, exist_ok=True)
        is_new = not own.exists() or own.stat().st_size == 0
        writer = JsonLinesWriter(own)
        if is_new:
            writer.append({_HEADER: self.evaluation})
        return writer


def differing(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return by what two evaluations are not the same; videos may lie in another folder."""

    def comparable(identity: Mapping[str, Any]) -> dict[str, Any]:
        first = str(identity.get("first_video", ""))
        return {**identity, "first_video": first.rpartition("/")[2]}

    one, other = comparable(earlier), comparable(now)
    return sorted(n for n in one.keys() | other.keys() if one.get(n) != other.get(n))


def read_header(path: Path) -> dict[str, Any] | None:
    """Return what a predictions file says of its evaluation; None where that line is cut off."""
    first = next((line for _, line in read_json_lines(path)), None)
    return None if first is None else first.get(_HEADER)


def read_predictions(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a predictions file, one a video; a line that was cut off is skipped."""
    return [line for _, line in read_json_lines(path) if "index" in line]


def _files_of(path: Path | None) -> list[Path]:
    """Return the existing files of all processes."""
    if path is None:
        return []
    parts = sorted(path.parent.glob(f"{path.name}.[0-9]*"))
    return [path, *parts] if path.exists() else parts
