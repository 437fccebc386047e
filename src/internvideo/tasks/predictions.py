"""The predictions of an evaluation as a file that grows line by line, and from which it goes on.

    {"evaluation": {…protocol, weights…}}
    {"index": 0, "video": …, "label": …, "rank": …, "best": […], …, "scores": […]}
    {"index": 7, "video": …, "label": …, "error": …}

`scores` are the averaged probabilities of all classes; they are on disk only. Further processes
write files of their own beside `predictions.jsonl` (`predictions.jsonl.1`); in the end the first
one puts all lines into order. Videos that could not be read are tried again by the next evaluation.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from internvideo.errors import ConfigError

__all__ = ["PredictionFile", "read_header", "read_predictions", "stored_scores"]

_HEADER = "evaluation"


class PredictionFile:
    """One process's view of the file.

    Args:
        path: the file; None keeps nothing.
        evaluation: what must be the same to go on: protocol, weights, number of videos.
        rank: number of this process.

    Attributes:
        lines: what is known by now, number of the video → its line without `scores`.

    Raises:
        ConfigError: the file belongs to another evaluation.
    """

    def __init__(self, path: Path | None, evaluation: Mapping[str, Any], *, rank: int = 0) -> None:
        self.path = path
        self.evaluation = dict(evaluation)
        self.rank = rank
        self._file: IO[str] | None = None
        self.lines: dict[int, dict[str, Any]] = {}
        for each in _files_of(self.path):
            self._check(each)
            for _, line in _lines(each):
                self._keep(line)

    @property
    def finished(self) -> frozenset[int]:
        """Numbers of the videos that need no further look."""
        return frozenset(index for index, line in self.lines.items() if "error" not in line)

    def add(self, line: Mapping[str, Any]) -> None:
        """Keep one line; it is handed to the system when this returns."""
        self._keep(line)
        if self.path is None:
            return
        if self._file is None:
            self._file = self._open(self.path)
        self._file.write(_text(line))
        self._file.flush()

    def complete(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Replace all files by one that holds these lines, in order; called by one process."""
        self.close()
        if self.path is None:
            return
        places: dict[int, tuple[Path, int]] = {}
        for each in _files_of(self.path):
            for offset, line in _lines(each):
                if line["index"] not in places or "error" not in line:
                    places[line["index"]] = (each, offset)
        draft = self.path.with_name(f".{self.path.name}.part")
        with draft.open("w", encoding="utf-8") as file, ExitStack() as stack:
            opened = {each: stack.enter_context(each.open("rb")) for each in _files_of(self.path)}
            file.write(_text({_HEADER: self.evaluation}))
            for line in lines:
                if (place := places.get(line["index"])) is None:  # written on another machine
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

    def _keep(self, line: Mapping[str, Any]) -> None:
        index = line["index"]
        if "error" not in line or index not in self.lines or "error" in self.lines[index]:
            self.lines[index] = {key: value for key, value in line.items() if key != "scores"}

    def _check(self, path: Path) -> None:
        earlier = read_header(path)
        if earlier is not None and earlier != self.evaluation:
            names = earlier.keys() | self.evaluation.keys()
            other = sorted(n for n in names if earlier.get(n) != self.evaluation.get(n))
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


def stored_scores(path: Path | None) -> Iterator[tuple[int, list[float]]]:
    """Yield number and `scores` of every video that the files of all processes have an answer of.

    Args:
        path: the file of the first process; None has none.
    """
    for each in _files_of(path):
        for _, line in _lines(each):
            if "scores" in line:
                yield line["index"], line["scores"]


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
