"""HACS Clips: a csv `classname,youtube_id,subset,start,end,label`; label -1 is not taken."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from internvideo.annotations import Annotations, Segment, VideoAnnotation
from internvideo.formats import activitynet
from internvideo.formats.class_names import ClassNames
from internvideo.formats.fields import parsed
from internvideo.formats.files import choose_split, files_by_stem, holds_json, read_csv, read_text

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "read"]

_COLUMNS = ("classname", "youtube_id", "subset", "start", "end", "label")


def looks_like(file: Glimpse) -> bool:
    """Tell whether this is the csv of HACS Clips."""
    return {"classname", "youtube_id"} <= set(file.header())


def read(
    path: Path, root: Path | str, *, labels: Path | None = None, split: str | None = None
) -> Annotations:
    """Read HACS Clips (csv), HACS Segments (json), or a list of parts.

    Arguments and errors are those of `activitynet.read`; without a class list the classes of the
    csv are numbered in alphabetical order.
    """
    json = holds_json(path)
    if json or not read_text(path).lstrip().startswith("classname"):
        return activitynet.read(path, root, labels=labels, split=split)
    rows = list(read_csv(path, _COLUMNS))
    if labels is None:
        classes = ClassNames(sorted({row["classname"] for _, row in rows}), path)
    else:
        classes = ClassNames.read(labels)
    subset = choose_split(split, [row["subset"] for _, row in rows], path=path)
    names = files_by_stem(root, subfolders=True)

    def entry(number: int, row: dict[str, str]) -> VideoAnnotation | None:
        if row["label"].strip() != "1" or (subset is not None and row["subset"] != subset):
            return None
        start, end = activitynet.part(row["start"], row["end"], path=path, number=number)
        label = classes.index(row["classname"], path=path, number=number)
        return VideoAnnotation(
            path=activitynet.video_path(row["youtube_id"], names),
            id=row["youtube_id"],
            segments=(Segment(start=start, end=end, label=label),),
            line=number,
        )

    return Annotations(
        records=parsed(rows, entry),
        file=path,
        root=root,
        description="HACS Clips csv",
        class_names=classes.names,
    )
