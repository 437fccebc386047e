"""Annotated untrimmed videos that are read as features: an item a video, whole or cut from another.

annotations ──► AnnotatedVideos ─┐
                                 ├──► FeatureVideoSource ──► FeatureVideo(features, annotation)
features/   ──► FeatureStore ────┘
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from internvideo.annotations import BadLine, VideoAnnotation
from internvideo.data.build import read_annotations
from internvideo.data.features import FeatureSequence, FeatureStore
from internvideo.data.samples import ClipViews, Sample
from internvideo.errors import DataError, VideoError
from internvideo.formats.detect import detect_kind
from internvideo.video import Preprocessing

__all__ = [
    "AnnotatedVideoSource",
    "AnnotatedVideos",
    "FeatureVideo",
    "FeatureVideoSource",
    "read_videos",
]


@dataclass(frozen=True, kw_only=True)
class AnnotatedVideos:
    """The videos of an annotation file.

    Attributes:
        file: the annotation file.
        videos: in its order.
        bad_lines: what cannot be used.
        class_names: of the labels, where the format names them.
        kind: its format.
        root: folder or address that the paths of the videos are below.
    """

    file: Path
    videos: tuple[VideoAnnotation, ...]
    bad_lines: tuple[BadLine, ...] = ()
    class_names: tuple[str, ...] | None = None
    kind: str = ""
    root: str = ""

    def refuse_bad_lines(self) -> None:
        """Refuse a file of which something cannot be used.

        Raises:
            DataError: says what.
        """
        if self.bad_lines:
            others = len(self.bad_lines) - 1
            more = f" ({others} more cannot be used)" if others else ""
            raise DataError(f"{self.bad_lines[0].message}{more}; skip_bad leaves them out")


def read_videos(
    path: Path,
    *,
    kind: str | None = None,
    root: str | None = None,
    labels: Path | None = None,
    split: str | None = None,
) -> AnnotatedVideos:
    """Read an annotation file as videos with all that is known of them; no video is touched.

    Args:
        path: the file.
        kind: its format; None is told by its content.
        root: folder of the videos.
        labels: the class list, for formats that name classes in words.
        split: for files that hold several.

    Raises:
        DataError: the file cannot be used, or lists no videos.
        ConfigError: an unknown format, or an option that it does not have.
    """
    kind = kind or detect_kind(path)
    found = read_annotations(kind, path, root=root, labels=labels, split=split)
    records = list(found.records)
    videos = tuple(each for each in records if isinstance(each, VideoAnnotation))
    bad = tuple(each for each in records if isinstance(each, BadLine))
    if not videos:
        raise DataError(bad[0].message if bad else f"{path} lists no videos; check file and split")
    return AnnotatedVideos(
        file=path,
        videos=videos,
        bad_lines=bad,
        class_names=found.class_names,
        kind=kind,
        root=str(found.root),
    )


def _no_frames() -> np.ndarray:
    return np.zeros((0, 0, 0, 3), np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureVideo(Sample):
    """A video as its features, with all that is known of it; it has no frames."""

    frames: np.ndarray = field(default_factory=_no_frames)
    features: FeatureSequence
    annotation: VideoAnnotation


class AnnotatedVideoSource:
    """What sources of whole annotated videos have in common; an item is a video.

    Args:
        annotated: the videos.
    """

    def __init__(self, annotated: AnnotatedVideos) -> None:
        self.annotated = annotated

    def __len__(self) -> int:
        return len(self.annotated.videos)

    def key(self, index: int) -> str:
        """Return the id of a video, or its path where it has none."""
        return _name(self.annotated.videos[index])

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the labels in their order, where the annotations tell them."""
        return self.annotated.class_names

    def label(self, index: int) -> int | None:
        """Return the class of a whole video, where it has one."""
        return self.annotated.videos[index].label

    def check_labels(self, num_classes: int) -> None:
        """Check that every segment has a label from 0 to `num_classes - 1`.

        Raises:
            DataError: names the first that has not.
        """
        for video in self.annotated.videos:
            for segment in video.segments:
                label = video.label if segment.label is None else segment.label
                if label is None or not 0 <= label < num_classes:
                    raise DataError(
                        f"{self.annotated.file}: {_name(video)} has a segment at "
                        f"{segment.start:g} s with the label {label}, outside 0 to "
                        f"{num_classes - 1}; correct the list, or the number of classes"
                    )

    def identity(self) -> dict[str, Any]:
        """Return what the videos are the same by, wherever they lie, as `clip_identity` does."""
        plain: Sequence[VideoAnnotation] = [
            replace(video, path=Path(video.path).name, line=0) for video in self.annotated.videos
        ]
        digest = hashlib.sha256(repr((plain, self.class_names)).encode()).hexdigest()
        return {"clips": len(self), "digest": digest, "files": []}


class FeatureVideoSource(AnnotatedVideoSource):
    """Videos of an annotation file, whose features lie in folders under the ids of the videos.

    A clip that has no features of its own gets those rows of its parent in which it lies: the
    floor of its start and of its end times the rate, both included, as in Ego4D's baselines.
    """

    def __init__(self, annotated: AnnotatedVideos, store: FeatureStore) -> None:
        super().__init__(annotated)
        self.store = store

    def features(self, index: int) -> FeatureSequence:
        """Return the features of a video, memory-mapped where the file allows it.

        Raises:
            VideoError: there are none, or they do not fit the annotation.
            ConfigError: nothing says their rate.
        """
        video = self.annotated.videos[index]
        name, store = _name(video), self.store
        try:
            if not video.parent or name in store:
                return store.read(name, fps=video.fps, duration=video.duration)
            whole = store.read(video.parent, fps=video.fps)
            return _cut(whole, video)
        except DataError as error:
            raise VideoError(str(error)) from None

    def origin(self) -> str:
        """Say where the features come from."""
        return str(self.store.files.folders)

    def read(self, index: int, rng: np.random.Generator) -> FeatureVideo:
        """Return a video; nothing is drawn."""
        return FeatureVideo(
            key=self.key(index),
            features=self.features(index),
            annotation=self.annotated.videos[index],
        )

    def read_views(self, index: int, protocol: Preprocessing) -> ClipViews:
        """Return the rows of a video as its one view, "1 t c" float32."""
        features = self.features(index).features
        return ClipViews(features.float()[None], None, self.key(index))


def _name(video: VideoAnnotation) -> str:
    return video.id or video.path


def _cut(whole: FeatureSequence, video: VideoAnnotation) -> FeatureSequence:
    first, last = (
        int(time * whole.fps / whole.stride)
        for time in (video.offset, video.offset + (video.duration or 0.0))
    )
    part = whole.rows(first, last + 1)
    part = replace(part, start=first * whole.seconds_per_row - video.offset)
    if not len(part):
        end = len(whole) * whole.seconds_per_row
        raise DataError(
            f"{whole.source} ends at {end:.1f} s, but {_name(video)} begins there at "
            f"{video.offset:.1f} s; take the features of {video.parent}"
        )
    if video.duration is not None:
        part.check_duration(video.duration, _name(video))
    return part
