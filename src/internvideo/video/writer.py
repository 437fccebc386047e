"""Writing frames as a video file, through PyAV."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from internvideo.errors import ConfigError, VideoError, did_you_mean
from internvideo.files import replacing

__all__ = ["CODECS", "join_videos", "write_video"]

Frames: TypeAlias = "UInt8[Tensor, 't h w c'] | np.ndarray | Iterable[Tensor | np.ndarray]"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Encoder:
    """How one codec is asked for.

    Attributes:
        names: FFmpeg encoders that write it, best first.
        quality: default, best and worst value of its quality scale; None if it has none.
        quality_options: the encoder options that set it.
        options: further encoder options.
        pixels: pixel format.
        odd_pixels: pixel format for odd widths and heights; None when those are impossible.
    """

    names: tuple[str, ...]
    quality: tuple[int, int, int] | None = None
    quality_options: Callable[[int], dict[str, str]] = lambda crf: {"crf": str(crf)}
    options: dict[str, str] = field(default_factory=dict)
    pixels: str = "yuv420p"
    odd_pixels: str | None = "yuv420p"


def _quantiser(value: int) -> dict[str, str]:
    return {"qmin": str(value), "qmax": str(value)}


CODECS: dict[str, _Encoder] = {
    "h264": _Encoder(
        names=("libx264",),
        quality=(18, 0, 51),
        options={"x264-params": "cpu-independent=1"},
        odd_pixels="yuv444p",
    ),
    "hevc": _Encoder(
        names=("libx265",),
        quality=(22, 0, 51),
        options={"x265-params": "log-level=none"},
        odd_pixels="yuv444p",
    ),
    "vp9": _Encoder(
        names=("libvpx-vp9",),
        quality=(24, 0, 63),
        options={"b": "0", "deadline": "good", "cpu-used": "4"},
    ),
    "av1": _Encoder(
        names=("libsvtav1", "libaom-av1"),
        quality=(24, 0, 63),
        options={"preset": "8"},
        odd_pixels=None,
    ),
    "mpeg4": _Encoder(names=("mpeg4",), quality=(3, 1, 31), quality_options=_quantiser),
    "mjpeg": _Encoder(
        names=("mjpeg",),
        quality=(3, 2, 31),
        quality_options=_quantiser,
        pixels="yuvj420p",
        odd_pixels="yuvj420p",
    ),
    "gif": _Encoder(names=("gif",), pixels="pal8", odd_pixels="pal8"),
}
"""Codec name -> how it is encoded; the keys are what `write_video` takes."""


def write_video(
    path: str | os.PathLike[str],
    frames: Frames,
    *,
    fps: float = 25.0,
    codec: str = "h264",
    quality: int | None = None,
    key_frame_interval: int | None = None,
    threads: int = 1,
) -> Path:
    """Encode frames; the file appears under its name only when it is complete.

    Args:
        path: where to write; the ending chooses the container (`.mp4`, `.mkv`, `.webm`, `.avi`,
            `.mov`, `.gif`, …). Missing folders are made.
        frames: RGB frames uint8 (t, h, w, 3), as one tensor or array, or one after the other.
        fps: frames per second.
        codec: h264, hevc, vp9, av1, mpeg4, mjpeg or gif.
        quality: the codec's own scale, lower is better: constant rate factor for h264 and hevc
            (0-51), vp9 and av1 (0-63), quantiser for mpeg4 and mjpeg (up to 31).
        key_frame_interval: frames from one key frame to the next at most; None leaves it to the
            codec.
        threads: encoder threads; with one (the default) the same frames give the same file on
            every machine.

    Returns:
        The path written.

    Raises:
        ConfigError: an unknown codec, a quality off its scale, or fps that is not positive.
        VideoError: the frames have no common shape, or the container cannot hold the codec.
    """
    path = Path(path)
    encoder, options = _encoder_options(codec, quality)
    if not 0 < fps < 10_000:
        raise ConfigError(f"fps must be between 0 and 10000, got {fps}")
    pictures = _pictures(path.name, frames)
    first = next(pictures, None)
    if first is None:
        raise VideoError(f"{path.name}: no frames to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path, keep_ending=True) as draft:
            _encode(
                draft,
                chain([first], pictures),
                size=first.shape[:2],
                rate=Fraction(fps).limit_denominator(10_000),
                encoder=encoder,
                options=options | ({"g": str(key_frame_interval)} if key_frame_interval else {}),
                threads=threads,
            )
    except VideoError as error:
        raise VideoError(f"{path.name}: {error}") from error.__cause__
    return path


def _encoder_options(codec: str, quality: int | None) -> tuple[_Encoder, dict[str, str]]:
    encoder = CODECS.get(codec)
    if encoder is None:
        raise ConfigError(
            f"codec must be one of {', '.join(CODECS)}, not {codec!r}.{did_you_mean(codec, CODECS)}"
        )
    if encoder.quality is None:
        if quality is not None:
            raise ConfigError(f"{codec} has no quality setting, got quality={quality}")
        return encoder, dict(encoder.options)
    default, best, worst = encoder.quality
    quality = default if quality is None else quality
    if not best <= quality <= worst:
        raise ConfigError(f"quality of {codec} goes from {best} to {worst}, got {quality}")
    return encoder, {**encoder.options, **encoder.quality_options(quality)}


def _pictures(name: str, frames: Frames) -> Iterator[np.ndarray]:
    """Yield the frames as contiguous arrays, checking that all have the shape of the first."""
    shape = None
    for number, frame in enumerate(frames):
        picture = frame.cpu().numpy() if isinstance(frame, Tensor) else np.asarray(frame)
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise VideoError(
                f"{name}: frames must be uint8 of shape (height, width, 3), "
                f"frame {number} is {picture.dtype} of shape {picture.shape}"
            )
        shape = shape or picture.shape
        if picture.shape != shape or 0 in shape:
            raise VideoError(f"{name}: frame {number} has shape {picture.shape}, the first {shape}")
        yield np.ascontiguousarray(picture)


def _encode(
    path: Path,
    pictures: Iterable[np.ndarray],
    *,
    size: tuple[int, int],
    rate: Fraction,
    encoder: _Encoder,
    options: dict[str, str],
    threads: int,
) -> None:
    import av
    import av.error

    height, width = size
    pixels = encoder.odd_pixels if height % 2 or width % 2 else encoder.pixels
    if pixels is None:
        raise VideoError(f"this codec needs an even width and height, not {width}×{height}")
    name = next((name for name in encoder.names if name in av.codecs_available), None)
    if name is None:
        raise VideoError(f"this FFmpeg has no encoder {' or '.join(encoder.names)}")
    try:
        with (
            _quiet_svt(),
            av.open(os.fspath(path), "w", options={"fflags": "+bitexact"}) as container,
        ):
            stream: Any = container.add_stream(name, rate=rate, options=options)
            stream.width, stream.height, stream.pix_fmt = width, height, pixels
            stream.codec_context.thread_count = threads
            stream.codec_context.time_base = 1 / rate
            shown = _frames(av, pictures)
            for frame in _with_palette(av, shown, size, rate) if name == "gif" else shown:
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except (av.error.FFmpegError, ValueError) as error:
        if isinstance(error, VideoError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise VideoError(
            f"cannot be written as {encoder.names[0]} of {width}×{height} in '{path.suffix}' "
            f"({reason}); try another ending or codec"
        ) from error


@contextmanager
def _quiet_svt() -> Iterator[None]:
    """Keep the AV1 encoder from printing its settings; this variable is all it listens to."""
    before = os.environ.get("SVT_LOG")
    os.environ["SVT_LOG"] = before or "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["SVT_LOG"]


def _frames(av: Any, pictures: Iterable[np.ndarray]) -> Iterator[Any]:
    for number, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = number
        yield frame


def _with_palette(
    av: Any, frames: Iterator[Any], size: tuple[int, int], rate: Fraction
) -> Iterator[Any]:
    """Yield the frames in the 256 colours that suit the whole clip best."""
    graph = av.filter.Graph()
    source = graph.add_buffer(width=size[1], height=size[0], format="rgb24", time_base=1 / rate)
    split, palette = graph.add("split"), graph.add("palettegen")
    use, sink = graph.add("paletteuse", "dither=bayer:bayer_scale=3"), graph.add("buffersink")
    source.link_to(split)
    split.link_to(palette, 0, 0)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    for frame in chain(frames, [None]):
        source.push(frame)
    number = 0
    while True:
        try:
            frame = sink.pull()
        except (av.error.EOFError, av.error.BlockingIOError):
            return
        frame.pts, frame.time_base = number, 1 / rate
        number += 1
        yield frame


def join_videos(parts: Sequence[Path], path: Path) -> None:
    """Put videos of the same encoding one behind the other, without encoding them again."""
    import av

    unfinished = path.with_name(f"{path.name}.part")
    with av.open(str(unfinished), "w", format="mp4") as joined:
        stream, shift = None, 0
        for part in parts:
            with av.open(str(part)) as container:
                source = container.streams.video[0]
                stream = stream or joined.add_stream_from_template(source)
                first, length = None, source.duration or 0
                for packet in container.demux(source):
                    if packet.dts is None or packet.pts is None:  # the end of the file
                        continue
                    first = packet.pts if first is None else first  # a key frame comes first
                    packet.pts += shift - first
                    packet.dts += shift - first
                    packet.stream = stream
                    joined.mux(packet)
                shift += length
    unfinished.replace(path)
