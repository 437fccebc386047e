"""The world in the files of Something-Something v2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from internvideo.world.actions import action_named
from internvideo.world.clip import World
from internvideo.world.writing import DatasetWriter, Layout, TruthLine, in_split, write_text

__all__ = ["write_something_something", "write_something_something_frames"]

_SPLITS = ("train", "validation", "test")
_VIDEO, _FRAME = "videos/{index}.mp4", "rawframes/{index}/img_{frame:05d}.jpg"
_SHARES = (0.8, 0.1, 0.1)


def _annotate(directory: Path, world: World, lines: list[TruthLine]) -> list[Path]:
    names = {_label(_template(action)): str(n) for n, action in enumerate(world.style.actions)}
    train, validation, test = (in_split(lines, split) for split in _SPLITS)
    answers = "".join(f"{line['index']};{_label(_template(line['action']))}\n" for line in test)
    return [
        _write_json(directory / "train.json", [_item(line) for line in train]),
        _write_json(directory / "validation.json", [_item(line) for line in validation]),
        _write_json(directory / "test.json", [{"id": str(line["index"])} for line in test]),
        write_text(directory / "test-answers.csv", answers),
        _write_json(directory / "labels.json", names),
    ]


def _annotate_with_frames(directory: Path, world: World, lines: list[TruthLine]) -> list[Path]:
    written, actions = _annotate(directory, world, lines), world.style.actions
    for split in _SPLITS:
        rows = [
            f"{line['index']} {line['num_frames']} {actions.index(line['action'])}\n"
            for line in in_split(lines, split)
        ]
        written.append(write_text(directory / f"{split}_rawframes.txt", "".join(rows)))
    return written


def _template(action: str) -> str:
    entry = action_named(action)
    subject = "[Something]" if entry.num_actors == 1 else "[Something] and [something]"
    return f"{subject} {entry.phrases[0]}"


def _label(template: str) -> str:
    return template.replace("[", "").replace("]", "")


def _item(line: TruthLine) -> dict[str, Any]:
    count = action_named(line["action"]).num_actors
    things = [f"{actor['color']} {actor['name']}" for actor in line["actors"][:count]]
    template = _template(line["action"])
    sentence = template
    for blank, thing in zip(("[Something]", "[something]"), things, strict=False):
        sentence = sentence.replace(blank, thing)
    return {
        "id": str(line["index"]),
        "label": sentence,
        "template": template,
        "placeholders": things,
    }


def _write_json(path: Path, content: Any) -> Path:
    return write_text(path, json.dumps(content, indent=0, ensure_ascii=False) + "\n")


write_something_something = DatasetWriter(
    layout=Layout(splits=_SPLITS, video=_VIDEO), shares=_SHARES, annotate=_annotate
)
"""Write a video classification dataset in the files of Something-Something v2.

`train.json` and `validation.json` list {id, label, template, placeholders}, `test.json` only ids,
with `test-answers.csv` (`id;label`) beside it; `labels.json` numbers the templates without their
brackets. Videos are `videos/{id}.mp4`.
"""

write_something_something_frames = DatasetWriter(
    layout=Layout(splits=_SPLITS, video=_VIDEO, frames=_FRAME),
    shares=_SHARES,
    annotate=_annotate_with_frames,
)
"""Write the same, and every frame as `rawframes/{id}/img_00001.jpg`.

The lists `train_rawframes.txt`, … have lines `id total_frames label`.
"""
