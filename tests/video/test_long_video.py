"""An hour of video: a few frames of it cost what a few frames cost."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from internvideo.video import Video
from video.clips import decode_in_order, encode, repeat

NUM_FRAMES = 90_000  # an hour at 25 frames per second
GROUP = 50


def _hour(folder: Path, ending: str) -> tuple[Path, np.ndarray]:
    """Write one group of pictures over and over; return the path and the group's frames."""
    group = encode(folder / "group.mp4", num_frames=GROUP, size=(96, 160), gop=GROUP)
    path = repeat(group, folder / f"hour{ending}", NUM_FRAMES // GROUP)
    return path, decode_in_order(group)


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_sixteen_frames_of_an_hour(tmp_path: Path, ending: str) -> None:
    path, group = _hour(tmp_path, ending)
    linux = Path("/proc/self/statm").exists()
    before = _resident_bytes() if linux else 0
    video = Video(path)
    wanted = np.linspace(0, NUM_FRAMES - 1, 16).astype(int)
    frames = video.frames(wanted)
    grown = _resident_bytes() - before if linux else 0
    assert len(video) == NUM_FRAMES
    assert video.duration == pytest.approx(3600)
    assert np.array_equal(frames.numpy(), group[wanted % GROUP])
    assert video._reader.frames_decoded <= 16 * (GROUP + 4)
    assert grown < 100 << 20
