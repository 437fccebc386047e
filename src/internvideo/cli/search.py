"""`internvideo search`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from internvideo.cli.options import Database, Device
from internvideo.cli.terminal import (
    failure_list,
    folding_table,
    note_line,
    output_file,
    output_folder,
    progress_bar,
    stdout_console,
)
from internvideo.errors import ConfigError, VideoError
from internvideo.files import write_whole

if TYPE_CHECKING:
    from internvideo.search.hits import Hit

__all__ = ["search"]


def search(
    db: Database,
    text: Annotated[str | None, typer.Argument(help="What is to be seen, in a sentence.")] = None,
    video: Annotated[
        str | None, typer.Option("--video", "-v", help="Search for parts like this video.")
    ] = None,
    like: Annotated[
        str | None, typer.Option(metavar="FILE@SECONDS", help="Search for parts like this moment.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Hits at most.")] = 10,
    path: Annotated[
        str | None, typer.Option(help="Only videos of these paths, such as '*/holidays/*.mp4'.")
    ] = None,
    min_duration: Annotated[
        float | None, typer.Option(min=0, help="Only parts of at least so many seconds.")
    ] = None,
    max_duration: Annotated[
        float | None, typer.Option(min=0, help="Only parts of at most so many seconds.")
    ] = None,
    after: Annotated[
        str | None, typer.Option(metavar="DATE", help="Only files of this date or later.")
    ] = None,
    before: Annotated[
        str | None, typer.Option(metavar="DATE", help="Only files of before this date.")
    ] = None,
    rerank: Annotated[
        int,
        typer.Option(
            min=0,
            help="Put so many of the best in order by the model's matching head, if it has one.",
        ),
    ] = 0,
    html: Annotated[
        Path | None, typer.Option(help="Write the hits to this page, with their frames.")
    ] = None,
    cut: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write the hits as clips to this folder.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line for each hit.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Where the model of the library is now, if it moved."),
    ] = None,
    device: Device = "auto",
) -> None:
    """Find moments in a library of videos: by a sentence, or by an example.

    The score is a cosine: it says what fits best, never that anything fits. Near-identical hits
    are one hit; "similar" counts the others.

    Examples:
      internvideo search "a dog catches a ball" --db videos.lance
      internvideo search "a sunset" --db videos.lance --path '*/2024/*' --html hits.html
      internvideo search --like film.mp4@12.5 --db videos.lance -n 20 --cut out/
      internvideo search --video query.mp4 --db s3://bucket/films.lance --json
    """
    when = {name: _seconds(name, date) for name, date in (("after", after), ("before", before))}
    if html is not None:
        output_file(html)
    if cut is not None:
        output_folder(cut)
    from internvideo.search.library import open_library
    from internvideo.search.store import Filter

    where = Filter(min_duration=min_duration, max_duration=max_duration, path=path, **when)
    library = open_library(db, model, device=device)
    hits = library.search(text, video=video, like=like, limit=limit, where=where, rerank=rerank)
    say = note_line if as_json else print
    if as_json:
        for hit in hits:
            print(json.dumps(hit.to_dict(), ensure_ascii=False))
    else:
        _print(hits)
    if not hits:
        empty = not library.status().store.num_parts
        fill = f"; fill it: internvideo index VIDEOS --db {db}"
        note_line(f"{db} is empty{fill}" if empty else "nothing was found; ask for less")
    if html is not None:
        from internvideo.search.page import hits_page

        query = text or f"like {video or like}"
        write_whole(html, hits_page(query, hits, library.status()))
        say(f"open {html} in a browser")
    if cut is not None:
        failures = _write_clips(hits, cut)
        say(f"{len(hits) - len(failures)} clips in {cut}")
        raise typer.Exit(failure_list(failures, total=len(hits)))


def _seconds(name: str, date: str | None) -> float | None:
    """Return a date, or a date and time, of this time zone as seconds since 1970."""
    if date is None:
        return None
    try:
        return datetime.fromisoformat(date).timestamp()
    except ValueError:
        raise ConfigError(f"--{name} {date!r} is no date; write it as 2024-12-31") from None


def _print(hits: Sequence[Hit]) -> None:
    from rich.markup import escape

    from internvideo.search.hits import clock

    if not hits:
        return
    table = folding_table("", "score", "from", "to", "video")
    matched = hits[0].match is not None
    if matched:
        table.add_column("match")
    for rank, hit in enumerate(hits, start=1):
        similar = f" (and {hit.num_similar} similar)" if hit.num_similar else ""
        row = [str(rank), f"{hit.score:.3f}", clock(hit.start), clock(hit.end)]
        row.append(escape(hit.path + similar))
        if matched:
            row.append(f"{hit.match:.3f}")
        table.add_row(*row)
    stdout_console().print(table)


def _write_clips(hits: Sequence[Hit], folder: Path) -> list[tuple[str, str]]:
    """Write the hits as clips; return what failed."""
    from internvideo.search.clips import cut_hits

    failures: list[tuple[str, str]] = []
    with progress_bar("cutting", unit="clips") as advance:
        for done, (hit, written) in enumerate(cut_hits(hits, folder), start=1):
            if isinstance(written, VideoError):
                failures.append((hit.path, str(written)))
            advance(done, len(hits))
    return failures
