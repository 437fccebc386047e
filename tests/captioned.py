"""Short videos of noise with captions, of which one is broken and one is missing."""

from __future__ import annotations

import json
from pathlib import Path

import torch

import tiny
from internvideo.data.build import open_list
from internvideo.data.clips import VideoListSource
from internvideo.video import write_video

CAPTIONS = {
    0: ["a red star moves left", "A RED STAR, moves left!", "a star"],
    1: ["a blue circle grows"],
    2: ["this one is broken", "nobody sees it"],
    3: ["一个红色的圆圈在移动"],
    4: ["a red star moves left"],  # as of another video
    5: ["gone"],
}
GOOD = (0, 1, 3, 4)


def write_videos(root: Path) -> Path:
    """Write the four good ones and the broken one."""
    for seed in GOOD:
        generator = torch.Generator().manual_seed(seed)
        frames = torch.randint(0, 256, (8, 32, 32, 3), generator=generator, dtype=torch.uint8)
        write_video(root / f"v{seed}.mp4", frames, fps=8)
    (root / "v2.mp4").write_text("no video")
    return root


def write_list(root: Path, name: str, captions: dict[int, list[str]] = CAPTIONS) -> Path:
    """Write a list with a line for each caption."""
    rows = [{"video": f"v{n}.mp4", "caption": t} for n, texts in captions.items() for t in texts]
    path = root / name
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def open_captions(
    root: Path, name: str, captions: dict[int, list[str]] = CAPTIONS
) -> VideoListSource:
    """Write a list and open it."""
    return open_list("captions", write_list(root, name, captions), protocol=tiny.PROTOCOL)
