"""The clips of annotated videos, kept so that a million of them fit into memory.

A clip is a video, or one of its segments. A `ClipList` looks like a list of `ClipEntry`, but holds
a few flat arrays: no Python object for each clip, so that data workers that were forked share its
pages (counting references to a million objects would copy them into every worker), and pickling it
for a spawned worker is one block copy.
"""

from __future__ import annotations

import hashlib
import logging
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, overload

import numpy as np

from internvideo.annotations import Annotations, BadLine, Segment, VideoAnnotation
from internvideo.errors import DataError
from internvideo.video.rawframes import is_image
from internvideo.video.sources import is_url

__all__ = ["NO_LABEL", "ClipEntry", "ClipList"]

NO_LABEL = int(np.iinfo(np.int32).min)
"""What `ClipList.labels` has for a clip without a label."""

_LOG = logging.getLogger(__name__)
_BLOCK = 8192  # texts that are looked at together
_NONE, _NAN = NO_LABEL, float("nan")
_COLUMNS = {
    **{name: ("i", np.int32) for name in ("line", "label", "num_frames", "first_frame")},
    **{name: ("d", np.float64) for name in ("start", "end", "duration")},
    **{"caption_end": ("q", np.int64), "template": ("I", np.uint32), "still": ("b", np.bool_)},
}
_WHOLE: tuple[Segment | None, ...] = (None,)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipEntry:
    """One annotated clip.

    Attributes:
        path: video file, folder of frames, or address.
        label: class number from 0, or None.
        start: start of the annotated part in seconds, or None for the whole video.
        end: its end in seconds.
        duration: length of the whole video in seconds, where the annotation says so.
        captions: sentences about it.
        num_frames: frames of a folder, where the annotation says so.
        first_frame: number in the name of the first frame file, for `template`.
        template: name of a frame file, such as `img_{:05d}.jpg`; set for folders of frames.
        line: line (or 1-based place) in the annotation file.
    """

    path: str
    label: int | None = None
    start: float | None = None
    end: float | None = None
    duration: float | None = None
    captions: tuple[str, ...] = ()
    num_frames: int | None = None
    first_frame: int = 1
    template: str | None = None
    line: int = 0

    @property
    def key(self) -> str:
        """A name that no other clip of its list has."""
        if self.start is None:
            return self.path
        end = "" if self.end is None else f"{self.end:.10g}"
        return f"{self.path}[{self.start:.10g}-{end}]"

    @property
    def is_image(self) -> bool:
        """Whether this is a still image, which is a video of one frame."""
        return self.template is None and is_image(self.path)


class _Texts:
    """Strings in one block of bytes; reading one makes a new string."""

    def __init__(self, blob: bytes, ends: np.ndarray) -> None:
        self.blob = np.frombuffer(blob, np.uint8)
        self.ends = ends

    def __getitem__(self, index: int) -> str:
        start = int(self.ends[index - 1]) if index else 0
        return self.blob[start : int(self.ends[index])].tobytes().decode("utf-8", "surrogateescape")

    def common_folder(self) -> int:
        """Return how many bytes all texts begin with in common, up to the last slash of these."""
        first = self.blob[: self.ends[0]]
        length = len(first)
        for starts, ends in self._blocks():
            length = min(length, int((ends - starts).min()))
            heads = self.blob[starts[:, None] + np.arange(length)]
            differing = np.flatnonzero((heads != first[:length]).any(axis=0))
            length = int(differing[0]) if len(differing) else length
        slashes = np.flatnonzero(first[:length] == ord("/"))
        return int(slashes[-1]) + 1 if len(slashes) else 0

    def without(self, start: int) -> Iterator[np.ndarray]:
        """Yield the bytes and the lengths of all texts without this many bytes at their start."""
        for starts, ends in self._blocks():
            kept = np.ones(int(ends[-1] - starts[0]), np.bool_)
            kept[((starts - starts[0])[:, None] + np.arange(start)).ravel()] = False
            yield self.blob[starts[0] : ends[-1]][kept]
            yield ends - starts - start

    def _blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for place in range(0, len(self.ends), _BLOCK):
            ends = self.ends[place : place + _BLOCK]
            before = self.ends[place - 1] if place else 0
            yield np.concatenate([[before], ends[:-1]]), ends

    @property
    def nbytes(self) -> int:
        return self.blob.nbytes + self.ends.nbytes


class _TextsBuilder:
    def __init__(self) -> None:
        self.blob, self.ends = bytearray(), array("q")

    def add(self, text: str) -> None:
        self.blob += text.encode("utf-8", "surrogateescape")
        self.ends.append(len(self.blob))

    def texts(self) -> _Texts:
        return _Texts(bytes(self.blob), np.array(self.ends, np.int64))


class ClipList(Sequence[ClipEntry]):
    """The clips of annotated videos, compactly.

    Args:
        records: the videos; an iterator is read one at a time. Lines that cannot be used come as
            `BadLine`.
        file: the annotation file, for messages.
        root: folder or address that relative paths are below; None leaves paths as they are.
        description: what was read, such as "Kinetics list, separated by a space".
        class_names: names of the labels, in their order, where the format names them.
        clips: whether each segment of a video that has any is a clip, or each video.
        copying: whether the file can be copied without some clips, see `Annotations`.
        first_label: the number of the first class in the file, 0 or 1; here it is always 0.
        every_caption: a clip with several captions is several clips of one each.

    Attributes:
        bad_lines: the lines that cannot be used.

    Raises:
        DataError: there are no clips.
    """

    def __init__(
        self,
        records: Iterable[VideoAnnotation | BadLine],
        *,
        file: Path | str,
        root: Path | str | None = None,
        description: str = "",
        class_names: tuple[str, ...] | None = None,
        clips: Literal["segments", "videos"] = "segments",
        copying: Literal["lines", "rows", "none"] = "lines",
        first_label: int = 0,
        every_caption: bool = False,
    ) -> None:
        self.file = str(file)
        self.root = None if root is None else str(root)
        self.description = description
        self.class_names = class_names
        self.copying = copying
        self.clips = clips
        self.first_label = first_label
        self.bad_lines: list[BadLine] = []
        self._fill(records, by_segment=clips == "segments", every_caption=every_caption)
        if not len(self):
            if self.bad_lines:
                raise DataError(self.bad_lines[0].message)
            raise DataError(
                f"{file} lists no clips that can be used; check that it is the right file and split"
            )

    @classmethod
    def read(
        cls, found: Annotations, *, first_label: int = 0, every_caption: bool = False
    ) -> ClipList:
        """Read the records of an annotation file.

        Raises:
            DataError: none of them can be used.
        """
        records = found.records
        if found.segments_only:
            records = (each for each in records if isinstance(each, BadLine) or each.segments)
        clips = cls(
            records,
            file=found.file,
            root=found.root,
            class_names=found.class_names,
            clips=found.clips,
            copying=found.copying,
            first_label=first_label,
            every_caption=every_caption,
        )
        if found.corrected is not None and (corrected := found.corrected()) is not None:
            again = replace(corrected, corrected=None)
            return cls.read(again, first_label=first_label, every_caption=every_caption)
        described = found.description
        clips.description = described if isinstance(described, str) else described()
        return clips

    def _fill(
        self,
        records: Iterable[VideoAnnotation | BadLine],
        *,
        by_segment: bool,
        every_caption: bool,
    ) -> None:
        paths, captions, templates = _TextsBuilder(), _TextsBuilder(), dict[str | None, int]()
        columns = {name: array(code) for name, (code, _) in _COLUMNS.items()}
        append = {name: column.append for name, column in columns.items()}
        for video in records:
            if isinstance(video, BadLine):
                self.bad_lines.append(video)
                continue
            still = video.template is None and is_image(video.path)
            template = templates.setdefault(video.template, len(templates))
            for part in (video.segments if by_segment else ()) or _WHOLE:
                label = video.label if part is None or part.label is None else part.label
                if label is not None and (label := label - self.first_label) < 0 < self.first_label:
                    self.bad_lines.append(self._counts_from_zero(video.line))
                    continue
                start, end = (None, None) if part is None else (part.start, part.end)
                said = (part and part.captions) or video.captions
                for several in [(each,) for each in said] if every_caption and said else [said]:
                    paths.add(video.path)
                    for caption in several:
                        captions.add(caption)
                    append["line"](video.line)
                    append["label"](_NONE if label is None else label)
                    append["num_frames"](_NONE if video.num_frames is None else video.num_frames)
                    append["first_frame"](video.first_frame)
                    append["start"](_NAN if start is None else start)
                    append["end"](_NAN if end is None else end)
                    append["duration"](_NAN if video.duration is None else video.duration)
                    append["caption_end"](len(captions.ends))
                    append["template"](template)
                    append["still"](still)
        self._paths, self._captions, self._templates = paths.texts(), captions.texts(), [*templates]
        # A column that says the same of every clip is kept as one value that all rows share.
        self._columns = {
            name: _folded(np.array(columns[name], dtype)) for name, (_, dtype) in _COLUMNS.items()
        }

    def _counts_from_zero(self, line: int) -> BadLine:
        return BadLine(
            line,
            f"{self.file}:{line}: the label is 0, but labels were said to count from 1; leave out "
            "first_label (classes in words have none)",
        )

    def __len__(self) -> int:
        return len(self._paths.ends)

    @overload
    def __getitem__(self, index: int) -> ClipEntry: ...
    @overload
    def __getitem__(self, index: slice) -> list[ClipEntry]: ...

    def __getitem__(self, index: int | slice) -> ClipEntry | list[ClipEntry]:
        """Return one clip, or a list of them, made anew."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"clip {index} of a list of {len(self)}")
        index = int(index) % len(self)
        return ClipEntry(
            path=self.path(index),
            label=self._number("label", index),
            start=self._seconds("start", index),
            end=self._seconds("end", index),
            duration=self._seconds("duration", index),
            captions=self._captions_of(index),
            num_frames=self._number("num_frames", index),
            first_frame=int(self._columns["first_frame"][index]),
            template=self._templates[int(self._columns["template"][index])],
            line=int(self._columns["line"][index]),
        )

    def path(self, index: int) -> str:
        """Return where the video of a clip is, below `root`."""
        path = self.written_path(index)
        return path if self.root is None else _joined(self.root, path)

    def written_path(self, index: int) -> str:
        """Return the path of a clip as the annotation file has it."""
        return self._paths[index]

    @property
    def labels(self) -> np.ndarray:
        """The labels, int64; `NO_LABEL` where a clip has none."""
        return np.asarray(self._columns["label"], np.int64)

    @property
    def times(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Starts and ends of the annotated parts, and lengths of the videos, in seconds, or NaN."""
        return self._columns["start"], self._columns["end"], self._columns["duration"]

    @property
    def num_captions(self) -> int:
        """Sentences about all clips together."""
        return len(self._captions.ends)

    @property
    def still(self) -> np.ndarray:
        """Which clips are still images, bool."""
        return self._columns["still"]

    def check_labels(self, num_classes: int) -> None:
        """Check that every clip has a label from 0 to `num_classes - 1`.

        Where all classes but the first occur, a warning says that labels may count from 1.

        Raises:
            DataError: names the first that has not, with its line and video.
        """
        labels = self.labels
        if num_classes > 2 and np.array_equal(np.unique(labels), np.arange(1, num_classes)):
            _LOG.warning(
                "%s: no clip has the label 0, all others occur; if labels count from 1 there, add "
                "first_label: 1 to the data (--first-label 1)",
                self.file,
            )
        outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
        if not len(outside):
            return
        entry = self[int(outside[0])]
        more = f" ({len(outside)} clips are like that)" if len(outside) > 1 else ""
        where = f"{self.file}:{entry.line}: {entry.path!r}"
        if entry.label is None:
            raise DataError(f"{where} has no label{more}; supervised training needs one a clip")
        if labels.min() == 1 and labels.max() == num_classes:
            raise DataError(
                f"{where} has label {entry.label}, outside 0 to {num_classes - 1}{more}; the list "
                f"counts from 1 to {num_classes}: add first_label: 1 to its data (--first-label 1)"
            )
        raise DataError(
            f"{where} has label {entry.label}, outside 0 to {num_classes - 1}{more}; labels count "
            f"from 0: give the model's head more than {num_classes} classes, correct the list, or "
            "if it counts from 1 add first_label: 1 to its data (--first-label 1)"
        )

    @property
    def nbytes(self) -> int:
        """Bytes that the list takes in memory."""
        columns = sum(_stored_bytes(column) for column in self._columns.values())
        return self._paths.nbytes + self._captions.nbytes + columns

    def _number(self, name: str, index: int) -> int | None:
        value = int(self._columns[name][index])
        return None if value == _NONE else value

    def _seconds(self, name: str, index: int) -> float | None:
        value = float(self._columns[name][index])
        return None if value != value else value

    def _captions_of(self, index: int) -> tuple[str, ...]:
        ends = self._columns["caption_end"]
        start = int(ends[index - 1]) if index else 0
        return tuple(self._captions[place] for place in range(start, int(ends[index])))

    def digest(self) -> str:
        """Return a hash of what the clips are: names, parts, labels, captions, in their order.

        The folder that all paths have in common is left out, as is `root`: clips that were moved
        have the same digest.
        """
        digest = hashlib.sha256(f"{len(self)} {self._templates} {self.class_names}".encode())
        for text in (*self._paths.without(self._paths.common_folder()), self._captions.blob):
            digest.update(np.ascontiguousarray(text).data)
        for name in _COLUMNS:
            if name != "line":
                column = self._columns[name]
                digest.update((column[:1].copy() if column.strides == (0,) else column).data)
        return digest.hexdigest()

    def __repr__(self) -> str:
        return f"ClipList({len(self)} clips of {self.file!r})"


def _folded(column: np.ndarray) -> np.ndarray:
    same = len(column) and bool(
        np.all(column == column[0]) or (column.dtype.kind == "f" and np.isnan(column).all())
    )
    return np.broadcast_to(column[:1].copy(), column.shape) if same else column


def _stored_bytes(column: np.ndarray) -> int:
    return column.itemsize if column.strides == (0,) else column.nbytes


def _joined(root: str, path: str) -> str:
    if is_url(path) or path.startswith("/"):
        return path
    # Text alone: a `Path` interns its parts, which makes the table of names in every worker grow.
    return f"{root.rstrip('/')}/{path}"
