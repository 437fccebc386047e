"""AVA-Kinetics: boxes and actions of people in the clips of Kinetics, one key frame each.

As AVA (see there), but the boxes of the json are fractions of the picture, those of a detector are
x1, y1, x2, y2, and the video of a movie is the part `{movie}_{start}_{end}.mp4` (seconds).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from internvideo.annotations import Annotations
from internvideo.formats import ava
from internvideo.formats.files import Collection

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "read", "write"]


def looks_like(file: Glimpse) -> bool:
    """Tell whether a json has boxes in fractions of the picture with actions."""
    sides = ava.json_sides(file)
    return sides is not None and max(sides, default=2.0) <= 1.0


def read(path: Path, root: Path | str, *, labels: Path | None = None) -> Annotations:
    """Read boxes with their actions, one record a clip; arguments are those of `ava.read`."""
    return ava.read_boxes(path, root, labels=labels, kinetics=True)


def write(data: Collection) -> list[Path]:
    """Write the json and the person boxes of each split, and the label map."""
    written = [ava.write_label_map(data)]
    for split in data.layout.splits:
        written += ava.write_json(data, split, stem=f"ava_kinetics_{split}", kinetics=True)
    return written
