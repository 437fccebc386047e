"""An hour of video: a few frames of it cost what a few frames cost."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest

from internvideo.video import Video
from video.clips import decode_in_order, encode

NUM_FRAMES = 90_000  # an hour at 25 frames per second
GROUP = 50


def _hour(folder: Path, ending: str) -> tuple[Path, np.ndarray]:
    """Write one group of pictures over and over; return the path and the group's frames."""
    group = encode(folder / "group.mp4", num_frames=GROUP, size=(96, 160), gop=GROUP)
    path = folder / f"hour{ending}"
    with av.open(str(group)) as reader:
        template = reader.streams.video[0]
        packets = [packet for packet in reader.demux(template) if packet.size]
        step = packets[0].duration
        with av.open(str(path), "w") as writer:
            stream = writer.add_stream_from_template(template)
            for repeat in range(NUM_FRAMES // GROUP):
                for packet in packets:
                    copy = _shifted(packet, repeat * GROUP * step)
                    copy.stream = stream
                    writer.mux(copy)
    return path, decode_in_order(group)


def _shifted(packet: av.Packet, by: int) -> av.Packet:
    moved = av.Packet(bytes(packet))
    moved.pts, moved.dts, moved.duration = packet.pts + by, packet.dts + by, packet.duration
    moved.is_keyframe = packet.is_keyframe
    moved.time_base = packet.time_base
    return moved


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
