"""The world's own small video writer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from internvideo.errors import ConfigError

__all__ = ["Encoding", "write_mp4"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoding:
    """How clips become files.

    Attributes:
        fps: frames per second.
        scale: every pixel becomes scale x scale pixels. At 2 the halved colour resolution of
            yuv420p costs nothing: a colour sample covers exactly one rendered pixel.
        crf: x264's constant rate factor, 0 (lossless) … 51.

    Raises:
        ConfigError: a value is outside its range.
    """

    fps: int = 8
    scale: int = 2
    crf: int = 14

    def __post_init__(self) -> None:
        if self.fps < 1 or self.scale < 1 or not 0 <= self.crf <= 51:
            raise ConfigError(
                "Encoding needs fps >= 1, scale >= 1 and crf in 0 … 51, "
                f"got fps={self.fps}, scale={self.scale}, crf={self.crf}"
            )


def write_mp4(
    path: Path, frames: UInt8[np.ndarray, "frames height width 3"], encoding: Encoding
) -> None:
    """Write frames as h264; the file appears under its name only when it is complete.

    Args:
        path: file to write, `.mp4` or `.avi`; its folder exists.
        frames: uint8 RGB; height and width times `encoding.scale` must be even.
        encoding: frame rate, enlargement and quality.

    Raises:
        ConfigError: the enlarged frames have an odd side, which yuv420p cannot hold.
    """
    import av

    enlarged = frames.repeat(encoding.scale, axis=1).repeat(encoding.scale, axis=2)
    height, width = enlarged.shape[1:3]
    if height % 2 or width % 2:
        raise ConfigError(
            f"h264 needs even sides, got {width} x {height}; choose an even size or scale 2"
        )
    unfinished = path.with_name(path.name + ".part")
    avi = path.suffix == ".avi"
    with av.open(str(unfinished), "w", format="avi" if avi else "mp4") as container:
        stream = container.add_stream("libx264", rate=encoding.fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # One thread: the processes that write clips side by side use the cores already.
        stream.codec_context.thread_count = 1
        stream.options = {"crf": str(encoding.crf), "preset": "veryfast"}
        if avi:
            stream.codec_context.max_b_frames = 0  # avi cannot say when they are shown
        for picture in enlarged:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    unfinished.replace(path)
