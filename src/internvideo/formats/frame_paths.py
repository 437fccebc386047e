"""Clips that are named by the list of their frame files, as in ViCLIP's lists of Something."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from internvideo.annotations import VideoAnnotation
from internvideo.errors import DataError

__all__ = ["frames_annotation", "template_of"]

_LAST_NUMBER = re.compile(r"(?P<before>.*?)(?P<digits>\d+)(?P<after>\D*)", re.DOTALL)
_LARGEST = 10**9
_SHOWN = 120


def template_of(name: str) -> tuple[str, int] | None:
    """Return how the frames beside a file are named, and the number of this one.

    >>> template_of("img_00017.jpg")
    ('img_{:05d}.jpg', 17)
    """
    match = _LAST_NUMBER.fullmatch(name)
    if match is None or not match["digits"].isascii() or int(match["digits"]) >= _LARGEST:
        return None
    before, after = (match[part].replace("{", "{{").replace("}", "}}") for part in (1, 3))
    return f"{before}{{:0{len(match['digits'])}d}}{after}", int(match["digits"])


def frames_annotation(names: Sequence[Any], **facts: Any) -> VideoAnnotation:
    """Return the clip whose frames are these files.

    Only the folder, the naming and the count are kept.

    Args:
        names: paths of all frames, in order, in one folder, numbered one after the other.
        facts: what else is known of the clip, as for `VideoAnnotation`.

    Raises:
        DataError: they are no such paths.
    """
    if not names or not all(isinstance(name, str) for name in names):
        raise DataError(
            f"the path is the list {str(names)[:_SHOWN]}; expected a video or an image, or the "
            "paths of all frames"
        )
    folder, slash, first = names[0].rpartition("/")
    if (found := template_of(first)) is None:
        raise DataError(
            f"the path is a list from {names[0]!r} on, which has no number in its name; expected a "
            "video or an image, or numbered frames"
        )
    template, number = found
    for place, name in enumerate(names):
        expected = f"{folder}{slash}{template.format(number + place)}"
        if name != expected:
            raise DataError(
                f"frame {place + 1} of the list is {name!r}, expected {expected!r}: a clip is "
                "consecutive frames of one folder; name the folder in place of its frames"
            )
    return VideoAnnotation(
        path=folder or ".",
        template=template,
        first_frame=number,
        num_frames=len(names),
        **facts,
    )
