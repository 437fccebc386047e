"""From the kind of an annotation file to its clips."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from internvideo.data.clip_list import ClipList
from internvideo.data.clip_sampling import ClipSampling
from internvideo.data.clips import VideoListSource
from internvideo.data.formats.activitynet import read_activitynet, read_hacs
from internvideo.data.formats.captions import CaptionColumns, read_captions
from internvideo.data.formats.files import refuse_split
from internvideo.data.formats.hmdb51 import read_hmdb51
from internvideo.data.formats.hybrid import HYBRID_STRIDES, read_hybrid
from internvideo.data.formats.kinetics import read_kinetics
from internvideo.data.formats.labelled import read_class_folders, read_labelled
from internvideo.data.formats.moments import read_moments
from internvideo.data.formats.msrvtt import read_msrvtt
from internvideo.data.formats.msvd import read_msvd
from internvideo.data.formats.something_something import read_something_something
from internvideo.data.formats.ucf101 import read_ucf101
from internvideo.data.formats.videochat import read_videochat
from internvideo.data.kinds import LIST_KINDS, ListKind
from internvideo.errors import ConfigError, DataError, did_you_mean
from internvideo.video import Preprocessing

__all__ = ["ListKind", "open_list", "read_list", "tell_bad_lines"]


class _Reader(Protocol):
    def __call__(
        self, path: Path, *, root: Path | str | None, labels: Path | None, split: str | None
    ) -> ClipList: ...


_READERS: dict[ListKind, _Reader] = {
    "kinetics": read_kinetics,
    "something-something": read_something_something,
    "ucf101": read_ucf101,
    "hmdb51": read_hmdb51,
    "moments": read_moments,
    "activitynet": read_activitynet,
    "hacs": read_hacs,
    "hybrid": read_hybrid,
    "labelled": read_labelled,
    "class-folders": read_class_folders,
    "msrvtt": read_msrvtt,
    "msvd": read_msvd,
    "videochat": read_videochat,
}
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
        strict: refuse a file with lines that cannot be used; else they are left out, and told by
            `bad_lines` of the result.

    Raises:
        ConfigError: an unknown format, or an option that it does not have.
        DataError: the file cannot be used; the line is named.
    """
    if kind not in LIST_KINDS:
        raise ConfigError(
            f"unknown annotation format {kind!r}; one of: {', '.join(LIST_KINDS)}."
            f"{did_you_mean(str(kind), LIST_KINDS)}"
        )
    clips = _read(kind, Path(annotations), root, labels, split, columns)
    if strict and clips.bad_lines:
        others = len(clips.bad_lines) - 1
        more = f" ({others} more lines cannot be used)" if others else ""
        raise DataError(f"{clips.bad_lines[0].message}{more}")
    return clips


def _read(
    kind: ListKind,
    path: Path,
    root: Path | str | None,
    labels: Path | None,
    split: str | None,
    columns: CaptionColumns | None,
) -> ClipList:
    if kind != "captions":
        if columns is not None:
            raise ConfigError(f"columns are for the format captions; {kind} has its own")
        return _READERS[kind](path, root=root, labels=labels, split=split)
    refuse_split(split, path=path)
    if labels is not None:
        raise ConfigError(f"{path}: captions are sentences and no classes; leave out {labels}")
    return read_captions(path, root=root, columns=columns)


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
    skip_bad: bool = False,
) -> VideoListSource:
    """Return the clips of an annotation file.

    Args:
        kind: the format.
        annotations: the file; for HMDB51 the folder of split files.
        protocol: the input protocol of the model.
        sampling: how the frames of a training clip are drawn; None takes the middle clip of the
            protocol. For a hybrid list without `strides` of its own, Something-Something gets the
            stride 2, as in the published pretraining.
        root: folder or address of the videos; by default the folder of the annotations.
        labels: the class list, for formats that name classes in words.
        split: for files that hold several.
        columns: which columns say what, for "captions".
        skip_bad: leave out lines that cannot be used, and say how many and why, where otherwise
            the first of them is an error.

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
        strict=not skip_bad,
    )
    tell_bad_lines(clips)
    if kind == "hybrid" and sampling is not None and not sampling.strides and sampling.strided:
        sampling = replace(sampling, strides=HYBRID_STRIDES)
    return VideoListSource(clips, protocol, sampling=sampling, whole_videos=kind == "activitynet")


def tell_bad_lines(clips: ClipList) -> None:
    """Warn of the lines of a list that are left out: how many, and the first of them."""
    if not clips.bad_lines:
        return
    told = "; ".join(bad.message for bad in clips.bad_lines[:_LISTED_LINES])
    more = "; …" if len(clips.bad_lines) > _LISTED_LINES else ""
    _log.warning(
        "%s: %d of %d lines cannot be used and are left out: %s%s",
        clips.file,
        len(clips.bad_lines),
        len(clips.bad_lines) + len(clips),
        told,
        more,
    )
