"""Files as people have them: frame i is the i-th picture that is shown, or the file is named."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from internvideo.errors import VideoError
from internvideo.video import Video, find_videos
from internvideo.video.opening import expand_videos
from video.clips import X265_QUIET, decode_in_order, encode, pictures

CASES = Path(__file__).parents[2].parent / "shared" / "cases"
NUM_FRAMES = 20


def case(name: str) -> Path:
    """Return the folder of a reported case; skip where the cases are not at hand."""
    if not (CASES / name).is_dir():
        pytest.skip(f"needs {CASES / name}")
    return CASES / name


def md5(frame: np.ndarray) -> str:
    return hashlib.md5(frame.tobytes()).hexdigest()


def assert_each_frame_alone(path: Path, expected: np.ndarray) -> None:
    with Video(path) as video:
        assert len(video) == len(expected)
    for number, frame in enumerate(expected):
        with Video(path) as video:  # knows nothing yet
            assert np.array_equal(video[number].numpy(), frame), number


# ---- times that do not follow the pictures

STREAMS = {
    "h264-plain": ("libx264", {"x264-params": "bframes=0"}),
    "h264": ("libx264", {"x264-params": "bframes=3:b-adapt=0:b-pyramid=normal"}),
    "h264-flat": ("libx264", {"x264-params": "bframes=2:b-adapt=0:b-pyramid=none:open-gop=1"}),
    "hevc": ("libx265", {"x265-params": f"{X265_QUIET}:open-gop=1:bframes=4:b-adapt=0"}),
    "mpeg4": ("mpeg4", {}),
    "mpeg2video": ("mpeg2video", {}),
    "vp9": ("libvpx-vp9", {"cpu-used": "8", "deadline": "realtime"}),
}
CONTAINERS = ("mp4", "mov", "mkv", "ts", "flv", "avi", "mxf")


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("streams")
    return {
        name: encode(
            folder / f"{name}.mkv",
            codec,
            num_frames=NUM_FRAMES,
            gop=8,
            pixels="yuv420p",
            b_frames=2 if codec.startswith("mpeg") else None,
            options=options,
        )
        for name, (codec, options) in STREAMS.items()
    }


def with_times(source: Path, target: Path, times: list[int | None]) -> bool:
    """Write a stream with other presentation times (in frames); False where none can be had."""
    try:
        with av.open(os.fspath(source)) as reader:
            template = reader.streams.video[0]
            packets = [packet for packet in reader.demux(template) if packet.size]
            with av.open(os.fspath(target), "w") as writer:
                stream = writer.add_stream_from_template(template)
                writer.start_encoding()
                for number, packet in enumerate(packets):
                    packet.stream = stream
                    packet.dts = 40 * (number - NUM_FRAMES)
                    packet.pts = None if times[number] is None else 40 * times[number]
                    packet.duration = 40
                    writer.mux(packet)
        with av.open(os.fspath(target)) as reader:
            return any(True for _ in reader.decode(video=0))
    except (av.error.FFmpegError, ValueError, IndexError):
        return False


def shown_at(source: Path) -> list[int]:
    """Return the place of each packet's picture among those that are shown."""
    with av.open(os.fspath(source)) as reader:
        pts = [packet.pts for packet in reader.demux(video=0) if packet.size]
    return np.argsort(np.argsort(pts)).tolist()


@st.composite
def lies(draw: st.DrawFn) -> tuple[str, list[int]]:
    """Draw how times are wrong: a kind, and a permutation of few or of all."""
    kind = draw(st.sampled_from(["true", "decoding", "swapped", "permuted", "equal", "missing"]))
    order = list(range(NUM_FRAMES))
    if kind == "permuted":
        order = draw(st.permutations(order))
    if kind == "swapped":
        at = draw(st.integers(0, NUM_FRAMES - 2))
        to = min(at + draw(st.integers(1, 3)), NUM_FRAMES - 1)
        order[at], order[to] = order[to], order[at]
    return kind, order


@pytest.mark.slow
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    stream=st.sampled_from(sorted(STREAMS)),
    container=st.sampled_from(CONTAINERS),
    lie=lies(),
    shift=st.sampled_from([0, 0, -7, 5]),
)
def test_every_frame_alone_whatever_the_times(
    streams: dict[str, Path],
    tmp_path: Path,
    stream: str,
    container: str,
    lie: tuple[str, list[int]],
    shift: int,
) -> None:
    kind, order = lie
    shown = shown_at(streams[stream])
    times: list[int | None] = [order[place] + shift for place in shown]
    if kind == "decoding":
        times = [number + shift for number in range(NUM_FRAMES)]
    if kind == "equal":
        times = [place // 2 * 2 + shift for place in shown]
    if kind == "missing":
        times = [None if place % 3 else place + shift for place in shown]
    path = tmp_path / f"clip.{container}"
    if with_times(streams[stream], path, times):
        assert_each_frame_alone(path, decode_in_order(path))
