"""A video with boxes, tracks and actions on it, legible on the screen of a phone."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (tensors and arrays leave the types of their lists open)

from __future__ import annotations

import colorsys
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from internvideo.annotations import Box
from internvideo.tasks.action_detection.answer import Detection, DetectionAnswer
from internvideo.video.opening import open_video
from internvideo.video.writer import write_video

__all__ = ["annotate_picture", "shown_at", "write_annotated"]

_LEAST_WIDTH, _LEAST_HEIGHT = 720, 480  # smaller pictures are enlarged by a whole number
_LETTERS = 24  # lines of text that a picture has room for, one above the other
_BLOCK = 32  # frames that are decoded together
_GOLDEN = 0.618034


def write_annotated(answer: DetectionAnswer, path: Path) -> Path:
    """Write the video with what was found in it.

    Args:
        answer: about the video, which is decoded again.
        path: file to write.
    """
    with open_video(answer.source) as (_, video):
        tracks = list(answer.tracks.values())

        def pictures() -> Iterator[np.ndarray]:
            for first in range(0, video.num_frames, _BLOCK):
                block = range(first, min(first + _BLOCK, video.num_frames))
                for number, frame in zip(block, video.frames(block).numpy(), strict=True):
                    shown = [
                        each
                        for held in tracks
                        if (each := shown_at(held, number / video.fps, answer.every)) is not None
                    ]
                    yield annotate_picture(frame, shown)

        return write_video(path, pictures(), fps=video.fps)


def shown_at(track: Sequence[Detection], time: float, every: float) -> tuple[Detection, Box] | None:
    """Return the detection of a track that is shown at a time, and its box then.

    Between two moments the box moves evenly; before the first and behind the last one it stays for
    half of `every`. A track that was not seen for more than two moments is not shown between.
    """
    times = [each.box.time for each in track]
    after = bisect_right(times, time)
    if after == 0:
        first = track[0]
        return (first, first.box.box) if times[0] - time <= every / 2 else None
    before = track[after - 1]
    gap = time - before.box.time
    if after == len(track) or times[after] - before.box.time > 2.01 * every:
        return (before, before.box.box) if gap <= every / 2 else None
    following = track[after]
    share = gap / (times[after] - before.box.time)
    x1, y1, x2, y2 = (
        (1 - share) * one + share * other
        for one, other in zip(before.box.box, following.box.box, strict=True)
    )
    return before if share < 0.5 else following, (x1, y1, x2, y2)


def annotate_picture(
    frame: UInt8[np.ndarray, "h w 3"], shown: Sequence[tuple[Detection, Box]]
) -> UInt8[np.ndarray, "y x 3"]:
    """Return a picture with boxes, numbers of people and their actions."""
    height, width = frame.shape[:2]
    scale = max(1, -(-_LEAST_HEIGHT // height), -(-_LEAST_WIDTH // width))
    size = (width * scale // 2 * 2, height * scale // 2 * 2)
    picture = Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(picture)
    letter = max(size[1] // _LETTERS, 16)
    font = ImageFont.load_default(letter)
    for detection, box in shown:
        color = _color(detection.track)
        sides = [box[0] * size[0], box[1] * size[1], box[2] * size[0], box[3] * size[1]]
        draw.rectangle(sides, outline=color, width=max(letter // 8, 2))
        lines = [f"#{detection.track} {name} {value:.0%}" for name, value in detection.actions]
        text = "\n".join(lines or [f"#{detection.track}"])
        left, top, right, bottom = draw.multiline_textbbox((0, 0), text, font=font, spacing=2)
        wide, high = right - left + letter // 2, bottom - top + letter // 2
        # above the box, or inside of it where there is no room; never beyond the picture
        x = min(max(sides[0], 0), max(size[0] - wide, 0))
        y = sides[1] - high if sides[1] >= high else max(sides[1], 0)
        y = min(y, max(size[1] - high, 0))
        draw.rectangle([x, y, x + wide, y + high], fill=color)
        place = (x + letter // 4 - left, y + letter // 4 - top)
        draw.multiline_text(place, text, fill="white", font=font, spacing=2)
    return np.asarray(picture)


def _color(track: int) -> tuple[int, int, int]:
    """Return a dark colour, on which white letters are legible; neighbours differ."""
    red, green, blue = colorsys.hls_to_rgb(track * _GOLDEN % 1, 0.32, 0.75)
    return round(255 * red), round(255 * green), round(255 * blue)
