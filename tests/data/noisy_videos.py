"""A list of small noisy videos, and what must come out of shards of it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from internvideo.annotations import Segment, VideoAnnotation
from internvideo.data.build import read_list
from internvideo.data.clip_list import ClipEntry, ClipList
from internvideo.data.clips import VideoListSource
from internvideo.video import Preprocessing, write_video

PROTOCOL = Preprocessing(num_frames=4, sampling="middle", resize_size=16, crop_size=16)
COUNT = 12
MAX = 80_000


def record(clip: ClipEntry) -> VideoAnnotation:
    """Return the annotation that has this clip."""
    facts = {f.name: getattr(clip, f.name) for f in fields(clip)}
    start, end = facts.pop("start"), facts.pop("end")
    segments = () if start is None else (Segment(start=start, end=end),)
    return VideoAnnotation(segments=segments, **facts)


def write_noisy_list(root: Path) -> ClipList:
    """Twelve noisy videos of about 20 kB in folders with dots and spaces, and a missing one."""
    lines = []
    for number in range(COUNT):
        generator = torch.Generator().manual_seed(number)
        frames = torch.randint(0, 256, (8, 48, 64, 3), generator=generator, dtype=torch.uint8)
        name = f"class v{number % 3}.0/clip {number}.x.mp4"
        write_video(root / name, frames, fps=8)
        lines.append(f"{name} {number % 3}\n")
    (root / "broken.mp4").write_bytes(b"no video" * 100)
    lines[5:5] = ["gone.mp4 0\n", "broken.mp4 1\n"]
    (root / "train.csv").write_text("".join(lines))
    return read_list("kinetics", root / "train.csv")


def same_clips(source, annotated) -> None:
    """Check that a source has the good clips of the list, frame for frame."""
    good = [entry for entry in annotated if entry.line not in (6, 7)]
    assert len(source) == len(good) == COUNT
    listed = VideoListSource(ClipList(map(record, good), file="x"), PROTOCOL)
    for index in (0, 4, 5, 11):
        sample = source.read(index, np.random.default_rng(0))
        expected = listed.read(index, np.random.default_rng(0))
        np.testing.assert_array_equal(sample.frames, expected.frames)
        assert sample.label == expected.label == source.label(index)
        assert sample.key == source.key(index)
    views, label, key = source.read_views(3, PROTOCOL)
    torch.testing.assert_close(views, listed.read_views(3, PROTOCOL).views, rtol=0, atol=0)
    assert (label, key) == (0, source.key(3))
