"""Reading for action recognition: all views of a test video, and the windows of a long one.

Views: the 15 views (5 clips x 3 crops, 16 frames of 224 pixels) of a ten-second 340x256 file, read
at once as `evaluate` does, against opening and seeking for every view, and against decoding the
whole file for every view, which is what the reference does. The tensors are compared first: equal
bit for bit.

Windows: two seconds every half second of the same file, decoded once and in order as
`stream_actions` does, against asking a `Video` for the frames of each window.

Run: python benchmarks/recognition.py [--quick]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as the command does

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from decode import FPS, scene
from harness import Row, measure, parse_arguments, report
from torch import Tensor

from internvideo.video import Video, write_video
from internvideo.video.preprocessing import PRESETS
from internvideo.video.windows import sliding_windows, spans

PROTOCOL = PRESETS["videomae-kinetics"]
ONE_VIEW = dataclasses.replace(PROTOCOL, num_clips=1, num_crops=1)
WINDOW, STRIDE = 2.0, 0.5


def all_views(path: Path) -> Tensor:
    with Video(path) as video:
        return PROTOCOL.load(video)


def each_view(path: Path, read: Callable[[Video, list[int]], Tensor]) -> Tensor:
    views = []
    for clip in range(PROTOCOL.num_clips):
        for crop in range(PROTOCOL.num_crops):
            with Video(path) as video:
                frames = read(video, PROTOCOL.sample(len(video), video.fps)[clip].tolist())
            views.append(PROTOCOL.normalize(PROTOCOL.resize(frames, crop_index=crop)))
    return torch.stack(views)


def whole_file(video: Video, wanted: list[int]) -> Tensor:
    return video.frames(range(len(video)))[torch.tensor(wanted)]


def in_order(path: Path) -> Tensor:
    with Video(path) as video:
        plan = spans(video, ONE_VIEW, window=WINDOW, stride=STRIDE)
        return torch.stack([window.clip for window in sliding_windows(video, ONE_VIEW, plan)])


def each_window(path: Path) -> Tensor:
    clips = []
    with Video(path) as video:
        plan = spans(video, ONE_VIEW, window=WINDOW, stride=STRIDE)
        picked = ONE_VIEW.sample(plan.length, video.fps)[0]
        for index in range(plan.count):
            clips.append(ONE_VIEW.transform(video.frames(picked + plan.start(index))))
    return torch.stack(clips)


def main() -> None:
    arguments = parse_arguments(__doc__ or "")
    repeats = 3 if arguments.quick else 7
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = write_video(Path(folder) / "clip.mp4", scene(256, 340), fps=FPS)
        views = {
            "ours": lambda: all_views(path),
            "a seek a view": lambda: each_view(path, lambda video, wanted: video.frames(wanted)),
            "the whole file a view": lambda: each_view(path, whole_file),
        }
        windows = {"ours": lambda: in_order(path), "a seek a window": lambda: each_window(path)}
        for case, contestants in (("15 views", views), ("17 windows", windows)):
            ours, *others = (run() for run in contestants.values())
            assert all(torch.equal(ours, other) for other in others), case
            times = measure(contestants, repeats=repeats)
            rows += [
                Row(case=case, ours=times["ours"], peer=seconds, peer_name=name, note="equal")
                for name, seconds in times.items()
                if name != "ours"
            ]
    report("recognition", rows)


if __name__ == "__main__":
    main()
