"""Small video files of every kind, made by FFmpeg's encoders, and their frames decoded in order."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder listens to nothing else
X265_QUIET = "log-level=none"


def pictures(num_frames: int, height: int = 48, width: int = 64) -> Iterator[np.ndarray]:
    """Yield moving textures whose top rows spell the frame number in bits."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 255, (height // 4 + 24, width // 4 + 24, 3), dtype=np.uint8)
    texture = coarse.repeat(4, 0).repeat(4, 1)
    for number in range(num_frames):
        y, x = number % 64, 2 * number % 64
        frame = texture[y : y + height, x : x + width].copy()
        bits = np.array([number >> bit & 1 for bit in range(8)], np.uint8) * 255
        frame[: height // 6] = np.resize(bits.repeat(max(1, width // 8)), width)[None, :, None]
        yield frame


def encode(
    path: Path,
    codec: str = "libx264",
    *,
    num_frames: int = 40,
    size: tuple[int, int] = (48, 64),
    pixels: str | None = None,
    gop: int = 12,
    b_frames: int | None = None,
    options: dict[str, str] | None = None,
    pts: list[int] | None = None,
    rate: int = 25,
    matrix: tuple[int, int, int, int] | None = None,
    container_options: dict[str, str] | None = None,
    container_format: str | None = None,
) -> Path:
    """Encode `pictures`; `pts` are in units of 1/`rate` seconds, `matrix` turns an mp4."""
    height, width = size
    with av.open(
        os.fspath(path), "w", format=container_format, options=container_options or {}
    ) as container:
        stream = container.add_stream(codec, rate=rate, options=dict(options or {}))
        stream.width, stream.height = width, height
        formats = stream.codec_context.codec.video_formats
        stream.pix_fmt = pixels or (formats[0].name if formats else "yuv420p")
        stream.codec_context.gop_size = gop
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, rate)
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        for number, picture in enumerate(pictures(num_frames, height, width)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number if pts is None else pts[number]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if matrix is not None:
        path.write_bytes(_with_matrix(path.read_bytes(), matrix))
    return path


def _with_matrix(mp4: bytes, matrix: tuple[int, int, int, int]) -> bytes:
    """Return an mp4 whose track is shown with the pixel at (x, y) moved to (ax + cy, bx + dy)."""
    plain, changed = (
        b"".join(struct.pack(">3i", x << 16, y << 16, 0) for x, y in (rows[:2], rows[2:]))
        for rows in ((1, 0, 0, 1), matrix)
    )
    place = mp4.index(plain, mp4.index(b"tkhd"))
    return mp4[:place] + changed + mp4[place + len(plain) :]


def remux(
    source: Path,
    target: Path,
    *,
    keep: slice = slice(None),
    drop: frozenset[int] = frozenset(),
    options: dict[str, str] | None = None,
    shift: int = 0,
) -> Path:
    """Copy the packets of a file (a range, or without some) into another container."""
    with av.open(os.fspath(source)) as reader:
        template = reader.streams.video[0]
        packets = [packet for packet in reader.demux(template) if packet.size]
        kept = [p for n, p in enumerate(packets) if n in range(len(packets))[keep]]
        with av.open(os.fspath(target), "w", options=options or {}) as writer:
            stream = writer.add_stream_from_template(template)
            writer.start_encoding()
            for number, packet in enumerate(kept):
                if number in drop:
                    continue
                packet.stream = stream
                packet.pts += shift
                packet.dts += shift
                writer.mux(packet)
    return target


def decode_in_order(path: Path | str, stream: int | None = None) -> np.ndarray:
    """Return all frames as PyAV decodes them from the start: uint8 (t, h, w, 3)."""
    with av.open(os.fspath(path)) as container:
        chosen = container.streams.best("video") if stream is None else container.streams[stream]
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(chosen)])


def number_of(frame: np.ndarray) -> int:
    """Return the frame number that the top rows of a frame of `pictures` spell."""
    height, width = frame.shape[:2]
    step = max(1, width // 8)
    row = frame[height // 12].astype(int).mean(-1)
    bits = [row[bit * step + step // 2] > 127 for bit in range(8)]
    return sum(int(on) << bit for bit, on in enumerate(bits))


def repeat(group: Path, path: Path, times: int) -> Path:
    """Write the packets of a closed group of pictures over and over: a long video, quickly made."""
    with av.open(str(group)) as reader, av.open(str(path), "w") as writer:
        template = reader.streams.video[0]
        packets = [packet for packet in reader.demux(template) if packet.size]
        step = packets[0].duration
        stream = writer.add_stream_from_template(template)
        for number in range(times):
            by = number * len(packets) * step
            for packet in packets:
                copy = av.Packet(bytes(packet))
                copy.pts, copy.dts, copy.duration = packet.pts + by, packet.dts + by, step
                copy.is_keyframe, copy.time_base = packet.is_keyframe, packet.time_base
                copy.stream = stream
                writer.mux(copy)
    return path
