"""What readers and writers share: text with line numbers, csv, json, a look into the folder."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeGuard

from internvideo.annotations import VideoAnnotation
from internvideo.errors import DataError, did_you_mean
from internvideo.video import VIDEO_SUFFIXES
from internvideo.video.sources import is_url

if TYPE_CHECKING:
    from internvideo.formats import Layout

__all__ = [
    "JSON_LIST",
    "Collection",
    "annotation_files",
    "choose_split",
    "files_by_stem",
    "holds_json",
    "is_list",
    "is_mapping",
    "numbered_lines",
    "opened",
    "read_csv",
    "read_json",
    "read_text",
    "refuse_split",
]

JSON_LIST = re.compile(r'\[\s*[\[{"\d\]-]')
"""How a json list begins; a name such as "[Something] falls" does not."""

_SHOWN = 120
_ANNOTATIONS = (".csv", ".json", ".json.gz", ".jsonl", ".parquet", ".pkl", ".tsv", ".txt")
_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"\x28\xb5\x2f\xfd": ("zstandard", "unzstd"),
    b"\xfd7zXZ\0": ("xz", "unxz"),
    b"BZh": ("bzip2", "bunzip2"),
    b"PK\3\4": ("zip", "unzip"),
}


def annotation_files(folder: Path) -> list[str]:
    """Return the names of the files in a folder that may list videos."""
    names = (each.name for each in folder.iterdir() if each.is_file())
    return sorted(name for name in names if name.lower().endswith(_ANNOTATIONS))


@contextmanager
def opened(path: Path, *, errors: str = "strict", newline: str | None = None) -> Iterator[TextIO]:
    """Open an annotation file as text, with or without a byte order mark.

    Args:
        path: the file.
        errors: what becomes of bytes that are no UTF-8, as for `open`.
        newline: which ends of lines are translated, as for `open`.

    Raises:
        DataError: it is missing, a folder, or not text; also while it is read in the block.
    """
    try:
        with path.open(encoding="utf-8-sig", errors=errors, newline=newline) as file:
            yield file
    except FileNotFoundError:
        raise DataError(f"no annotation file {path}; check the path") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder; expected the annotation file in it") from None
    except UnicodeDecodeError:
        raise DataError(_why_no_text(path)) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def _why_no_text(path: Path) -> str:
    """Say what a file is that is not text in UTF-8, and what to do."""
    with path.open("rb") as file:
        start = file.read(_SHOWN)
        file.seek(0)
        for magic, (name, command) in _COMPRESSED.items():
            if start.startswith(magic):
                return f"{path} is compressed ({name}); unpack it first: {command} {path}"
        if start.startswith((b"\xff\xfe", b"\xfe\xff")):
            return f"{path} is a text in UTF-16; save it as UTF-8"
        if b"\0" in start:
            return f"{path} is not a text file; expected annotations"
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                shown = line[:_SHOWN].decode("latin-1").strip()
                return (
                    f"{path}:{number}: not a text in UTF-8 (byte {error.start + 1} of {shown!r}); "
                    "save the file as UTF-8"
                )
    return f"{path} is not a text file; expected annotations"


def _empty(path: Path) -> DataError:
    return DataError(f"{path} is empty: it lists no clips; check that it was copied completely")


def read_text(path: Path) -> str:
    """Return the text of an annotation file, with or without a byte order mark.

    Raises:
        DataError: it is missing, a folder, not text, or empty.
    """
    with opened(path) as file:
        text = file.read()
    if not text.strip():
        raise _empty(path)
    return text


def numbered_lines(path: Path, *, may_be_empty: bool = False) -> Iterator[tuple[int, str]]:
    """Yield the number and text of every line that is not blank; only one is in memory at a time.

    Raises:
        DataError: the file is missing, a folder, not text, or empty.
    """
    empty = True
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            if stripped := line.strip():
                empty = False
                yield number, stripped
    if empty and not may_be_empty:
        raise _empty(path)


def read_csv(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line number and fields of each row of a csv file with a header.

    Raises:
        DataError: a column is missing, or a row is shorter than the header.
    """
    reader = csv.reader(read_text(path).split("\n"))
    header = [name.strip() for name in next(reader)]
    missing = [name for name in columns if name not in header]
    if missing:
        raise DataError(
            f"{path}:1: no column {', '.join(missing)} in the header {','.join(header)[:_SHOWN]!r}"
        )
    for row in reader:
        if not any(row):
            continue
        if len(row) < len(header):
            raise DataError(
                f"{path}:{reader.line_num}: {len(row)} fields, but the header has {len(header)}"
            )
        yield reader.line_num, dict(zip(header, row, strict=False))


def read_json(path: Path) -> Any:
    """Return the content of a json file.

    Raises:
        DataError: it is not json; the place of the mistake is named.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{error.lineno}: not json ({error.msg}); check that it was copied completely"
        ) from None


def holds_json(path: Path) -> bool:
    """Tell whether a file is json, by its ending or, whatever that is, by its first characters.

    Raises:
        DataError: it is missing or a folder.
    """
    if path.suffix.lower() == ".json":
        return True
    with opened(path, errors="surrogateescape") as file:
        start = file.read(_SHOWN).lstrip()
    return start.startswith("{") or JSON_LIST.match(start) is not None


_SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "validation", "validate"),
    "test": ("test", "testing"),
}


def choose_split(wanted: str | None, held: Sequence[str], *, path: Path) -> str | None:
    """Return the name by which a file knows the wanted split; None if it holds only one.

    Raises:
        DataError: the file holds several and none was chosen, or not the chosen one.
    """
    names = sorted(set(held))
    if wanted is None:
        if len(names) > 1:
            raise DataError(
                f"{path} holds the splits {', '.join(names)}; choose one (--split {names[0]}, or "
                f"split: {names[0]} in a recipe)"
            )
        return None
    same = next((group for group in _SPLIT_NAMES.values() if wanted in group), (wanted,))
    for name in names:
        if name in same:
            return name
    raise DataError(
        f"{path} has no split {wanted!r}; it holds {', '.join(names) or 'none'}."
        f"{did_you_mean(wanted, names)}"
    )


def refuse_split(split: str | None, *, path: Path) -> None:
    """Check that no split was chosen in a file that holds one only.

    Raises:
        DataError: one was.
    """
    if split is not None:
        raise DataError(f"{path} holds one split; leave out split={split!r} and name another file")


def files_by_stem(root: Path | str | None, *, subfolders: bool = False) -> dict[str, str]:
    """Return the videos in a folder: name without ending → path below it.

    An address cannot be listed cheaply, so it gives an empty dict, as does a missing folder.

    Args:
        root: the folder.
        subfolders: look also into its direct subfolders (one for each class, say).
    """
    if root is None or is_url(str(root)) or not Path(root).is_dir():
        return {}
    found, folders = _videos_in(Path(root))
    for folder in folders if subfolders else ():
        for stem, name in _videos_in(Path(root) / folder)[0].items():
            found.setdefault(stem, f"{folder}/{name}")
    return found


def _videos_in(folder: Path) -> tuple[dict[str, str], list[str]]:
    videos: dict[str, str] = {}
    others: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122 - quick, for 200,000 names
            if entry.name.startswith("."):  # such as the `._NAME` that macOS puts beside files
                continue
            if suffix.lower() in VIDEO_SUFFIXES:
                videos[stem] = entry.name
            elif entry.is_dir():
                others.append(entry.name)
    return videos, sorted(others)


@dataclass(frozen=True, kw_only=True, slots=True)
class Collection:
    """Annotated videos in a folder, whose annotation files are to be written.

    Attributes:
        directory: the folder.
        videos: the videos, with paths below it.
        classes: names of the labels.
        layout: how the folder is laid out.
        objects: names of what is acted on, by their numbers.
    """

    directory: Path
    videos: Sequence[VideoAnnotation]
    classes: Sequence[str]
    layout: Layout
    objects: Sequence[str] = ()

    def of(self, split: str) -> list[VideoAnnotation]:
        """Return the videos of a split."""
        return [video for video in self.videos if video.split == split]

    def class_of(self, video: VideoAnnotation) -> str:
        """Return the class of a video that has one."""
        assert video.label is not None
        return self.classes[video.label]

    def write_text(self, name: str, lines: Iterable[str]) -> Path:
        """Write a text file of lines (or parts) that end as they should; return its path."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines), encoding="utf-8")
        return path

    def write_csv(self, name: str, header: list[str], rows: list[list[str]]) -> Path:
        """Write a csv file with a header; return its path."""
        path = self.directory / name
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *rows])
        return path


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Tell whether a part of a json is a list."""
    return isinstance(value, list)


def is_mapping(value: Any) -> TypeGuard[dict[str, Any]]:
    """Tell whether a part of a json is an object."""
    return isinstance(value, dict)
