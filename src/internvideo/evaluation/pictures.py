"""Pictures as files: the formats that can be written, and fonts for labels in any script."""

# pyright: reportUnknownMemberType=false
# (matplotlib is typed in part)

from __future__ import annotations

import logging
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import UInt8

from internvideo.errors import ConfigError, did_you_mean, require
from internvideo.video.opening import AnyVideo, open_video

__all__ = [
    "BAR_COLOR",
    "LINE_COLOR",
    "NUM_PICTURES",
    "REST_COLOR",
    "Drawn",
    "check_picture",
    "draw_strip",
    "frames_along",
    "name_places",
    "strip_height",
    "write_below",
]

BAR_COLOR, LINE_COLOR, REST_COLOR = "#2563a8", "#c0392b", "#a9bdd8"

_LOG = logging.getLogger(__name__)
NUM_PICTURES = 10
"""Frames along a video, in a picture about it."""

_DPI, _POINTS, _LETTERS_AN_INCH = 150, 72, 17
_FORMATS = (".png", ".jpg", ".jpeg", ".webp", ".tiff", ".svg", ".pdf", ".eps")
_WIDE_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei", "Droid Sans Fallback", "PingFang SC", "Hiragino Sans GB",
    "Microsoft YaHei", "SimHei", "Malgun Gothic", "Arial Unicode MS",
)  # fmt: skip


class Drawn:
    """Something that can be drawn."""

    __slots__ = ()

    fits_long_names: ClassVar[bool] = False
    """Whether the written picture grows to what is drawn."""

    def draw(self) -> Any:
        """Return a matplotlib figure, made by `figure`."""
        raise NotImplementedError

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw it.

        Args:
            path: also write the picture there; the suffix decides the format.

        Returns:
            The matplotlib figure.

        Raises:
            MissingExtraError: matplotlib is not installed.
            ConfigError: not a picture format.
        """
        figure = self.draw()
        if path is not None:
            _save(figure, Path(path), tight=self.fits_long_names)
        return figure

    @staticmethod
    def figure(width: float, height: float) -> Any:
        """Return an empty matplotlib figure of that many inches.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        figure_type = require("matplotlib.figure", extra="plot").Figure
        return figure_type(figsize=(width, height), layout="constrained")


def name_places(axis: Any, names: Sequence[str], **style: Any) -> None:
    """Label the places 0, 1, … of a matplotlib axis with names in any script."""
    axis.set_ticks(range(len(names)), names, parse_math=False, fontfamily=label_fonts(), **style)


def write_below(figure: Any, text: str) -> None:
    """Write what made a picture small below it, such as the model and how it looked."""
    if text:
        lines = textwrap.fill(text, int(figure.get_figwidth() * _LETTERS_AN_INCH))
        figure.supxlabel(lines, fontsize=8, color="#777777", parse_math=False)


def frames_along(
    video: AnyVideo, count: int, *, start: float = 0.0, end: float | None = None
) -> list[UInt8[np.ndarray, "h w 3"]]:
    """Return frames from the middles of equal parts of a video.

    Args:
        video: anything that can be opened.
        count: of the frames.
        start: of the parts in seconds.
        end: likewise; None is the end of the video.

    Raises:
        VideoError: it cannot be read, or not any more.
    """
    with open_video(video) as (_, opened):
        last = opened.num_frames - 1
        span = (opened.num_frames if end is None else end * opened.fps) - start * opened.fps
        middles = start * opened.fps + (np.arange(count) + 0.5) / count * span
        frames = opened.frames(middles.astype(int).clip(0, last).tolist())
    return [frame.numpy() for frame in frames]


def strip_height(pictures: Sequence[UInt8[np.ndarray, "h w 3"]], width: float) -> float:
    """Return how many inches `draw_strip` needs for pictures that are so many inches wide."""
    height, across = pictures[0].shape[:2]
    return width * height / across + 0.1


def draw_strip(
    axes: Any,
    pictures: Sequence[UInt8[np.ndarray, "h w 3"]],
    width: float,
    *,
    start: float = 0.0,
    end: float = 1.0,
) -> None:
    """Draw frames of equal parts of a video side by side, each in the middle of its time.

    Args:
        axes: of matplotlib; the picture has nothing else.
        pictures: see `frames_along`.
        width: of a picture in inches.
        start: of the time of the strip, on the horizontal axis.
        end: likewise.
    """
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    zoom = width * _POINTS / pictures[0].shape[1]
    axes.set_ylim(0, 1)
    axes.axis("off")
    for place, picture in enumerate(pictures):
        time = start + (place + 0.5) / len(pictures) * (end - start)
        box = OffsetImage(picture, zoom=zoom, interpolation="antialiased")
        axes.add_artist(AnnotationBbox(box, (time, 0.5), frameon=False, pad=0))


def check_picture(path: Path) -> Path:
    """Return the path of a picture to draw, if it names a picture format.

    Raises:
        ConfigError: it does not.
    """
    if path.suffix.lower() not in _FORMATS:
        near = did_you_mean(path.suffix, _FORMATS, count=1)
        raise ConfigError(
            f"cannot draw into {path}: the name must end in {', '.join(_FORMATS[:-1])} or"
            f" {_FORMATS[-1]}.{near}"
        )
    return path


def label_fonts() -> list[str]:
    """Return the usual font, then the installed ones that have Chinese, Japanese and Korean."""
    from matplotlib import font_manager, rcParams

    installed = set(font_manager.get_font_names())
    return [*rcParams["font.family"], *(name for name in _WIDE_FONTS if name in installed)]


def _save(figure: Any, path: Path, *, tight: bool) -> None:
    """Write a figure; where the fonts lack letters, warn of it once."""
    check_picture(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(path, dpi=_DPI, bbox_inches="tight" if tight else None)
    missing = [each for each in caught if "missing from font" in str(each.message)]
    for each in caught:
        if each not in missing:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    if missing:
        _LOG.warning(
            "%s: no installed font has all letters of the labels; install one that does, such as "
            "Noto Sans CJK",
            path,
        )
