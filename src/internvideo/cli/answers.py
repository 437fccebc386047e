"""How the commands show what is in each video: tables, or pictures in a file or a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internvideo.cli.terminal import stdout_console

if TYPE_CHECKING:
    from internvideo.results import Classification

__all__ = ["plot_answers", "show_answers"]

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
    taken: set[str] = set()
    for answer in answers:
        stem = name = Path(answer.video).stem or "video"
        number = 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        answer.plot(target / f"{name}.png")
