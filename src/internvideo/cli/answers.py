"""How the commands show what is in each video: tables, or files of pictures and subtitles."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internvideo.cli.terminal import stdout_console

if TYPE_CHECKING:
    from internvideo.results import Classification, VideoCaptions

__all__ = ["plot_answers", "show_answers", "show_captions", "write_subtitles"]

_MAX_TABLES = 3


def show_answers(answers: Sequence[Classification]) -> None:
    """Print a table for each of a few videos, or one row for each of many."""
    console = stdout_console()
    if len(answers) <= _MAX_TABLES:
        for answer in answers:
            console.print(answer)
        return
    from rich.markup import escape
    from rich.table import Table

    folder = _common_folder([answer.video for answer in answers])
    table = Table(caption=f"videos in {escape(folder)}" if folder else None)
    table.add_column("video", overflow="fold")
    table.add_column("answer")
    table.add_column("", justify="right")
    table.add_column("next")
    for answer in answers:
        (best, share), *rest = answer.top(2)
        follower = f"{rest[0][0]} {rest[0][1]:.1%}" if rest else ""
        name = answer.video[len(folder) :].lstrip(os.sep)
        table.add_row(escape(name), escape(best), f"{share:.1%}", escape(follower))
    console.print(table)


def _common_folder(videos: Sequence[str]) -> str:
    """Return the folder that all videos are in, or nothing where there is none worth telling."""
    try:
        folder = os.path.commonpath([os.path.dirname(video) for video in videos])  # noqa: PTH120
    except ValueError:
        return ""
    return folder if all(video.startswith(folder) for video in videos) else ""


def plot_answers(answers: Sequence[Any], target: Path) -> None:
    """Draw one answer into a file, or several into a folder under the names of their videos."""
    if not target.is_dir():
        for answer in answers:
            answer.plot(target)
        return
    for name, answer in _named(answers):
        answer.plot(target / f"{name}.png")


def show_captions(answers: Sequence[VideoCaptions]) -> None:
    """Print one row a video where each has one caption, or else a table for each video."""
    console = stdout_console()
    if len(answers) <= 1 or any(len(answer.merged) > 1 for answer in answers):
        for answer in answers:
            console.print(answer)
        return
    from rich.markup import escape
    from rich.table import Table

    folder = _common_folder([answer.video for answer in answers])
    table = Table(caption=f"videos in {escape(folder)}" if folder else None)
    table.add_column("video", overflow="fold")
    table.add_column("caption", overflow="fold")
    for answer in answers:
        name = answer.video[len(folder) :].lstrip(os.sep)
        table.add_row(escape(name), escape(answer.text))
    console.print(table)


def write_subtitles(answers: Sequence[VideoCaptions], target: Path) -> None:
    """Write the captions of one video into a file, or of several into a folder, one file each."""
    if not target.is_dir():
        for answer in answers:
            target.write_text(answer.to_srt(), encoding="utf-8")
        return
    for name, answer in _named(answers):
        (target / f"{name}.srt").write_text(answer.to_srt(), encoding="utf-8")


def _named(answers: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Yield a file name for each answer, the name of its video, and the answer."""
    taken: set[str] = set()
    for answer in answers:
        stem = name = Path(answer.video).stem or "video"
        number = 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        yield name, answer
