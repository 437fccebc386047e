"""The pictures of the page: strips and moving previews in data URIs; matrix and chart as SVG."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

__all__ = ["ARMS", "accuracy_chart", "confusion_svg", "filmstrip", "moving", "strip_indices"]

ARMS = {
    "pretrained": "fine-tuned after masked pretraining",
    "scratch": "fine-tuned from random weights",
    "pretrained-probe": "linear probe of the pretrained encoder",
    "random-probe": "control: linear probe of a random encoder",
    "one-frame": "control: fine-tuned on one repeated frame",
}
"""What fine-tuning with few labels was compared with: name → title."""

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 640, 300, 52, 40, 14, 48
_GAP = 3
_CELL = 15
_MARGIN = 158
_BELOW = 46  # the legend, and what the pointer is on


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


def moving(frames: UInt8[Tensor, "t h w 3"], *, seconds: float, height: int = 128) -> str:
    """Return frames one after the other, again and again, as an animated WebP in a data URI.

    Args:
        frames: RGB, all of one size.
        seconds: how long they take together; the last one stays half a second longer.
        height: of the picture in pixels.
    """
    from PIL import Image

    width = max(1, round(frames.shape[2] * height / frames.shape[1]))
    first, *rest = (
        Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
        for frame in frames.numpy()
    )
    each = max(round(1000 * seconds / len(frames)), 20)
    shown = [*[each] * (len(frames) - 1), each + 500]
    buffer = io.BytesIO()
    first.save(
        buffer, "WEBP", save_all=True, append_images=rest, duration=shown, loop=0, quality=70
    )
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def confusion_svg(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Return a confusion matrix as an SVG element: rows are true, columns are answers.

    The darker a cell, the larger its share of the row; the diagonal is what is right.
    """
    side = len(names) * _CELL
    total = side + _MARGIN
    parts = [
        f'<svg viewBox="0 0 {total + 8} {total + _BELOW}" role="img" '
        'aria-labelledby="confusion-title" '
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
                f'<g class="cell"><rect class="{kind}" x="{_MARGIN + column * _CELL}" '
                f'y="{_MARGIN + row * _CELL}" width="{_CELL}" height="{_CELL}" '
                f'fill-opacity="{count / whole:.3f}"/>'
                f'<text class="tip" x="{_MARGIN}" y="{total + 18}">{told}</text></g>'
            )
    for place, (kind, word) in enumerate((("hit", "right"), ("miss", "wrong"))):
        left, y = _MARGIN + place * 190, total + 30
        parts += [
            f'<rect class="{kind} key" x="{left + 18 * n}" y="{y}" width="18" height="10" '
            f'fill-opacity="{(n + 1) / 4}"/>'
            for n in range(4)
        ]
        parts.append(f'<text x="{left + 78}" y="{y + 9}">{word}, to 100%</text>')
    parts.append("</svg>")
    return "".join(parts)


def accuracy_chart(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the accuracies over the number of labels as an SVG element."""
    labels = sorted({int(row["labels"]) for row in rows})
    low, high = math.log(labels[0]), math.log(max(labels[-1], labels[0] + 1))

    def across(count: int) -> float:
        return _LEFT + (math.log(count) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def down(percent: float) -> float:
        return _TOP + (1 - percent / 100) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" class="chart" role="img" '
        'xmlns="http://www.w3.org/2000/svg" aria-labelledby="chart-title">'
        '<title id="chart-title">Accuracy over the number of labelled clips</title>'
    ]
    for percent in range(0, 101, 20):
        y = down(percent)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{percent}%</text>'
        )
    for count in labels:
        parts.append(
            f'<text x="{across(count):.1f}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">'
            f"{count:,} labels</text>"
        )
    for number, arm in enumerate(ARMS):
        points = [(across(int(row["labels"])), row) for row in rows if row["arm"] == arm]
        if not points:
            continue
        path = " ".join(f"{x:.1f},{down(row['accuracy_mean']):.1f}" for x, row in points)
        parts.append(f'<polyline class="arm{number}" points="{path}"/>')
        for x, row in points:
            mean, spread = row["accuracy_mean"], row["accuracy_sd"] or 0.0
            parts.append(
                f'<line class="arm{number}" x1="{x:.1f}" x2="{x:.1f}" '
                f'y1="{down(mean - spread):.1f}" y2="{down(mean + spread):.1f}"/>'
                f'<circle class="arm{number}" cx="{x:.1f}" cy="{down(mean):.1f}" r="4">'
                f"<title>{escape(ARMS[arm])}, {row['labels']:,} labels: {mean:.1f}%</title>"
                "</circle>"
            )
    keys = "".join(
        f'<li><span class="dot arm{number}" aria-hidden="true"></span>{escape(title)}</li>'
        for number, (arm, title) in enumerate(ARMS.items())
        if any(row["arm"] == arm for row in rows)
    )
    return "".join(parts) + f'</svg><ul class="keys">{keys}</ul>'
