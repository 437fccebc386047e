"""The videos that a command is given: files, addresses, and folders that are searched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from internvideo.errors import VideoError

__all__ = ["expand_videos"]


def expand_videos(arguments: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the videos that arguments stand for, each once, and the folders that hold none.

    A folder stands for all videos in it and below. What is no folder is a video, whether it exists
    or not: that shows when it is opened, so that the others are still answered.

    Returns:
        The videos, and (argument, reason) of each folder without videos.
    """
    from internvideo.video import find_videos

    videos: list[str] = []
    failures: list[tuple[str, str]] = []
    for argument in arguments:
        if "://" in argument or not Path(argument).is_dir():
            videos.append(argument)
            continue
        try:
            videos += [str(path) for path in find_videos([argument])]
        except VideoError as error:
            failures.append((argument, str(error)))
    return list(dict.fromkeys(videos)), failures
