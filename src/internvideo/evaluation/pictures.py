"""Pictures as files: the formats that can be written, and fonts for labels in any script."""

# pyright: reportUnknownMemberType=false
# (matplotlib is typed in part)

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from internvideo.errors import ConfigError, did_you_mean, require

__all__ = ["BAR_COLOR", "LINE_COLOR", "Drawn", "check_picture", "name_places"]

BAR_COLOR, LINE_COLOR = "#2563a8", "#c0392b"

_LOG = logging.getLogger(__name__)
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
        figure.savefig(path, bbox_inches="tight" if tight else None)
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
