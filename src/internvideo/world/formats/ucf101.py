"""The world in the files of UCF101."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from internvideo.world.clip import World
from internvideo.world.writing import DatasetWriter, Layout, TruthLine, in_split, write_text

__all__ = ["write_ucf101"]

_LAYOUT = Layout(splits=("train", "test"), video="videos/{camel}/v_{camel}_g01_c{index:06d}.avi")


def _annotate(directory: Path, world: World, lines: list[TruthLine]) -> list[Path]:
    actions = world.style.actions
    videos = {line["index"]: PurePosixPath(line["video"]).relative_to("videos") for line in lines}
    train = "".join(
        f"{videos[line['index']]} {actions.index(line['action']) + 1}\n"
        for line in in_split(lines, "train")
    )
    test = "".join(f"{videos[line['index']]}\n" for line in in_split(lines, "test"))
    classes = "".join(
        f"{number} {_LAYOUT.place('{camel}', 0, action)}\n"
        for number, action in enumerate(actions, start=1)
    )
    return [
        write_text(directory / "trainlist01.txt", train),
        write_text(directory / "testlist01.txt", test),
        write_text(directory / "classInd.txt", classes),
    ]


write_ucf101 = DatasetWriter(layout=_LAYOUT, shares=(0.7, 0.3), annotate=_annotate)
"""Write a video classification dataset in the files of UCF101.

`trainlist01.txt` has lines `Class/video.avi number`, `testlist01.txt` lines `Class/video.avi`,
`classInd.txt` lines `number Class`, numbers from 1. Videos are in `videos/`.
"""
