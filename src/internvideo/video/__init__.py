"""Reading video: open, decode, sample indices, transform, mask.

`Video` opens a file, folder of images, address or bytes and gives exact frames; `find_videos`
searches folders; `write_video` encodes. What to take from a video and how a model wants it is told
by `Preprocessing` and by the functions in `sampling`, `transforms`, `augment` and `masks`.
Importing this package loads neither torch nor a decoder.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from internvideo.video.discovery import VIDEO_SUFFIXES, find_videos
    from internvideo.video.preprocessing import Preprocessing
    from internvideo.video.reader import FrameIndexError
    from internvideo.video.video import Video
    from internvideo.video.writer import write_video

__all__ = [
    "VIDEO_SUFFIXES",
    "FrameIndexError",
    "Preprocessing",
    "Video",
    "find_videos",
    "write_video",
]

_HOMES = {
    "FrameIndexError": "reader",
    "Preprocessing": "preprocessing",
    "VIDEO_SUFFIXES": "discovery",
    "Video": "video",
    "find_videos": "discovery",
    "write_video": "writer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
