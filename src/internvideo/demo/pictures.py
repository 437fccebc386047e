"""The pictures of the page: filmstrips as JPEG in data URIs, the confusion matrix as SVG."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

__all__ = ["confusion_svg", "filmstrip", "strip_indices"]

_GAP = 3
_CELL = 15
_MARGIN = 158


def strip_indices(num_frames: int, count: int = 8) -> list[int]:
    """Return evenly spread frame numbers, the first and the last among them.

    >>> strip_indices(16, 4)
    [0, 5, 10, 15]
    """
    return np.linspace(0, num_frames - 1, min(count, num_frames)).round().astype(int).tolist()


def filmstrip(frames: UInt8[Tensor, "t h w 3"], *, height: int = 112) -> str:
    """Return frames side by side as one JPEG in a data URI.

    Args:
        frames: RGB, all of one size.
        height: of the strip in pixels.
    """
    from PIL import Image

    width = max(1, round(frames.shape[2] * height / frames.shape[1]))
    count = len(frames)
    strip = Image.new("RGB", (count * (width + _GAP) - _GAP, height), "white")
    for number, frame in enumerate(frames.numpy()):
        picture = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
        strip.paste(picture, (number * (width + _GAP), 0))
    buffer = io.BytesIO()
    strip.save(buffer, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def confusion_svg(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Return a confusion matrix as an SVG element: rows are true, columns are answers.

    The darker a cell, the larger its share of the row; the diagonal is what is right.
    """
    side = len(names) * _CELL
    total = side + _MARGIN
    parts = [
        f'<svg viewBox="0 0 {total + 8} {total}" role="img" aria-labelledby="confusion-title" '
        'xmlns="http://www.w3.org/2000/svg" class="confusion">',
        '<title id="confusion-title">Confusion matrix: rows are the true actions, columns the '
        "answers</title>",
    ]
    for number, name in enumerate(names):
        middle = number * _CELL + _CELL / 2
        label = escape(name)
        parts.append(
            f'<text x="{_MARGIN - 6}" y="{_MARGIN + middle + 3.5}" text-anchor="end">{label}</text>'
            f'<text transform="translate({_MARGIN + middle + 3.5} {_MARGIN - 6}) rotate(-90)">'
            f"{label}</text>"
        )
    parts.append(
        f'<rect class="ground" x="{_MARGIN}" y="{_MARGIN}" width="{side}" height="{side}"/>'
    )
    for row, (true, line) in enumerate(zip(names, counts, strict=True)):
        whole = max(sum(line), 1)
        for column, count in enumerate(line):
            if count == 0:
                continue
            kind = "hit" if row == column else "miss"
            told = escape(f"{true}: answered {names[column]} {count} of {whole} times")
            parts.append(
                f'<rect class="{kind}" x="{_MARGIN + column * _CELL}" y="{_MARGIN + row * _CELL}" '
                f'width="{_CELL}" height="{_CELL}" fill-opacity="{count / whole:.3f}">'
                f"<title>{told}</title></rect>"
            )
    parts.append("</svg>")
    return "".join(parts)
