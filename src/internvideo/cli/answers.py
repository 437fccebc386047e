"""What the commands do with the answers about videos: print them, or write them to files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internvideo.cli.terminal import (
    failure_list,
    note_line,
    output_file,
    output_folder,
    print_rows,
    progress_bar,
    stdout_console,
)
from internvideo.errors import VideoError

if TYPE_CHECKING:
    from internvideo.tasks.task import AnswerFile

__all__ = ["prepare_files", "show_all"]


def prepare_files(targets: Mapping[AnswerFile, Path], videos: Sequence[str]) -> None:
    """Check that answers can be written, before the work: one to a file, several to a folder.

    A kind without suffix has a folder for each answer in any case.

    Raises:
        ConfigError: they cannot.
    """
    several = len(videos) > 1 or Path(videos[0]).is_dir()
    for kind, path in targets.items():
        if several or not kind.suffix:
            output_folder(path)
        else:
            output_file(kind.check(path))


def show_all(
    results: Iterable[Any],
    paths: Sequence[str],
    failures: list[tuple[str, str]],
    *,
    description: str,
    as_json: bool,
    targets: Mapping[AnswerFile, Path] | None = None,
) -> int:
    """Print the answers to videos, write them to files, list what failed; return the exit code.

    Args:
        results: an answer or an error for each path, in order; parts of an answer may precede it.
        paths: the videos.
        failures: (video, reason) of other inputs; failures among the results are appended.
        description: for the progress bar.
        as_json: print one line of JSON as soon as an answer is there, instead of tables.
        targets: files that answers are written to.
    """
    from internvideo.evaluation.answer import Partial

    total = len(paths) + len(failures)
    answers: list[Any] = []
    partly = False
    with progress_bar(description, unit="videos") as advance:
        left = enumerate(paths, start=1)
        for result in results:
            if isinstance(result, Partial):
                partly = True
                line = {"video": result.video, "model": result.model, **result.answer.to_dict()}
                print(
                    json.dumps(line, ensure_ascii=False) if as_json else result.answer, flush=True
                )
                continue
            number, path = next(left)
            if isinstance(result, VideoError):
                failures.append((path, str(result)))
            else:
                answers.append(result)
                if incomplete := getattr(result, "incomplete", ""):
                    failures.append((path, incomplete))
                if as_json:
                    print(result.to_json(parts=False) if partly else result.to_json(), flush=True)
                elif partly:
                    stdout_console().print(result)
            advance(number, len(paths))
    if not as_json and not partly:
        _show_tables(answers)
    for kind, path in (targets or {}).items():
        failures += _write(answers, kind, path)
    return failure_list(failures, total=total)


def _show_tables(answers: Sequence[Any]) -> None:
    """Print a table for each of a few videos, or one row for each of many."""
    console = stdout_console()
    rows = [answer.summary() for answer in answers]
    if not answers or len(answers) <= answers[0].max_tables or None in rows:
        for answer in answers:
            console.print(answer)
        return
    made_by, headings = answers[0].made_by(), ["video", *answers[0].headings]
    if not console.is_terminal:
        note_line(f"{made_by}; columns: {', '.join(headings)}")
        print_rows(headings, [(each.video, *row) for each, row in zip(answers, rows, strict=True)])
        return
    folder = _common_folder([answer.video for answer in answers])
    names = [answer.video[len(folder) :].lstrip(os.sep) for answer in answers]
    print_rows(
        headings, [(name, *row) for name, row in zip(names, rows, strict=True)],
        caption=f"videos in {folder}\n{made_by}" if folder else made_by, shares=("share", "score"),
    )  # fmt: skip


def _common_folder(videos: Sequence[str]) -> str:
    """Return the folder that all videos are in, or nothing."""
    try:
        folder = os.path.commonpath([os.path.dirname(video) for video in videos])  # noqa: PTH120
    except ValueError:
        return ""
    return folder if all(video.startswith(folder) for video in videos) else ""


def _write(answers: Sequence[Any], kind: AnswerFile, target: Path) -> list[tuple[str, str]]:
    """Write one answer into a file, or several into a folder under the names of their videos.

    Returns:
        (video, reason) of what cannot be written.
    """
    failures: list[tuple[str, str]] = []
    written: list[Path] = []
    for name, answer in _named(answers):
        path = target / f"{name}{kind.suffix}" if target.is_dir() else target
        try:
            kind.write(answer, path)
            written.append(path)
        except VideoError as error:
            failures.append((answer.video, str(error)))
    if written:
        one = len(written) == 1
        note_line(f"wrote {written[0]}" if one else f"wrote {len(written)} files into {target}")
    return failures


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
