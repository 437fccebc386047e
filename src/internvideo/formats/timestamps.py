"""Places in a video as annotation files write them: seconds, or hours, minutes and seconds."""

from __future__ import annotations

import math
import re
from typing import Any

from internvideo.errors import DataError

__all__ = ["format_timestamp", "parse_seconds"]

_CLOCK = re.compile(r"(?:(\d{1,6}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,9}))?")
_ISO = re.compile(r"PT(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,9})(?:\.(\d{1,9}))?S)?")
_MAX_SECONDS = 10.0**8
_SHOWN = 40


def parse_seconds(value: Any) -> float:
    """Return the seconds that a time stands for, rounded to the nearest float.

    Args:
        value: seconds as a number or text, `[HH:]MM:SS[.mmm]` (InternVid), or `PT00H01M30S`
            (WebVid).

    Raises:
        DataError: none of these, negative, not finite, or minutes or seconds of 60 and more.

    >>> parse_seconds("00:01:37.299"), parse_seconds(3.5), parse_seconds("PT00H00M23S")
    (97.299, 3.5, 23.0)
    """
    if isinstance(value, str):
        text = value.strip()
        if (clock := _CLOCK.fullmatch(text)) is not None and text.isascii():
            hours, minutes, whole, fraction = clock.groups()
            if int(minutes) < 60 and int(whole) < 60:
                return _total(hours, minutes, whole, fraction, shown=text)
        elif (iso := _ISO.fullmatch(text)) is not None and text.isascii() and len(text) > 2:
            return _total(*iso.groups(), shown=text)
        else:
            value = _number(text)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(min(value, 2 * _MAX_SECONDS))
        if 0 <= seconds <= _MAX_SECONDS:
            return seconds
    raise DataError(
        f"{_shown(value)} is no time in a video; expected seconds or HH:MM:SS.mmm, not negative"
    )


def _number(text: str) -> float | str:
    try:
        number = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _total(
    hours: str | None, minutes: str | None, whole: str | None, fraction: str | None, *, shown: str
) -> float:
    seconds = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(whole or 0)
    if seconds > _MAX_SECONDS:
        raise DataError(f"{_shown(shown)} is no time in a video: that is more than three years")
    scale = 10 ** len(fraction or "")
    # One division of whole numbers, so that 01:37.299 is the float 97.299 and not one beside it.
    return (seconds * scale + int(fraction or 0)) / scale


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def format_timestamp(seconds: float) -> str:
    """Return seconds as `HH:MM:SS.mmm`, rounded to milliseconds.

    Raises:
        DataError: negative, or not finite.

    >>> format_timestamp(97.299)
    '00:01:37.299'
    """
    if not 0 <= seconds <= _MAX_SECONDS:
        raise DataError(f"{seconds!r} is no time in a video; expected seconds from 0 on")
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"
