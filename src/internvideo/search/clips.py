"""The hits of a search as video files: exactly their frames, with their sound."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import av
import av.error
from torch import Tensor

from internvideo.errors import VideoError
from internvideo.files import replacing
from internvideo.search.hits import Hit
from internvideo.search.records import Part
from internvideo.video import Video, write_video
from internvideo.video.sources import resolve_source

__all__ = ["cut_hits"]

_BLOCK = 16  # frames in memory
_QUALITY = 20
_IN_MP4 = frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "opus", "libopus", "flac", "alac"})


def cut_hits(hits: Sequence[Hit], folder: Path) -> Iterator[tuple[Hit, Path | VideoError]]:
    """Write each hit to a file of a folder; yield the file, or why there is none.

    The frames are those of the part, encoded anew (H.264); the packets of sound that begin within
    it are copied, where mp4 can hold them. The best hit is `01-….mp4`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for rank, hit in enumerate(hits, start=1):
        name = PurePosixPath(hit.path.partition("?")[0]).stem
        path = folder / f"{rank:02}-{name}-{hit.start:.2f}s.mp4"
        try:
            _cut(hit.part, path)
            yield hit, path
        except VideoError as error:
            yield hit, error


def _cut(part: Part, path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, Video(part.file.path) as video:
        silent = write_video(
            Path(folder) / "video.mp4", _frames(video, part), fps=part.fps, quality=_QUALITY
        )
        with replacing(path, keep_ending=True) as draft:
            _join(silent, _sound_of(part), draft)


def _frames(video: Video, part: Part) -> Iterator[Tensor]:
    end = part.first_frame + part.num_frames
    for start in range(part.first_frame, end, _BLOCK):
        yield from video.frames(range(start, min(start + _BLOCK, end)))


def _sound_of(part: Part) -> tuple[Any, list[Any]] | None:
    """Return the audio stream of a video and its packets within a part, their times from 0."""
    source = resolve_source(part.file.path)
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
    container.seek(int((zero + part.start) * 1_000_000))
    packets = []
    for packet in container.demux(sound):
        if packet.pts is None:
            continue
        seconds = packet.pts * sound.time_base - zero
        if seconds >= part.end:
            break
        if seconds >= part.start:
            shift = int((zero + part.start) / sound.time_base)
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
