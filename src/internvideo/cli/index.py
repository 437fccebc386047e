"""`internvideo index`: fill a library of videos, look at it, tidy it."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from internvideo.cli.options import Database, Device, model_names
from internvideo.cli.terminal import (
    DefaultVerb,
    add_verb,
    command_help,
    counted,
    failure_list,
    note_line,
    progress_bar,
    stdout_console,
)
from internvideo.errors import DataError

__all__ = ["app"]


class _OrAdd(DefaultVerb):
    default = "add"


app = typer.Typer(
    cls=_OrAdd,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help=command_help(
        """Make videos searchable: cut them into parts, and keep a vector of each in a library.

        Examples:
          internvideo index holidays/ --db videos.lance
          internvideo index films/ --db s3://bucket/films.lance --model viclip-l14 --cut shots
          internvideo index status --db videos.lance
          internvideo index delete holidays/2019 --db videos.lance
        """
    ),
)


def add(
    videos: Annotated[list[str], typer.Argument(metavar="VIDEO", help="Files, folders, URLs.")],
    db: Database,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            autocompletion=model_names,
            help="That embeds the videos: name, file, folder or hub id; by default the one that "
            "made the library, and for a new one the best that this machine has.",
        ),
    ] = None,
    cut: Annotated[
        Literal["windows", "shots"] | None,
        typer.Option(help="Cut into windows of equal length, or from cut to cut. [windows]"),
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(help="Seconds of a window; a shot has twice as many at most. [4]"),
    ] = None,
    stride: Annotated[
        float | None, typer.Option(help="Seconds from window to window; one window by default.")
    ] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="On this machine, or on a Ray cluster.")
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Videos decoded at once; with --engine ray, actors."),
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Forget videos below these folders that are gone.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Add videos to a library (the verb may be left out).

    What is in the library and has not changed costs nothing, so the same command goes on after a
    stop and takes in what is new. Several machines may index into one library at once. A library
    keeps to the model and the cut that it was made with. The exit code is 1 if a video could not
    be read.

    Examples:
      internvideo index holidays/ --db videos.lance
      internvideo index holidays/ --db videos.lance --cut shots
      internvideo index s3://bucket/a.mp4 b.mp4 --db http://milvus:19530/films -m viclip-l14
      internvideo index films/ --db s3://bucket/films.lance --engine ray --workers 64
    """
    from internvideo.search.library import open_library
    from internvideo.search.records import Cut

    given = {"kind": cut, "window": window, "stride": stride}
    given = {name: value for name, value in given.items() if value is not None}
    library = open_library(db, model, device=device)
    with progress_bar("indexing", unit="videos") as advance:
        report = library.index(
            videos,
            cut=Cut(**given) if given else None,
            engine=engine,
            workers=workers,
            prune=prune,
            progress=advance,
        )
    print(f"{db}: {report}")
    if report.vanished and not prune:
        note_line(f"{counted(len(report.vanished), 'indexed video')} not there; --prune forgets")
    raise typer.Exit(failure_list([*report.failures], total=report.total))


def status(
    db: Database,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Show what a library holds, and how it was made.

    Example:
      internvideo index status --db videos.lance
    """
    from internvideo.search.library import open_library

    found = open_library(db).status()
    if as_json:
        print(json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        stdout_console().print(found)


def delete(
    videos: Annotated[
        list[str], typer.Argument(metavar="VIDEO", help="Files, folders, URLs; gone or not.")
    ],
    db: Database,
) -> None:
    """Forget videos; a folder stands for all that is below it.

    Example:
      internvideo index delete holidays/2019 --db videos.lance
    """
    from internvideo.search.library import open_library

    count = open_library(db).delete(videos)
    if not count:
        raise DataError(f"{db} has no video of these names; `index status --json` shows its facts")
    print(f"{db}: {counted(count, 'video')} forgotten; the files are untouched")


def compact(db: Database) -> None:
    """Merge small files, drop old versions, and index the vectors where that pays.

    Indexing does it from time to time; after many deletions it makes the library smaller.

    Example:
      internvideo index compact --db videos.lance
    """
    from internvideo.search.library import open_library

    library = open_library(db)
    library.compact()
    facts = library.status().to_dict()
    print(f"{db}: {counted(facts['parts'], 'part')}, {facts['bytes']:,} bytes; {facts['vectors']}")


for _name, _verb in {"add": add, "status": status, "delete": delete, "compact": compact}.items():
    add_verb(app, _name, _verb)
