"""The classes of a data set in the order of their numbers, from any of the files that list them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from internvideo.errors import DataError, did_you_mean
from internvideo.formats.files import holds_json, numbered_lines, read_json

__all__ = ["ClassNames"]

_SHOWN, _HEADER = 120, 1
_NAME_NUMBER = re.compile(r"^(?P<name>.+?)\s*[,;\t]\s*(?P<number>\d+)$")
_NUMBER_NAME = re.compile(r"^(?P<number>\d+)[ \t,;]+(?P<name>\S.*)$")


class ClassNames:
    """The names of classes, numbered from 0.

    Args:
        names: the names in the order of their numbers.
        file: where they were read, for messages.
    """

    def __init__(self, names: Iterable[str], file: Path | str) -> None:
        self.names = tuple(names)
        self.file = str(file)
        self._numbers = {name: number for number, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._numbers

    @classmethod
    def read(cls, path: Path) -> ClassNames:
        """Read a class list.

        One name a line; `name,number` or `number name` a line, numbers from 0 or 1 on, perhaps
        below a header; a json list of names, or a json object name → number, or name → words about
        the class in their order.

        Raises:
            DataError: a name comes twice, or the numbers have gaps.
        """
        numbers = _json_classes(path) if holds_json(path) else _text_classes(path)
        order = sorted(numbers, key=numbers.__getitem__)
        first = numbers[order[0]] if order else 0
        if first not in (0, 1) or [numbers[name] for name in order] != [
            first + place for place in range(len(order))
        ]:
            raise DataError(
                f"{path}: the numbers of its {len(order)} classes must go from 0 or 1 on, each "
                f"once; they are between {first} and {numbers[order[-1]]}, with gaps or repetitions"
            )
        return cls(order, path)

    @classmethod
    def find(cls, labels: Path | None, folder: Path, candidates: Sequence[str]) -> ClassNames:
        """Read `labels`, or else the first of `candidates` that is in `folder`.

        Raises:
            DataError: neither is there.
        """
        if labels is not None:
            return cls.read(labels)
        for name in candidates:
            if (folder / name).is_file():
                return cls.read(folder / name)
        raise DataError(
            f"the annotations name classes in words, and there is no {' or '.join(candidates)} in "
            f"{folder}; pass the list of classes as labels (--labels FILE, one name a line)"
        )

    def index(self, name: str, *, path: Path, number: int) -> int:
        """Return the number of a class that line `number` of the file `path` names.

        Raises:
            DataError: there is no such class.
        """
        place = self._numbers.get(name)
        if place is None:
            raise DataError(
                f"{path}:{number}: class {name[:_SHOWN]!r} is not one of the {len(self)} in "
                f"{self.file}.{did_you_mean(name, self.names, count=1)}"
            )
        return place


def _json_classes(path: Path) -> dict[str, int]:
    content = read_json(path)
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return _without_repeats(path, ((n, name, n) for n, name in enumerate(content)))
    if isinstance(content, dict):
        if all(isinstance(said, str | list) for said in content.values()) and not any(
            str(said).isdecimal() for said in content.values()
        ):
            return {name: place for place, name in enumerate(content)}
        try:
            return {name: int(number) for name, number in content.items()}
        except (TypeError, ValueError):
            pass
    raise DataError(f"{path}: expected a json list of class names, or an object name → number")


def _text_classes(path: Path) -> dict[str, int]:
    lines = list(numbered_lines(path))
    for shape in (_NAME_NUMBER, _NUMBER_NAME):
        found = [(number, shape.match(line)) for number, line in lines]
        if found[0][1] is None and len(found) > _HEADER:
            found = found[1:]  # a header, such as `id,name`
        rows = [(number, m["name"], int(m["number"])) for number, m in found if m is not None]
        if len(rows) == len(found):
            return _without_repeats(path, rows)
    rows = [(number, line, place) for place, (number, line) in enumerate(lines)]
    return _without_repeats(path, rows)


def _without_repeats(path: Path, rows: Iterable[tuple[int, str, int]]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for line, name, number in rows:
        if name in numbers:
            raise DataError(f"{path}:{line}: class {name!r} comes twice")
        numbers[name] = number
    return numbers
