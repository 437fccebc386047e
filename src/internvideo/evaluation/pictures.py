"""Pictures as files: the endings that can be written, and fonts for labels in any script."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

from internvideo.errors import ConfigError, did_you_mean

__all__ = ["check_picture", "label_fonts", "save_figure"]

_LOG = logging.getLogger(__name__)
_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tiff", ".svg", ".pdf", ".eps")
_WIDE = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "SimHei",
    "Malgun Gothic",
    "Arial Unicode MS",
)


def check_picture(path: Path) -> Path:
    """Return the path of a picture that is to be drawn, if it names a format.

    Raises:
        ConfigError: the ending is none of a picture.
    """
    if path.suffix.lower() not in _ENDINGS:
        near = did_you_mean(path.suffix, _ENDINGS, count=1)
        raise ConfigError(
            f"cannot draw into {path}: the name must end in {', '.join(_ENDINGS[:-1])} or"
            f" {_ENDINGS[-1]}.{near}"
        )
    return path


def label_fonts() -> list[str]:
    """Return the usual font and, behind it, those installed that have Chinese, Japanese, Korean."""
    from matplotlib import font_manager, rcParams

    installed = set(font_manager.get_font_names())
    return [*rcParams["font.family"], *(name for name in _WIDE if name in installed)]


def save_figure(figure: Any, path: str | Path, *, tight: bool = False) -> None:
    """Write a figure; where the fonts lack letters, say so once.

    Args:
        figure: of matplotlib.
        path: the suffix decides the format.
        tight: cut or widen the picture to what is drawn.

    Raises:
        ConfigError: the suffix is none of a picture.
    """
    check_picture(Path(path))
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
