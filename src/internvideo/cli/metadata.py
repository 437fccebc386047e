"""`internvideo data filter` and `stats`: the metadata of clip collections such as InternVid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from internvideo.cli.terminal import note_line, output_file, progress_bar, stdout_console

__all__ = ["filter_clips", "stats"]

_SHOWN = 5

Metadata = Annotated[
    Path, typer.Argument(metavar="FILE", help="Metadata of clips: .jsonl or .parquet.")
]


def filter_clips(
    metadata: Metadata,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")],
    min_aesthetic: Annotated[float | None, typer.Option(help="Least aesthetic score.")] = None,
    min_umt_sim: Annotated[
        float | None, typer.Option(help="Least similarity of clip and caption.")
    ] = None,
    language: Annotated[
        list[str] | None,
        typer.Option(metavar="LANGUAGE", help="Language of the video, such as en; repeat it."),
    ] = None,
    min_duration: Annotated[float | None, typer.Option(min=0, help="Seconds at least.")] = None,
    max_duration: Annotated[float | None, typer.Option(min=0, help="Seconds at most.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=VALUE",
            help="Another column, such as Type=Sports or views>=1000; repeat it.",
        ),
    ] = None,
    diverse: Annotated[
        int | None, typer.Option(min=1, help="Draw so many, weighing down videos of many clips.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 42,
) -> None:
    """Select clips from the metadata of a collection.

    Rows are written as they are, with all their columns. Files of any size are read once, in
    little memory (twice with --diverse). Rows that cannot be used, such as clips that end when they
    start, are left out and counted.

    Examples:
      internvideo data filter InternVid.jsonl good.jsonl --min-aesthetic 5 --min-umt-sim 0.35
      internvideo data filter InternVid.parquet div.parquet --diverse 10647458
      internvideo data filter all.jsonl news.jsonl --language en --where Type=News
    """
    output_file(out)
    from internvideo.data.curation.selection import ClipFilter, Condition, filter_metadata

    wanted = ClipFilter(
        min_aesthetic=min_aesthetic,
        min_umt_sim=min_umt_sim,
        languages=tuple(language or ()),
        min_duration=min_duration,
        max_duration=max_duration,
        where=tuple(Condition.parse(text) for text in where or ()),
    )
    with progress_bar("filtering", unit="‰") as advance:
        report = filter_metadata(
            metadata, out, wanted, diverse=diverse, seed=seed, progress=advance
        )
    drawn = "" if diverse is None else f" drawn from {report.num_taken:,}"
    print(f"{report.num_written:,} of {report.num_rows:,} clips{drawn}: {out}")
    _note_bad_rows(report.num_bad, report.bad)


def stats(
    metadata: Metadata,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw lengths and scores into this picture.")
    ] = None,
) -> None:
    """Summarise the metadata of a collection: videos, hours, lengths, scores, languages.

    Examples:
      internvideo data stats InternVid-10M-FLT.jsonl --plot lengths.png
      internvideo data stats part.parquet --json
    """
    if plot is not None:
        output_file(plot)
    from internvideo.data.curation.stats import measure_metadata

    with progress_bar("reading", unit="‰") as advance:
        measured = measure_metadata(metadata, progress=advance)
    if as_json:
        print(json.dumps(measured.to_dict(), ensure_ascii=False))
    else:
        stdout_console().print(measured)
    if plot is not None:
        measured.plot(plot)
    _note_bad_rows(measured.num_bad, measured.bad)


def _note_bad_rows(number: int, reasons: tuple[str, ...]) -> None:
    if number:
        more = "; …" if number > _SHOWN else ""
        note_line(f"{number:,} rows cannot be used: {'; '.join(reasons[:_SHOWN])}{more}")
