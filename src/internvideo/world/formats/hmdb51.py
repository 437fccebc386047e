"""The world in the files of HMDB51."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from internvideo.world.clip import World
from internvideo.world.writing import DatasetWriter, Layout, TruthLine, write_text

__all__ = ["write_hmdb51"]

_LAYOUT = Layout(splits=("train", "test"), video="videos/{snake}/world_{snake}_{index:06d}.avi")
_CODES = {"train": 1, "test": 2}


def _annotate(directory: Path, world: World, lines: list[TruthLine]) -> list[Path]:
    written = []
    for action in world.style.actions:
        rows = [
            f"{PurePosixPath(line['video']).name} {_CODES[line['split']]} \n"
            for line in lines
            if line["action"] == action
        ]
        name = _LAYOUT.place("splits/{snake}_test_split1.txt", 0, action)
        written.append(write_text(directory / name, "".join(rows)))
    return written


write_hmdb51 = DatasetWriter(layout=_LAYOUT, shares=(0.7, 0.3), annotate=_annotate)
"""Write a video classification dataset in the files of HMDB51.

`splits/<class>_test_split1.txt` has lines `video.avi code`, code 1 for training and 2 for testing;
there is one for each class. Videos are in `videos/<class>/`.
"""
