"""Something-Something v1 and v2: official jsons, official v1 csv, and lists of frame folders.

| file                                                  | clips are                              |
|-------------------------------------------------------|----------------------------------------|
| json of {id, label, template, placeholders}           | `{id}.webm` or another video           |
| csv `id;label` (v1)                                   | folders `{id}/00001.jpg`               |
| list `folder total_frames label`                      | folders of numbered frames             |
| list `path label`                                     | video files                            |
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from internvideo.data.clip_list import ClipEntry, ClipList, is_image
from internvideo.data.formats.class_names import ClassNames
from internvideo.data.formats.fields import (
    DelimiterCheck,
    bad_line,
    parsed,
    trailing_numbers,
    whole_number,
)
from internvideo.data.formats.files import files_by_stem, numbered_lines, read_json, refuse_split
from internvideo.data.formats.frame_paths import template_of
from internvideo.data.formats.kinetics import read_kinetics
from internvideo.errors import DataError
from internvideo.video import VIDEO_SUFFIXES

__all__ = ["FRAME_TEMPLATES", "find_template", "read_something_something"]

FRAME_TEMPLATES = ("img_{:05d}.jpg", "{:05d}.jpg", "{:06d}.jpg", "image_{:06d}.jpg", "{:04d}.jpg")
"""How frame files are usually named (SSv2, SSv1, …)."""

_SHAPE = "folder total_frames label"
_WIDTH = re.compile(r"(?<=\{:)0\d+(?=d\})")
_LOOKED_AT = 100
_V2_CLASSES = ("labels.json", "something-something-v2-labels.json")
_V1_CLASSES = ("something-something-v1-labels.csv", "labels.csv", "labels.txt")


def read_something_something(
    path: Path,
    *,
    root: Path | str | None = None,
    labels: Path | None = None,
    split: str | None = None,
    template: str | None = None,
    first_frame: int | None = None,
) -> ClipList:
    """Read Something-Something annotations in any of their forms.

    Args:
        path: the annotation file.
        root: folder of the videos or frame folders; by default that of `path`.
        labels: the class list of the official files; by default `labels.json` beside a json and
            `something-something-v1-labels.csv` beside a csv.
        split: must be None, there is a file for each.
        template: how frame files are named; by default what the first folder that is there shows.
        first_frame: number of the first frame file; by default what that folder shows.

    Raises:
        DataError: a line of another shape, an unknown class, a class in words without a list.
    """
    refuse_split(split, path=path)
    root = root or path.parent
    if path.suffix.lower() == ".json":
        return _read_json_list(path, root, labels)
    first = next(numbered_lines(path))[1]
    if ";" in first and trailing_numbers(first, 1).delimiter is None:
        return _read_v1_csv(path, root, labels, template)
    video = Path(trailing_numbers(first, 1).path).suffix.lower() in VIDEO_SUFFIXES
    if video:
        return read_kinetics(path, root=root, labels=labels)
    return _read_frame_list(path, root, labels, (template, first_frame))


def _read_json_list(path: Path, root: Path | str, labels: Path | None) -> ClipList:
    items = read_json(path)
    if not isinstance(items, list) or not all(isinstance(i, dict) and "id" in i for i in items):
        raise DataError(f"{path}: expected a json list of objects with 'id' and 'template'")
    labelled = any("template" in item for item in items)  # the test split has ids only
    classes = ClassNames.find(labels, path.parent, _V2_CLASSES) if labelled else None
    names = files_by_stem(root)

    def entry(number: int, item: dict[str, Any]) -> ClipEntry:
        label = None
        if classes is not None:
            if "template" not in item:
                raise DataError(f"{path}: clip {number} (id {item['id']}) has no 'template'")
            name = item["template"].replace("[", "").replace("]", "")
            label = classes.index(name, path=path, number=number)
        video = names.get(str(item["id"]), f"{item['id']}.webm")
        return ClipEntry(path=video, label=label, line=number)

    return ClipList(
        parsed(enumerate(items, start=1), entry),
        file=path,
        root=root,
        description="Something-Something v2 json",
        class_names=None if classes is None else classes.names,
    )


def _read_v1_csv(
    path: Path, root: Path | str, labels: Path | None, template: str | None
) -> ClipList:
    classes = ClassNames.find(labels, path.parent, _V1_CLASSES)

    def entry(number: int, line: str) -> ClipEntry:
        folder, _, name = line.partition(";")
        if not folder or not name:
            raise bad_line(path, number, line, "id;label")
        label = classes.index(name, path=path, number=number)
        naming = template or FRAME_TEMPLATES[1]
        return ClipEntry(path=folder, label=label, template=naming, line=number)

    return ClipList(
        parsed(numbered_lines(path), entry),
        file=path,
        root=root,
        description="Something-Something v1 csv",
        class_names=classes.names,
    )


def _read_frame_list(
    path: Path,
    root: Path | str,
    labels: Path | None,
    naming: tuple[str | None, int | None],
) -> ClipList:
    check = DelimiterCheck(path, _SHAPE)
    template, first_frame = naming
    if template is None or first_frame is None:
        lines = islice(numbered_lines(path), _LOOKED_AT)
        found = find_template(Path(root) / trailing_numbers(line, 2).path for _, line in lines)
        template = template or found[0]
        first_frame = found[1] if first_frame is None else first_frame

    def entry(number: int, line: str) -> ClipEntry:
        fields = trailing_numbers(line, 2)
        if len(fields.numbers) < 2 or fields.delimiter is None:
            raise bad_line(path, number, line, _SHAPE)
        check(number, fields.delimiter)
        total, label = (
            whole_number(text, path=path, number=number, what=what)
            for text, what in zip(fields.numbers, ("total_frames", "the label"), strict=True)
        )
        if total < 1:
            raise DataError(f"{path}:{number}: {total} frames; expected at least 1")
        return ClipEntry(
            path=fields.path,
            label=label,
            num_frames=total,
            first_frame=first_frame,
            template=template,
            line=number,
        )

    names = None if labels is None else ClassNames.read(labels).names
    rows = parsed(numbered_lines(path), entry)
    clips = ClipList(rows, file=path, root=root, class_names=names)
    clips.description = (
        f"list of frame folders ({template}, from {first_frame} on), separated by {check.name}"
    )
    return clips


def find_template(folders: Iterable[Path]) -> tuple[str, int]:
    """Return how the frame files are named, and the number of the first one.

    The first folder that is there and has images tells; of several sequences in it, it is one with
    a usual name, or the longest. Without such a folder it is the naming of Something-Something v2:
    `img_00001.jpg` and on.

    Args:
        folders: where to look.
    """
    for folder in folders:
        sequences: dict[str, list[tuple[int, str]]] = {}
        for name in _images_in(folder):
            if (found := template_of(name)) is not None:
                template, number = found
                # Without zeros in front, 9 and 10 have different templates: that of 9 is right.
                sequences.setdefault(_WIDTH.sub("", template), []).append((number, template))
        longest = sorted(sequences.values(), key=len, reverse=True)
        firsts = {template: number for number, template in map(min, longest)}
        for template in (*FRAME_TEMPLATES, *firsts):
            if template in firsts:
                return template, firsts[template]
    return FRAME_TEMPLATES[0], 1


def _images_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if is_image(entry.name)]
    except OSError:
        return []
