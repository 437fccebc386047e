"""From an annotation file in a named format to its clips."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from internvideo.annotations import Annotations, BadLine, Choice, VideoAnnotation
from internvideo.data.clip_list import ClipList
from internvideo.data.clip_sampling import ClipSampling
from internvideo.data.clips import VideoListSource
from internvideo.errors import ConfigError, DataError
from internvideo.formats import find_format
from internvideo.formats.columns import CaptionColumns
from internvideo.formats.detect import Glimpse, detect_kind
from internvideo.video import Preprocessing

__all__ = [
    "ListKind",
    "MultipleChoice",
    "detect_kind",
    "open_list",
    "read_annotations",
    "read_list",
    "read_multiple_choice",
    "warn_of_bad_lines",
]

ListKind: TypeAlias = str
"""The name of a format, one of `internvideo.formats.READABLE`."""

_LISTED_LINES = 5
_log = logging.getLogger(__name__)


def read_list(
    kind: ListKind,
    annotations: Path | str,
    *,
    root: Path | str | None = None,
    labels: Path | None = None,
    split: str | None = None,
    columns: CaptionColumns | None = None,
    first_label: int = 0,
    every_caption: bool = False,
    strict: bool = True,
) -> ClipList:
    """Read an annotation file; no video is touched.

    Args:
        kind: the format.
        annotations: the file; for HMDB51 the folder of split files.
        root: folder or address of the videos; by default the folder of the annotations.
        labels: the class list, for formats that name classes in words.
        split: for files that hold several.
        columns: which columns say what, for "captions".
        first_label: what numbers of classes count from in the file.
        every_caption: a clip for each caption, not one with all of them.
        strict: refuse a file with lines that cannot be used and that the published readers do not
            leave out either (`BadLine.tolerated`). What is left out is in `bad_lines`.

    Raises:
        ConfigError: an unknown format, or an option that it does not have.
        DataError: the file cannot be used; the line is named.
    """
    found = read_annotations(
        kind, annotations, root=root, labels=labels, split=split, columns=columns
    )
    clips = ClipList.read(found, first_label=first_label, every_caption=every_caption)
    refused = [line for line in clips.bad_lines if not line.tolerated] if strict else ()
    if refused:
        others = len(refused) - 1
        more = f" ({others} more lines cannot be used)" if others else ""
        raise DataError(f"{refused[0].message}{more}")
    return clips


def read_annotations(
    kind: ListKind,
    annotations: Path | str,
    *,
    root: Path | str | None = None,
    labels: Path | None = None,
    split: str | None = None,
    columns: CaptionColumns | None = None,
) -> Annotations:
    """Return the records of an annotation file, a video each; arguments are those of `read_list`.

    Raises:
        ConfigError: an unknown format, or an option that it does not have.
        DataError: the file cannot be used at all.
    """
    form, path = find_format(kind), Path(annotations)
    options: dict[str, Any] = {"labels": labels, "split": split, "columns": columns}
    for name, value in options.items():
        if value is not None and name not in (form.options or ()):
            raise ConfigError(f"{path}: the format {kind} takes no {name}; leave out {value}")
    taken = {name: options[name] for name in form.options or ()}
    return form.load().read(path, root or _folder(path), **taken)


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def open_list(
    kind: ListKind,
    annotations: Path | str,
    *,
    protocol: Preprocessing,
    sampling: ClipSampling | None = None,
    root: Path | str | None = None,
    labels: Path | None = None,
    split: str | None = None,
    columns: CaptionColumns | None = None,
    first_label: int = 0,
    every_caption: bool = False,
    skip_bad: bool = False,
) -> VideoListSource:
    """Return the clips of an annotation file.

    The arguments are those of `read_list`, and the input protocol of the model. `sampling` is how
    the frames of a training clip are drawn; None takes the middle clip of the protocol. For a
    hybrid list without `strides` of its own, Something-Something gets the stride 2, as in the
    published pretraining. With `skip_bad`, lines that cannot be used are left out, and a warning
    says how many and why, where otherwise the first of them is an error.

    Raises:
        ConfigError: an unknown format, or an option that it does not have.
        DataError: the file cannot be used; the line is named.
    """
    clips = read_list(
        kind,
        annotations,
        root=root,
        labels=labels,
        split=split,
        columns=columns,
        first_label=first_label,
        every_caption=every_caption,
        strict=not skip_bad,
    )
    warn_of_bad_lines(clips)
    form = find_format(kind)
    if form.strides and sampling is not None and not sampling.strides and sampling.strided:
        sampling = replace(sampling, strides=form.strides)
    return VideoListSource(clips, protocol, sampling=sampling, whole_videos=form.whole_videos)


def warn_of_bad_lines(clips: ClipList) -> None:
    """Warn of the lines of a list that are left out: how many, and the first of them."""
    if not clips.bad_lines:
        return
    first = "; ".join(bad.message for bad in clips.bad_lines[:_LISTED_LINES])
    more = "; …" if len(clips.bad_lines) > _LISTED_LINES else ""
    _log.warning(
        "%s: %d of %d lines cannot be used and are left out: %s%s",
        clips.file,
        len(clips.bad_lines),
        len(clips.bad_lines) + len(clips),
        first,
        more,
    )


@dataclass(frozen=True, kw_only=True)
class MultipleChoice:
    """The multiple-choice questions of one file.

    Attributes:
        videos: each video once.
        questions: those about each of the videos, in the same order.
    """

    videos: ClipList
    questions: tuple[tuple[Choice, ...], ...]

    @property
    def left_out(self) -> tuple[str, ...]:
        """Why some rows were left out, as the published evaluation does."""
        return tuple(line.message for line in self.videos.bad_lines)


def read_multiple_choice(path: Path, *, root: Path | str | None = None) -> MultipleChoice:
    """Read a file of multiple-choice questions: TGIF-QA, NExT-QA, or see `formats.multiple_choice`.

    Args:
        path: the file; its format follows from its content.
        root: folder of the videos; by default that of the file.

    Raises:
        DataError: a row that is no question; its line is named.
    """
    from internvideo.formats import multiple_choice, next_qa, tgif_qa

    file = Glimpse(path)
    special = next((each for each in (tgif_qa, next_qa) if each.looks_like(file)), None)
    found = (special or multiple_choice).read(path, root or path.parent)
    records = list(found.records)
    bad = next((each for each in records if isinstance(each, BadLine)), None)
    if special is not None and bad is not None:
        raise DataError(bad.message)
    questions = [video.choices for video in records if isinstance(video, VideoAnnotation)]
    if not any(questions):
        raise DataError(f"{path} has no questions with options to choose from")
    clips = ClipList.read(replace(found, records=records))
    return MultipleChoice(videos=clips, questions=tuple(questions))
