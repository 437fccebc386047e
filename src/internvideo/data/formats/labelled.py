"""Videos of your own with classes in words: a folder for each class, or a list `file,label`."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from internvideo.data.clip_list import ClipEntry, ClipList
from internvideo.data.formats.class_names import ClassNames
from internvideo.data.formats.fields import as_whole_number, bad_line, parsed, whole_number
from internvideo.data.formats.files import read_json, read_text, refuse_split
from internvideo.data.formats.frame_paths import frames_entry
from internvideo.errors import DataError, VideoError, did_you_mean
from internvideo.video import find_videos

__all__ = [
    "has_class_folders",
    "has_labelled_header",
    "looks_labelled",
    "read_class_folders",
    "read_labelled",
]

_VIDEO_COLUMNS = (
    *("file", "path", "video", "filename", "name", "clip"),
    *("video_path", "file_path", "filepath", "file_name", "video_name", "video_file"),
)
_LABEL_COLUMNS = (
    *("label", "class", "caption", "category", "target"),
    *("label_id", "class_id", "class_idx", "class_index", "class_name", "label_name"),
)
_SHAPE = "file,label"
_Row: TypeAlias = "tuple[str | list[Any], str]"


def has_class_folders(path: Path) -> bool:
    """Tell whether a folder has folders in it."""
    return any(each.is_dir() and not each.name.startswith(".") for each in path.iterdir())


def looks_labelled(lines: Sequence[str]) -> bool:
    """Tell whether lines are those of a list `file,label`, with a header or without."""
    rows = list(csv.reader(lines, delimiter=_delimiter(lines[0])))
    return has_labelled_header(lines[0]) or all(len(row) == 2 for row in rows)


def has_labelled_header(line: str) -> bool:
    """Tell whether a line is the header of a list `file,label`."""
    names = next(csv.reader([line], delimiter=_delimiter(line)))
    return _columns([name.strip().lower() for name in names]) is not None


def _delimiter(line: str) -> str:
    return "\t" if "\t" in line else ","


def read_class_folders(
    path: Path,
    *,
    root: Path | str | None = None,
    labels: Path | None = None,
    split: str | None = None,
) -> ClipList:
    """Read a folder that has one folder of videos for each class.

    Args:
        path: the folder. What is in a class's folder and below it counts, also folders of images.
        root: must be None, the videos are where they are.
        labels: the class list; by default the names of the folders in alphabetical order.
        split: a folder below `path` that holds the classes, such as "test".

    Raises:
        DataError: no folders with videos, or one that is not in the class list.
    """
    if root is not None:
        raise DataError(f"{path} is a folder of classes and holds the videos; leave out {root}")
    folder = path if split is None else path / split
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; expected one folder for each class in it")
    folders = sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))
    names = [f.name for f in folders]
    classes = ClassNames(names, folder) if labels is None else ClassNames.read(labels)
    if unknown := [name for name in names if name not in classes.names]:
        raise DataError(
            f"{folder}: the folder {unknown[0]!r} is none of the {len(classes)} classes of "
            f"{labels}.{did_you_mean(unknown[0], classes.names, count=1)}"
        )

    def entries() -> Iterator[ClipEntry]:
        number = 0
        for each in folders:
            label = classes.names.index(each.name)
            try:
                videos = find_videos(each)
            except VideoError:
                continue  # an empty class
            for video in videos:
                number += 1
                written = Path(video).relative_to(folder).as_posix()
                yield ClipEntry(path=written, label=label, line=number)

    try:
        return ClipList(
            entries(),
            file=folder,
            root=folder,
            description=f"folders of {len(folders)} classes",
            class_names=classes.names,
        )
    except DataError:
        raise DataError(
            f"{folder} holds no videos in folders of classes; expected {folder}/CLASS/VIDEO"
        ) from None


def read_labelled(
    path: Path,
    *,
    root: Path | str | None = None,
    labels: Path | None = None,
    split: str | None = None,
) -> ClipList:
    """Read a csv `file,label`, or a json list of objects with `video` and `label` or `caption`.

    The csv may have a header (file or path or video, label or class), and tabs in place of commas.
    The json is what ViCLIP's zero-shot sets are (`k400_act_val.json`: the caption is the class;
    a video may be a list of its frame files). Where labels are numbers, they count from 0.

    Args:
        path: the list.
        root: folder of the videos; by default that of the list.
        labels: the class list; by default the labels that occur, in alphabetical order, or none
            where labels are numbers.
        split: must be None.

    Raises:
        DataError: not such a list, or a label that is not in the class list.
    """
    refuse_split(split, path=path)
    rows = list(_json_rows(path) if path.suffix.lower() == ".json" else _csv_rows(path))
    said = [row[1] for _, row in rows if isinstance(row, tuple)]
    # One word among numbers is a mistake; it must not make "10" the class after "1".
    numbered = 2 * sum(as_whole_number(label) is not None for label in said) > len(said)
    if labels is not None:
        classes = ClassNames.read(labels)
    else:
        classes = ClassNames(() if numbered else sorted(set(said)), path)

    def entry(line: int, row: _Row | DataError) -> ClipEntry:
        if isinstance(row, DataError):
            raise row
        video, label = row
        if numbered and label not in classes:
            number = whole_number(label, path=path, number=line, what="the label")
        else:
            number = classes.index(label, path=path, number=line)
        if isinstance(video, str):
            return ClipEntry(path=video, label=number, line=line)
        try:
            return frames_entry(video, label=number, line=line)
        except DataError as error:
            raise DataError(f"{path}:{line}: {error}") from None

    return ClipList(
        parsed(rows, entry),
        file=path,
        root=root or path.parent,
        description=f"list of videos with their classes {'by number' if numbered else 'in words'}",
        class_names=classes.names or None,
    )


def _csv_rows(path: Path) -> Iterator[tuple[int, _Row | DataError]]:
    lines = read_text(path).split("\n")
    first = next(line for line in lines if line.strip())
    reader = csv.reader(lines, delimiter=_delimiter(first))
    video, label, header = 0, 1, True
    for row in reader:
        fields = [field.strip() for field in row]
        if not any(fields):
            continue
        if header and (columns := _columns([field.lower() for field in fields])):
            (video, label), header = columns, False
            continue
        header = False
        if len(fields) <= max(video, label) or not fields[video] or not fields[label]:
            yield reader.line_num, bad_line(path, reader.line_num, ",".join(row), _SHAPE)
        else:
            yield reader.line_num, (fields[video], fields[label])


def _columns(header: list[str]) -> tuple[int, int] | None:
    """Return the places of video and label in a header; None where it is no header."""
    places = [
        next((header.index(name) for name in names if name in header), None)
        for names in (_VIDEO_COLUMNS, _LABEL_COLUMNS)
    ]
    return None if None in places else (places[0], places[1])  # type: ignore[return-value]


def _json_rows(path: Path) -> Iterator[tuple[int, _Row | DataError]]:
    content = read_json(path)
    if not isinstance(content, list):
        raise DataError(f"{path}: expected a json list of objects with 'video' and 'label'")
    for number, item in enumerate(content, start=1):
        found = _json_pair(item)
        if found is None:
            found = DataError(
                f"{path}:{number}: expected an object with 'video' (a path, or the paths of all "
                f"frames) and 'label' or 'caption', got {str(item)[:120]!r}"
            )
        yield number, found


def _json_pair(item: Any) -> _Row | None:
    if not isinstance(item, dict):
        return None
    video = item.get("video")
    label = next((item[name] for name in _LABEL_COLUMNS if name in item), None)
    if isinstance(label, int) and not isinstance(label, bool):
        label = str(label)
    if not isinstance(video, str | list) or not isinstance(label, str) or not label.strip():
        return None
    return video, label.strip()
