"""Pictures of labelled rows of frames: as one grid, or as a video of the rows side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

__all__ = ["draw_grid", "draw_panels"]

Rows = Mapping[str, "UInt8[np.ndarray, 't h w 3']"]

_MAX_COLUMNS = 8
_CELL = 128  # smaller frames are magnified to about this side
_GAP = 6
_MARGIN = 20
_TITLE, _LABEL, _SMALL = 19, 16, 13  # sizes of the letters
_INK, _SOFT, _PAPER = (32, 33, 36), (110, 113, 118), (255, 255, 255)


def draw_grid(rows: Rows, *, title: str, note: str) -> Image:
    """Return one picture: a row of frames a name, with a title above and a note below.

    Args:
        rows: name -> frames, all of one shape; of long clips eight spread frames are shown. Small
            frames are magnified without smoothing.
        title: above.
        note: below, in small letters.
    """
    from PIL import Image, ImageDraw

    count, height, width = next(iter(rows.values())).shape[:3]
    shown = min(count, _MAX_COLUMNS)
    columns = [round(n * (count - 1) / max(shown - 1, 1)) for n in range(shown)]
    scale = _scale(height, width)
    cell_height, cell_width = height * scale, width * scale
    names = max(_text_width(name, _LABEL) for name in rows) + 2 * _GAP
    left, top = _MARGIN + names, _MARGIN + 2 * _TITLE + _SMALL
    total_width = left + len(columns) * (cell_width + _GAP) - _GAP + _MARGIN
    lines = _wrap(note, _SMALL, total_width - 2 * _MARGIN)
    bottom = top + len(rows) * (cell_height + _GAP)
    total_height = bottom + _GAP + len(lines) * (_SMALL + 5) + _MARGIN
    picture = Image.new("RGB", (total_width, total_height), _PAPER)
    pen = ImageDraw.Draw(picture)
    _write(pen, (_MARGIN, _MARGIN), _fit(title, _TITLE, total_width - 2 * _MARGIN), _TITLE, _INK)
    for place, number in enumerate(columns):
        middle = left + place * (cell_width + _GAP) + cell_width // 2
        _write(pen, (middle, top - _GAP), f"frame {number + 1}", _SMALL, _SOFT, anchor="ms")
    for row, (name, frames) in enumerate(rows.items()):
        y = top + row * (cell_height + _GAP)
        _write(pen, (_MARGIN, y + cell_height // 2), name, _LABEL, _INK, anchor="lm")
        for place, number in enumerate(columns):
            frame = Image.fromarray(_magnified(frames[number], scale))
            picture.paste(frame, (left + place * (cell_width + _GAP), y))
    for number, line in enumerate(lines):
        _write(pen, (_MARGIN, bottom + _GAP + number * (_SMALL + 5)), line, _SMALL, _SOFT)
    return picture


def draw_panels(rows: Rows, *, title: str, note: str) -> UInt8[np.ndarray, "t h w 3"]:
    """Return frames with the rows side by side, labelled; width and height are even.

    Arguments as in `draw_grid`.
    """
    from PIL import Image, ImageDraw

    count, height, width = next(iter(rows.values())).shape[:3]
    scale = 2 * _scale(height, width) if height < _CELL else 1
    cell_height, cell_width = height * scale, width * scale
    total_width = len(rows) * (cell_width + _GAP) - _GAP + 2 * _MARGIN
    titles = _wrap(title, _LABEL, total_width - 2 * _MARGIN)
    lines = _wrap(note, _SMALL, total_width - 2 * _MARGIN)
    top = _MARGIN + len(titles) * (_LABEL + 6) + _LABEL + 3 * _GAP
    total_height = top + cell_height + 2 * _GAP + len(lines) * (_SMALL + 5) + _MARGIN
    total_width, total_height = total_width + total_width % 2, total_height + total_height % 2
    picture = Image.new("RGB", (total_width, total_height), _PAPER)
    pen = ImageDraw.Draw(picture)
    for number, line in enumerate(titles):
        _write(pen, (_MARGIN, _MARGIN + number * (_LABEL + 6)), line, _LABEL, _INK)
    for number, line in enumerate(lines):
        y = top + cell_height + 2 * _GAP + number * (_SMALL + 5)
        _write(pen, (_MARGIN, y), line, _SMALL, _SOFT)
    lefts = [_MARGIN + place * (cell_width + _GAP) for place in range(len(rows))]
    for left, name in zip(lefts, rows, strict=True):
        _write(pen, (left + cell_width // 2, top - _GAP), name, _LABEL, _INK, anchor="ms")
    clip = np.repeat(np.asarray(picture)[None], count, axis=0)
    for left, frames in zip(lefts, rows.values(), strict=True):
        for number in range(count):
            cell = _magnified(frames[number], scale)
            clip[number, top : top + cell_height, left : left + cell_width] = cell
    return clip


def _scale(height: int, width: int) -> int:
    return max(1, round(_CELL / max(height, width)))


def _magnified(frame: UInt8[np.ndarray, "h w 3"], scale: int) -> UInt8[np.ndarray, "y x 3"]:
    return frame.repeat(scale, axis=0).repeat(scale, axis=1)


def _write(
    pen: ImageDraw,
    place: tuple[int, int],
    text: str,
    size: int,
    colour: tuple[int, int, int],
    *,
    anchor: str = "la",
) -> None:
    from PIL import ImageFont

    pen.text(place, text, font=ImageFont.load_default(size), fill=colour, anchor=anchor)


def _text_width(text: str, size: int) -> int:
    from PIL import ImageFont

    return round(ImageFont.load_default(size).getlength(text))


def _fit(text: str, size: int, width: int) -> str:
    """Return the text, cut where it is wider than `width` pixels."""
    if _text_width(text, size) <= width:
        return text
    while text and _text_width(f"{text}…", size) > width:
        text = text[:-1]
    return f"{text}…"


def _wrap(text: str, size: int, width: int) -> list[str]:
    """Break the text into lines of at most `width` pixels."""
    lines: list[str] = []
    for word in text.split():
        if lines and _text_width(f"{lines[-1]} {word}", size) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
