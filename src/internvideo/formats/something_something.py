"""Something-Something v1 and v2: official jsons, official v1 csv, and lists of frame folders.

| file                                                  | clips are                              |
|-------------------------------------------------------|----------------------------------------|
| json of {id, label, template, placeholders}           | `{id}.webm` or another video           |
| csv `id;label` (v1)                                   | folders `{id}/00001.jpg`               |
| list `folder total_frames label`                      | folders of numbered frames             |
| list `path label`                                     | video files                            |
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internvideo.annotations import Annotations, VideoAnnotation
from internvideo.errors import DataError
from internvideo.formats import kinetics
from internvideo.formats.class_names import ClassNames
from internvideo.formats.fields import (
    DelimiterCheck,
    bad_line,
    parsed,
    refuse_several_labels,
    trailing_numbers,
    whole_number,
)
from internvideo.formats.files import (
    Collection,
    files_by_stem,
    holds_json,
    numbered_lines,
    read_json,
)
from internvideo.formats.frame_paths import template_of
from internvideo.video import VIDEO_SUFFIXES
from internvideo.video.rawframes import is_image

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["FRAME_TEMPLATES", "find_template", "looks_like", "read", "write"]

FRAME_TEMPLATES = ("img_{:05d}.jpg", "{:05d}.jpg", "{:06d}.jpg", "image_{:06d}.jpg", "{:04d}.jpg")
"""How frame files are usually named (SSv2, SSv1, …)."""

_LABELLED = ("train", "validation")
_SHAPE = "folder total_frames label"
_WIDTH = re.compile(r"(?<=\{:)0\d+(?=d\})")
_LOOKED_AT = 100
_BLANK = re.compile(r"\[.*?\]")
_V1_LINE = re.compile(r"\d+;.")
_V2_CLASSES = ("labels.json", "something-something-v2-labels.json")
_V1_CLASSES = ("something-something-v1-labels.csv", "labels.csv", "labels.txt")


def looks_like(file: Glimpse) -> bool:
    """Tell whether this is the json of v2, the csv of v1, or a list of folders of frames."""
    if file.is_json_list:
        return "id" in file.keys
    if file.lines and not file.fewest:
        return all(_V1_LINE.match(line) for line in file.lines)
    return file.fewest == 2


def read(path: Path, root: Path | str, *, labels: Path | None = None) -> Annotations:
    """Read Something-Something annotations in any of their forms.

    The class list of the official files is by default `labels.json` beside a json and
    `something-something-v1-labels.csv` beside a csv. The first folder of frames that is there shows
    how frame files are named, and the number of the first.
    """
    if holds_json(path):
        return _read_json_list(path, root, labels)
    first = next(numbered_lines(path))[1]
    if ";" in first and trailing_numbers(first, 1).delimiter is None:
        return _read_v1_csv(path, root, labels)
    video = Path(trailing_numbers(first, 1).path).suffix.lower() in VIDEO_SUFFIXES
    if video:
        return kinetics.read(path, root, labels=labels)
    return _read_frame_list(path, root, labels)


def _read_json_list(path: Path, root: Path | str, labels: Path | None) -> Annotations:
    items = read_json(path)
    if not isinstance(items, list) or not all(isinstance(i, dict) and "id" in i for i in items):
        raise DataError(f"{path}: expected a json list of objects with 'id' and 'template'")
    labelled = any("template" in item for item in items)  # the test split has ids only
    classes = ClassNames.find(labels, path.parent, _V2_CLASSES) if labelled else None
    names = files_by_stem(root)

    def entry(number: int, item: dict[str, Any]) -> VideoAnnotation:
        label = None
        if classes is not None:
            if "template" not in item:
                raise DataError(f"{path}: clip {number} (id {item['id']}) has no 'template'")
            name = _without_brackets(item["template"])
            label = classes.index(name, path=path, number=number)
        video = names.get(str(item["id"]), f"{item['id']}.webm")
        return VideoAnnotation(path=video, label=label, line=number)

    return Annotations(
        records=parsed(enumerate(items, start=1), entry),
        file=path,
        root=root,
        description="Something-Something v2 json",
        class_names=None if classes is None else classes.names,
    )


def _read_v1_csv(path: Path, root: Path | str, labels: Path | None) -> Annotations:
    classes = ClassNames.find(labels, path.parent, _V1_CLASSES)

    def entry(number: int, line: str) -> VideoAnnotation:
        folder, _, name = line.partition(";")
        if not folder or not name:
            raise bad_line(path, number, line, "id;label")
        label = classes.index(name, path=path, number=number)
        return VideoAnnotation(path=folder, label=label, template=FRAME_TEMPLATES[1], line=number)

    return Annotations(
        records=parsed(numbered_lines(path), entry),
        file=path,
        root=root,
        description="Something-Something v1 csv",
        class_names=classes.names,
    )


def _read_frame_list(path: Path, root: Path | str, labels: Path | None) -> Annotations:
    check = DelimiterCheck(path, _SHAPE)
    lines = islice(numbered_lines(path), _LOOKED_AT)
    folders = (Path(root) / trailing_numbers(line, 2).path for _, line in lines)
    template, first_frame = find_template(folders)

    def entry(number: int, line: str) -> VideoAnnotation:
        fields = trailing_numbers(line, 2)
        if len(fields.numbers) < 2 or fields.delimiter is None:
            raise bad_line(path, number, line, _SHAPE)
        refuse_several_labels(line, path=path, number=number)
        check(number, fields.delimiter)
        total, label = (
            whole_number(text, path=path, number=number, what=what)
            for text, what in zip(fields.numbers, ("total_frames", "the label"), strict=True)
        )
        if total < 1:
            raise DataError(f"{path}:{number}: {total} frames; expected at least 1")
        return VideoAnnotation(
            path=fields.path,
            label=label,
            num_frames=total,
            first_frame=first_frame,
            template=template,
            line=number,
        )

    names = None if labels is None else ClassNames.read(labels).names
    return Annotations(
        records=parsed(numbered_lines(path), entry),
        file=path,
        root=root,
        description=lambda: (
            f"list of frame folders ({template}, from {first_frame} on), separated by {check.name}"
        ),
        class_names=names,
    )


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


def write(data: Collection) -> list[Path]:
    """Write the files of v2: `train.json`, `validation.json`, `test.json` and `labels.json`.

    The classes are templates such as "[Something] moves left", whose blanks the first tracks of a
    video fill. `test.json` has ids alone, `test-answers.csv` the answers (`id;label`). With a
    layout of frames there are lists `id total_frames label` besides, `train_rawframes.txt`, ….
    """
    names = [_without_brackets(template) for template in data.classes]
    test = data.of("test")
    contents: dict[str, Any] = {
        **{split: [_item(v, data.class_of(v)) for v in data.of(split)] for split in _LABELLED},
        "test": [{"id": video.id} for video in test],
        "labels": {name: str(n) for n, name in enumerate(names)},
    }
    written = [
        data.write_text(f"{name}.json", [json.dumps(c, indent=0, ensure_ascii=False), "\n"])
        for name, c in contents.items()
    ]
    answers = (f"{video.id};{_without_brackets(data.class_of(video))}\n" for video in test)
    written.insert(-1, data.write_text("test-answers.csv", answers))
    for split in data.layout.splits if data.layout.frames is not None else ():
        rows = (f"{v.id} {v.num_frames} {v.label}\n" for v in data.of(split))
        written.append(data.write_text(f"{split}_rawframes.txt", rows))
    return written


def _item(video: VideoAnnotation, template: str) -> dict[str, Any]:
    blanks = _BLANK.findall(template)
    things = [track.name for track in video.tracks[: len(blanks)]]
    sentence = template
    for blank, thing in zip(blanks, things, strict=True):
        sentence = sentence.replace(blank, thing, 1)
    return {"id": video.id, "label": sentence, "template": template, "placeholders": things}


def _without_brackets(template: str) -> str:
    return template.replace("[", "").replace("]", "")
