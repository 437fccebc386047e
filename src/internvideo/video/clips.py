"""Parts of videos as files: exactly their frames, with their sound."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import av.error
from torch import Tensor

from internvideo.files import replacing
from internvideo.video.opening import AnyVideo, open_video
from internvideo.video.preprocessing import FrameSource
from internvideo.video.sources import resolve_source
from internvideo.video.writer import write_video

__all__ = ["write_clip"]

_BLOCK = 16  # frames in memory
_QUALITY = 20
_IN_MP4 = frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "opus", "libopus", "flac", "alac"})


def write_clip(path: Path, video: AnyVideo, frames: range) -> None:
    """Write some frames of a video to an mp4 file, encoded anew (H.264).

    The packets of sound that begin within them are copied, where mp4 can hold them.

    Args:
        path: the file; it appears when it is complete.
        video: what a user calls a video.
        frames: numbers of the frames, one after the other.

    Raises:
        VideoError: the video cannot be read there, or the file cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder, open_video(video) as (_, opened):
        silent = write_video(
            Path(folder) / "video.mp4", _blocks(opened, frames), fps=opened.fps, quality=_QUALITY
        )
        sound = None
        if isinstance(video, str | os.PathLike):
            sound = _sound_of(video, frames.start / opened.fps, frames.stop / opened.fps)
        with replacing(path, keep_ending=True) as draft:
            _join(silent, sound, draft)


def _blocks(video: FrameSource, frames: range) -> Iterator[Tensor]:
    for first in range(0, len(frames), _BLOCK):
        yield from video.frames(frames[first : first + _BLOCK])


def _sound_of(
    video: str | os.PathLike[str], start: float, end: float
) -> tuple[Any, list[Any]] | None:
    """Return the audio stream of a video and its packets between two times, counted from 0."""
    source = resolve_source(video)
    try:
        container: Any = av.open(str(source.path) if source.path else source.open())
    except (av.error.FFmpegError, OSError):  # such as a folder of frames
        return None
    if not container.streams.audio or not container.streams.video:
        return None
    pictures, sound = container.streams.video[0], container.streams.audio[0]
    if sound.codec_context.name not in _IN_MP4:
        return None
    zero = (pictures.start_time or 0) * pictures.time_base  # of the first frame
    container.seek(int((zero + start) * 1_000_000))
    packets = []
    for packet in container.demux(sound):
        if packet.pts is None:
            continue
        seconds = packet.pts * sound.time_base - zero
        if seconds >= end:
            break
        if seconds >= start:
            shift = int((zero + start) / sound.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packets.append(packet)
    return sound, packets


def _join(silent: Path, sound: tuple[Any, list[Any]] | None, path: Path) -> None:
    """Write the pictures of one file and packets of sound into another."""
    with av.open(str(silent)) as pictures, av.open(str(path), "w", format="mp4") as joined:
        source = pictures.streams.video[0]
        target = joined.add_stream_from_template(source)
        packets = [(packet, target) for packet in pictures.demux(source) if packet.dts is not None]
        if sound is not None:
            stream, heard = sound
            copied = joined.add_stream_from_template(stream)
            packets += [(packet, copied) for packet in heard]
        for packet, stream in sorted(packets, key=lambda each: each[0].dts * each[0].time_base):
            packet.stream = stream
            joined.mux(packet)
