"""The world as the VideoMAE family reads Kinetics."""

from __future__ import annotations

from pathlib import Path

from internvideo.world.clip import World
from internvideo.world.writing import DatasetWriter, Layout, TruthLine, in_split, write_text

__all__ = ["write_kinetics"]

_SPLITS = ("train", "val", "test")


def _annotate(directory: Path, world: World, lines: list[TruthLine]) -> list[Path]:
    actions = world.style.actions
    written = []
    for split in _SPLITS:
        rows = [
            f"{line['video']} {actions.index(line['action'])}\n" for line in in_split(lines, split)
        ]
        written.append(write_text(directory / f"{split}.csv", "".join(rows)))
    names = "".join(f"{action}\n" for action in actions)
    return [*written, write_text(directory / "labels.txt", names)]


write_kinetics = DatasetWriter(
    layout=Layout(splits=_SPLITS, video="videos/clip_{index:06d}.mp4"),
    shares=(0.8, 0.1, 0.1),
    annotate=_annotate,
)
"""Write a video classification dataset as the VideoMAE family reads Kinetics.

`train.csv`, `val.csv` and `test.csv` have a line `path label` for every clip: the path is relative
to the directory, the label counts the world's actions. `labels.txt` names the labels, one a line,
in their order.
"""
