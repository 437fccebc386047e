"""Opening a video file with PyAV: the right stream, a decoder, and an error that helps."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from typing import IO, TYPE_CHECKING, Any

import av
import av.error
import av.stream

from internvideo.errors import VideoError
from internvideo.video.mp4_index import missing_moov
from internvideo.video.reader import describe_error

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

    from internvideo.video.sources import Source

__all__ = ["OpenVideo", "open_video"]

_MAX_PIXELS = 1 << 27  # 16384 × 8192; more in one frame is a broken header
_SNIFFED_BYTES = 512
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<MPD", b"[playlist]")
_COVER_ART = 0x0400  # AV_DISPOSITION_ATTACHED_PIC


@dataclass(slots=True)
class OpenVideo:
    """A container with its best video stream.

    Attributes:
        container: the opened file.
        stream: the video stream that is read; all others are skipped.
        file: the Python file below the container; None when FFmpeg reads the path itself.
        touched: whether packets were taken, so that reading goes on from the middle.
    """

    container: InputContainer
    stream: VideoStream
    file: IO[bytes] | None
    touched: bool = False

    @property
    def time_base(self) -> Fraction:
        """Seconds per unit of the stream's times."""
        return self.stream.time_base or Fraction(1, 1_000_000)

    def packets(self) -> Any:
        """Return an iterator over the packets of the stream from where the container stands."""
        self.touched = True
        return self.container.demux(self.stream)

    def decode(self, packet: Packet | None) -> list[Any]:
        """Return the frames that one more packet (None: the end) brings out of the decoder."""
        return self.stream.codec_context.decode(packet)

    def close(self) -> None:
        """Close the container and the file below it."""
        self.container.close()
        if self.file is not None:
            self.file.close()


def open_video(source: Source, *, threads: int) -> OpenVideo:
    """Open the best video stream of a file.

    Args:
        source: where the bytes are.
        threads: decoder threads; 0 lets FFmpeg choose.

    Raises:
        VideoError: not a video, without a video stream, or of an unknown codec.
    """
    source.check()
    with_python = source.path is None
    file = source.open()
    try:
        head = file.read(_SNIFFED_BYTES)
        _refuse_by_content(source.name, head)
        file.seek(0)
        if source.path is not None:
            try:
                target: Any = "file:" + os.fspath(source.path)
                target.encode()
            except UnicodeEncodeError:  # a file name that is not UTF-8: FFmpeg cannot say it
                with_python, target = True, file
        else:
            target = file
        container = _open_container(source, target, head)
        try:
            stream = _best_stream(source.name, container)
            _prepare(stream, container, threads)
        except BaseException:
            container.close()
            raise
    except BaseException:
        file.close()
        raise
    if with_python:
        return OpenVideo(container, stream, file)
    file.close()
    return OpenVideo(container, stream, None)


def _open_container(source: Source, target: Any, head: bytes) -> InputContainer:
    try:
        container: Any = av.open(
            target, mode="r", metadata_errors="replace", buffer_size=source.block_size
        )
        return container
    except av.error.FFmpegError as error:
        reason = _explain(source, head)
        if reason is None and isinstance(error, av.error.EOFError):
            reason = "ends before it shows anything: it has no frames; record or copy it again"
        if reason is None:
            reason = f"not a video, or damaged ({describe_error(error)}); convert or copy it again"
        raise VideoError(f"{source.name}: {reason}") from error


def _refuse_by_content(name: str, head: bytes) -> None:
    if not head:
        raise VideoError(f"{name}: the file is empty (0 bytes); copy it again")
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(_PLAYLISTS) or b"<MPD" in head:
        raise VideoError(f"{name}: a playlist, not a video; name the video files themselves")


def _explain(source: Source, head: bytes) -> str | None:
    """Return what a file that FFmpeg refuses most likely is, with what to do."""
    lowered = head.lstrip().lower()
    if lowered.startswith((b"<!doctype html", b"<html")):
        return "a web page, not a video; download the file behind it"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the video; run 'git lfs pull'"
    if not any(byte < 9 or 13 < byte < 32 or byte == 127 for byte in head):
        return "a text file, not a video; give the video file itself"
    with source.open() as file:
        if missing_moov(file):
            return "cut off before its index ('moov'); record or download it again"
    if not any(head):
        return "filled with zeros; copy or download it again"
    return None


def _best_stream(name: str, container: InputContainer) -> VideoStream:
    videos = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not videos:
        found = sorted({stream.type for stream in container.streams})
        what = f"only {' and '.join(found)}" if found else "no streams"
        if container.streams.video:
            what = "only sound and a cover picture" if container.streams.audio else "only a cover"
        raise VideoError(f"{name}: no video in this file ({what}); give a file with pictures")
    best = container.streams.best("video")
    stream = next((video for video in videos if best and video.index == best.index), videos[0])
    if stream.codec_context is None:
        raise VideoError(
            f"{name}: no decoder for the codec of its video stream; convert it, for example to h264"
        )
    if stream.codec_context.width * stream.codec_context.height > _MAX_PIXELS:
        size = f"{stream.codec_context.width}×{stream.codec_context.height}"
        raise VideoError(f"{name}: claims frames of {size} pixels; the header is damaged")
    return stream


def _is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition.value & _COVER_ART)


def _prepare(stream: VideoStream, container: InputContainer, threads: int) -> None:
    context = stream.codec_context
    context.thread_count = threads
    context.thread_type = "NONE" if threads == 1 else "AUTO"
    context.options = {"max_pixels": str(_MAX_PIXELS)}
    discard = getattr(av.stream, "Discard", None)
    if discard is not None:  # sound and other pictures need not be read from the disk at all
        for other in container.streams:
            if other.index != stream.index:
                other.discard = discard.all
