"""`internvideo data`: look over annotation files, divide and pack videos, choose clips."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from internvideo.cli.metadata import filter_clips, stats
from internvideo.cli.options import FirstLabel
from internvideo.cli.terminal import (
    add_verb,
    command_help,
    counted,
    failure_list,
    note_line,
    output_file,
    output_folder,
    progress_bar,
    stdout_console,
)
from internvideo.errors import ConfigError, DataError, did_you_mean
from internvideo.formats import READABLE

if TYPE_CHECKING:
    from internvideo.data.check import CheckReport
    from internvideo.data.clip_list import ClipList
    from internvideo.formats.columns import CaptionColumns

__all__ = ["app"]

_SHOWN = 50
_INTERRUPTED = 130
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}

app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help=command_help(
        """Check annotation files, pack videos into shards, choose clips by their metadata.

        Examples:
          internvideo data check train.csv --num-classes 400
          internvideo data check train.csv --root videos/ --every 1 --write-clean good.csv
          internvideo data split my_folder/ --out lists/
          internvideo data shard train.csv --out shards/ --max-size 1GB
          internvideo data stats InternVid-10M-FLT.jsonl
          internvideo data filter InternVid-10M-FLT.jsonl good.jsonl --min-aesthetic 5
          internvideo data words glove.840B.300d.txt charades_sta_train.txt --out glove.txt
        """
    ),
)

Annotations = Annotated[Path, typer.Argument(metavar="FILE", help="The annotation file.")]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        "-f",
        help=f"{', '.join(READABLE)}; detected from the content by default.",
    ),
]
Root = Annotated[
    str | None, typer.Option(help="Folder or address of the videos; that of the file by default.")
]
Labels = Annotated[
    Path | None, typer.Option(help="The class list, where classes are named in words.")
]
Split = Annotated[str | None, typer.Option(help="Which split, where a file holds several.")]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="NAME=COLUMN",
        help="For captions: which column says what, such as caption=text, start=begin, "
        "'file={YoutubeID}.mp4' or preset=webvid; repeat it.",
    ),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes; all cores by default.")]


def check(
    annotations: Annotations,
    fmt: Format = None,
    root: Root = None,
    labels: Labels = None,
    split: Split = None,
    first_label: FirstLabel = 0,
    columns: Columns = None,
    every: Annotated[
        int, typer.Option(min=0, help="Open every n-th video; 1 opens all, 0 none.")
    ] = 10,
    num_classes: Annotated[
        int | None, typer.Option(min=1, help="Labels must be below this number.")
    ] = None,
    min_frames: Annotated[int, typer.Option(min=1, help="Fewer make a clip too short.")] = 2,
    workers: Workers = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one video.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    clean: Annotated[
        Path | None,
        typer.Option("--write-clean", help="Write the list without the lines with problems."),
    ] = None,
) -> None:
    """Look for what would stop or spoil a run of days.

    All labels, duplicates and missing files are reported, with their lines; every n-th video is
    opened and decoded in three places. The exit code is 1 if anything is wrong. Ctrl-C prints what
    was found until then. FILE may be a folder with a folder of videos for each class; its clean
    list names the classes in words.

    Examples:
      internvideo data check train.csv --num-classes 400 --every 100
      internvideo data check train.csv --every 1 --write-clean good.csv
    """
    if clean is not None:
        output_file(clean)
    with progress_bar("reading", unit="clips") as bar:
        from internvideo.data.check import check_list, write_clean

        clips = _read(
            annotations,
            fmt,
            root=root,
            labels=labels,
            split=split,
            first_label=first_label,
            columns=columns,
            strict=False,
        )
        report = check_list(
            clips,
            every=every,
            num_classes=num_classes,
            min_frames=min_frames,
            workers=workers or os.cpu_count() or 1,
            timeout=timeout,
            progress=bar.stage,
        )
    if as_json:
        _print_json(report.to_dict())
    else:
        _print_report(report)
    if report.interrupted:
        not_written = "" if clean is None else f"; {clean} is not written"
        note_line(f"stopped: these are the problems found until then{not_written}")
        raise typer.Exit(_INTERRUPTED)
    if clean is not None:
        removed = write_clean(clips, report, clean)
        more = "" if every == 1 else "; not every video was opened: --every 1 does"
        note_line(f"{clean} has the list without {counted(removed, 'line')}{more}")
    raise typer.Exit(1 if report.problems else 0)


def _print_json(value: dict[str, Any]) -> None:
    try:
        print(json.dumps(value, ensure_ascii=False))
    except UnicodeEncodeError:  # a path holds what cannot be written there
        print(json.dumps(value))


def _print_report(report: CheckReport) -> None:
    from rich.markup import escape
    from rich.table import Table

    if isinstance(sys.stdout, io.TextIOWrapper):  # a path may hold what cannot be written there
        sys.stdout.reconfigure(errors="backslashreplace")
    classes = f"{len(report.class_counts)} classes" if report.class_counts else "no labels"
    if report.class_counts:
        fewest, most = min(report.class_counts.values()), max(report.class_counts.values())
        each = counted(most, "clip")
        classes += f" of {fewest} to {each}" if fewest != most else f" of {each} each"
    if report.num_captions:
        classes += f", {counted(report.num_captions, 'caption')}"
    if report.empty_classes:
        classes += f", {len(report.empty_classes)} without clips"
    print(f"{report.file}: {report.description}; {counted(report.num_clips, 'clip')}, {classes}")
    counts = ", ".join(f"{count} {kind}" for kind, count in report.counts().items())
    if report.problems:
        table = Table()
        for heading in ("line", "problem", "video", "what"):
            table.add_column(heading, overflow="fold")
        for problem in report.problems[:_SHOWN]:
            table.add_row(
                str(problem.line), problem.kind, escape(problem.path), escape(problem.message)
            )
        stdout_console().print(table)
    if len(report.problems) > _SHOWN:
        print(f"and {len(report.problems) - _SHOWN} more; --json prints all")
    if min(report.class_counts, default=0) == 1:
        note_line("no clip has the label 0; where the list counts from 1, give --first-label 1")
    print(f"{report.num_opened} of {report.num_clips} videos opened; problems: {counts or 'none'}")
    if report.counts().get("missing", 0) == report.num_clips:
        note_line(
            "no video is where the list says; --root names the folder that its paths are below"
        )


def shard(
    annotations: Annotations,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the shards.")],
    fmt: Format = None,
    root: Root = None,
    labels: Labels = None,
    split: Split = None,
    first_label: FirstLabel = 0,
    columns: Columns = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out lines that cannot be used.")
    ] = False,
    max_size: Annotated[
        str, typer.Option(help="Size of a shard at most, such as 500MB or 1GB.")
    ] = "1GB",
    short_side: Annotated[
        int | None,
        typer.Option(
            "--transcode-short-side", min=16, help="Encode larger videos with this shorter side."
        ),
    ] = None,
    cut: Annotated[
        bool,
        typer.Option(
            "--cut", help="Of clips within longer videos, pack that part only, encoded anew."
        ),
    ] = False,
    workers: Workers = None,
) -> None:
    """Pack the videos of an annotation file into tar shards for streaming.

    The shards are webdataset tars, with an index that allows single clips to be read from object
    storage. Give the same command again after a stop: finished shards are kept. Videos that cannot
    be read are listed, here and in the index, and the exit code is 1.

    Examples:
      internvideo data shard train.csv --out shards/ --max-size 1GB
      internvideo data shard train.csv --out shards/ --transcode-short-side 256
      internvideo data shard InternVid.jsonl --root videos/ --out shards/ --cut --skip-bad
    """
    max_bytes = _bytes(max_size)
    clips = _read(
        annotations,
        fmt,
        root=root,
        labels=labels,
        split=split,
        first_label=first_label,
        columns=columns,
        strict=not skip_bad,
    )
    output_folder(out)
    from internvideo.data.build import warn_of_bad_lines
    from internvideo.data.shard_writing import write_shards

    warn_of_bad_lines(clips)

    with progress_bar("packing", unit="clips") as advance:
        written = write_shards(
            clips,
            out,
            max_bytes=max_bytes,
            short_side=short_side,
            cut=cut,
            workers=workers or os.cpu_count() or 1,
            progress=advance,
        )
    kept = f" ({written.kept} were there already)" if written.kept else ""
    print(f"{written.num_clips} clips in {len(written.shards)} shards{kept}: {written.index}")
    failures = [(f"line {item.line}", item.reason) for item in written.left_out]
    raise typer.Exit(failure_list(failures, total=len(clips)))


def _read(
    annotations: Path,
    fmt: str | None,
    *,
    root: str | None,
    labels: Path | None,
    split: str | None,
    first_label: int,
    columns: list[str] | None,
    strict: bool,
) -> ClipList:
    from internvideo.data.build import read_list
    from internvideo.formats.detect import detect_kind

    kind = fmt or ("captions" if columns else detect_kind(annotations))
    return read_list(
        kind,
        annotations,
        root=root,
        labels=labels,
        split=split,
        first_label=first_label,
        columns=_columns(columns),
        strict=strict,
    )


def _columns(given: list[str] | None) -> CaptionColumns | None:
    from internvideo.formats.columns import CaptionColumns

    if not given:
        return None
    known = {field.name: field.type for field in fields(CaptionColumns)}
    values: dict[str, Any] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or name not in known:
            raise ConfigError(
                f"--column {text!r} is not of the form NAME=COLUMN with one of the names "
                f"{', '.join(known)}.{did_you_mean(name, known)}"
            )
        values[name] = value
    if "min_words" in values:
        if not values["min_words"].isdecimal():
            raise ConfigError(f"--column min_words={values['min_words']}: expected a number")
        values["min_words"] = int(values["min_words"])
    return CaptionColumns(**values)


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ConfigError(f"max-size {text!r} is no size; expected a number such as 500MB or 1GB")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def words(
    vectors: Annotated[
        Path, typer.Argument(metavar="VECTORS", help="A word and its numbers on each line.")
    ],
    annotations: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Annotation files with sentences.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")],
    fmt: Format = None,
) -> None:
    """Copy the word vectors, such as GloVe's, of the words that occur in annotations.

    A recipe for language queries takes the file as model.text.vocabulary.

    Examples:
      internvideo data words glove.840B.300d.txt train.txt test.txt -o glove.txt
    """
    output_file(out)
    from internvideo.data.feature_videos import read_videos
    from internvideo.data.words import restrict_words, words_of

    found: set[str] = set()
    for path in annotations:
        for video in read_videos(path, kind=fmt).videos:
            sentences = [*video.captions, *(c for part in video.segments for c in part.captions)]
            found.update(word for text in sentences for word in words_of(text.lower()))
    if not found:
        raise DataError(f"{', '.join(map(str, annotations))}: no sentences there")
    count = restrict_words(vectors, found, out)
    print(f"{count} of {len(found)} words have a vector: {out}")


def split(
    videos: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="It has a folder of videos for each class.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the lists.")],
    val: Annotated[float, typer.Option(min=0, help="Share to choose the best weights by.")] = 0.15,
    test: Annotated[float, typer.Option(min=0, help="Share that nothing is chosen by.")] = 0.15,
    group: Annotated[
        str | None,
        typer.Option(
            help="Regular expression whose (…) names the recording of a clip, which is not divided."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
) -> None:
    """Divide a folder of classes into lists to train, choose and test on.

    Every class is divided in the same shares, video by video, or recording by recording with
    --group. The lists, lines of `path label`, name the videos relative to themselves.

    Examples:
      internvideo data split my_folder/ --out lists/
      internvideo data split clips/ --out lists/ --test 0 --group "(.*)_c[0-9]+"
    """
    output_folder(out)
    from internvideo.data.split import write_lists

    lists = write_lists(videos, out, val=val, test=test, group=group, seed=seed)
    if lists.scarce:
        note_line(f"too few videos to be in every list: {', '.join(lists.scarce)}")
    counts = ", ".join(f"{count} in {split}.csv" for split, count in lists.counts.items())
    print(f"{len(lists.classes)} classes, videos: {counts}; {out}")


for _name, _verb in {
    "check": check,
    "split": split,
    "shard": shard,
    "words": words,
    "filter": filter_clips,
    "stats": stats,
}.items():
    add_verb(app, _name, _verb)
