"""Annotated key frames: the frames around each, and the boxes in it.

A movie is one file, a folder of files of one second each (`{second}.mp4`), or a part whose length
its annotation knows. All have the same order of frames around a key frame, see `key_windows`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from internvideo.annotations import ActorBox, VideoAnnotation
from internvideo.data.feature_videos import AnnotatedVideos, read_videos
from internvideo.data.key_windows import (
    clip_indices,
    middle_frame,
    second_window,
    stretched_window,
)
from internvideo.data.samples import ClipViews, Sample
from internvideo.errors import DataError, VideoError
from internvideo.formats.ava import Persons, read_persons
from internvideo.formats.box_rows import image_key, read_excluded
from internvideo.video import VIDEO_SUFFIXES, Preprocessing, Video
from internvideo.video.preprocessing import FrameSource
from internvideo.video.sources import is_url
from internvideo.video.transforms import normalize, resize_short_side

__all__ = [
    "KeyFrame",
    "KeyFrameSample",
    "KeyFrameSource",
    "frames_around",
    "open_key_frames",
    "whole_view",
]

_LOG = logging.getLogger(__name__)
_SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyFrame:
    """A moment of a video, and who is there.

    Attributes:
        video: number of the video.
        time: in seconds from its start.
        boxes: of its picture, as fractions.
        name: what the official evaluation calls it, such as "abcDEF12345,0902".
    """

    video: int
    time: float
    boxes: tuple[ActorBox, ...]
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFrameSample(Sample):
    """The frames around a key frame, in the size of the video, and its boxes."""

    boxes: tuple[ActorBox, ...] = ()


class KeyFrameSource:
    """The key frames of annotated videos.

    Args:
        annotated: the videos, with boxes.
        protocol: which frames are around a key frame.
        root: folder or address of the videos.
        persons: boxes of a detector in place of the true ones, from `least_score` on; only pictures
            with any are looked at. None takes the true boxes.
        least_score: likewise.

    Attributes:
        frames: the key frames with boxes, those of missing videos left out.
        missing: paths of videos that are not there, and how many key frames they have.
        sizes: (width, height) of the pictures that were read, by number of the key frame.

    Raises:
        DataError: there are no boxes at all.
    """

    def __init__(
        self,
        annotated: AnnotatedVideos,
        protocol: Preprocessing,
        *,
        root: Path | str,
        persons: Persons | None = None,
        least_score: float = 0.8,
    ) -> None:
        self.annotated = annotated
        self.protocol = protocol
        self.root = str(root)
        self.persons = persons
        self.missing: dict[str, int] = {}
        self.sizes: dict[int, tuple[int, int]] = {}
        self.frames: list[KeyFrame] = []
        for number, video in enumerate(annotated.videos):
            found = _key_frames(number, video, persons, least_score)
            path = self.path(number)
            if found and not is_url(path) and not Path(path).exists():
                self.missing[path] = len(found)
            else:
                self.frames += found
        if not self.frames:
            first = next(iter(self.missing), "")
            raise DataError(
                f"{annotated.file}: none of its videos are there, such as {first}; give their "
                "folder as root"
                if self.missing
                else f"{annotated.file} has no boxes; expected annotations such as those of AVA"
            )
        if self.missing:
            shown = ", ".join(list(self.missing)[:_SHOWN])
            _LOG.warning(
                "%s: %d of %d videos are missing: %s%s", annotated.file, len(self.missing),
                len(annotated.videos), shown, ", …" if len(self.missing) > _SHOWN else "",
            )  # fmt: skip

    def __len__(self) -> int:
        return len(self.frames)

    def path(self, video: int) -> str:
        """Return where a video is."""
        path = self.annotated.videos[video].path
        if is_url(path) or path.startswith("/"):
            return path
        return f"{self.root.rstrip('/')}/{path}"

    def key(self, index: int) -> str:
        """Return the name of a key frame."""
        return self.frames[index].name

    def clip(self, index: int) -> UInt8[Tensor, "t h w c"]:
        """Decode the frames around a key frame.

        Raises:
            VideoError: they cannot be read; the message names the video.
        """
        frame = self.frames[index]
        video, path = self.annotated.videos[frame.video], Path(self.path(frame.video))
        if path.is_dir():
            second = int(frame.time + video.offset)
            clip = _from_seconds(path, second, self.protocol)
        else:
            with Video(self.path(frame.video)) as opened:
                clip = frames_around(
                    opened, frame.time, self.protocol, duration=video.duration, name=frame.name
                )
        self.sizes[index] = (clip.shape[2], clip.shape[1])
        return clip

    def read(self, index: int, rng: np.random.Generator) -> KeyFrameSample:
        """Return the frames around a key frame; nothing is drawn."""
        del rng
        return KeyFrameSample(
            frames=self.clip(index).numpy(), key=self.key(index), boxes=self.frames[index].boxes
        )

    def read_views(self, index: int, protocol: Preprocessing) -> ClipViews:
        """Return the clip around a key frame as its one view, whole and resized by its short side.

        Raises:
            VideoError: it cannot be read.
        """
        return ClipViews(whole_view(self.clip(index), protocol)[None], None, self.key(index))

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the actions in the order of their numbers, where they are known."""
        return self.annotated.class_names

    def label(self, index: int) -> int | None:
        """Return None: a key frame has boxes, each with labels of its own."""
        del index
        return None

    def check_labels(self, num_classes: int) -> None:
        """Check that every box has labels from 0 to `num_classes - 1`.

        Raises:
            DataError: names the first that has not.
        """
        for frame in self.frames:
            for box in frame.boxes:
                if wrong := [label for label in box.labels if not 0 <= label < num_classes]:
                    raise DataError(
                        f"{self.annotated.file}: a box of {frame.name} has the action "
                        f"{wrong[0] + 1}, outside 1 to {num_classes}; correct the list, or "
                        "model.num_classes"
                    )

    def identity(self) -> dict[str, Any]:
        """Return what the key frames are the same by, wherever the videos lie."""
        plain = [
            (Path(self.annotated.videos[each.video].path).name, replace(each, video=0))
            for each in self.frames
        ]
        digest = hashlib.sha256(repr((plain, self.class_names)).encode()).hexdigest()
        return {"clips": len(self), "digest": digest, "files": []}


def open_key_frames(
    annotations: Path,
    protocol: Preprocessing,
    *,
    root: str | None = None,
    kind: str | None = None,
    labels: Path | None = None,
    persons: Path | None = None,
    least_score: float = 0.8,
    excluded: Path | None = None,
    strict: bool = True,
) -> KeyFrameSource:
    """Read annotated boxes; no video is touched.

    Args:
        annotations: the file.
        protocol: which frames are around a key frame.
        root: folder of the videos; by default that of the file.
        kind: format of the file; None is told by its content.
        labels: the label map.
        persons: file of the boxes of a detector, see `formats.ava.read_persons`.
        least_score: of these.
        excluded: csv of pictures that are left out.
        strict: refuse a file with lines that cannot be used.

    Raises:
        DataError: a file cannot be used; the line is named.
    """
    videos = read_videos(annotations, kind=kind, root=root, labels=labels)
    refused = [line for line in videos.bad_lines if not line.tolerated] if strict else []
    if refused:
        raise DataError(f"{refused[0].message} ({len(refused)} such in all; skip_bad: true)")
    if excluded is not None:
        out = read_excluded(excluded)
        videos = replace(videos, videos=tuple(_without(video, out) for video in videos.videos))
    found = None
    if persons is not None:
        found = read_persons(persons, {video.id: video.size for video in videos.videos})
        if excluded is not None:
            found = {name: boxes for name, boxes in found.items() if name not in out}
    return KeyFrameSource(
        videos, protocol, root=root or annotations.parent, persons=found, least_score=least_score
    )


def _without(video: VideoAnnotation, excluded: frozenset[str]) -> VideoAnnotation:
    kept = [b for b in video.boxes if image_key(video.id, b.time + video.offset) not in excluded]
    return replace(video, boxes=tuple(kept))


def whole_view(clip: UInt8[Tensor, "t h w c"], protocol: Preprocessing) -> Tensor:
    """Return frames resized by their short side and normalised, "c t h w"."""
    frames = resize_short_side(clip, protocol.resize_size, antialias=protocol.antialias)
    return normalize(frames, protocol.mean, protocol.std)


def _key_frames(
    number: int, video: VideoAnnotation, persons: Persons | None, least_score: float
) -> list[KeyFrame]:
    """Return the key frames of a video with boxes, in the order of their times."""
    boxes: dict[float, list[ActorBox]] = {}
    for each in video.boxes:
        boxes.setdefault(each.time, []).append(each)
    movie = video.id or Path(video.path).stem
    if persons is None:
        return [
            KeyFrame(video=number, time=time, boxes=tuple(held),
                     name=image_key(movie, time + video.offset))
            for time, held in sorted(boxes.items())
        ]  # fmt: skip
    return [
        KeyFrame(video=number, time=time, boxes=found, name=name)
        for name, time in _times(movie, video, boxes, persons)
        if (found := _found(persons.get(name, ()), time, least_score))
    ]


def _times(
    movie: str, video: VideoAnnotation, boxes: Mapping[float, Any], persons: Persons
) -> list[tuple[str, float]]:
    """Return names and times of the pictures that are annotated or have boxes of a detector."""
    names = {image_key(movie, time + video.offset): time for time in boxes}
    start = f"{movie},"
    for name in persons:
        if name.startswith(start) and name not in names:
            names[name] = float(name[len(start) :]) - video.offset
    return sorted(names.items(), key=lambda each: each[1])


def _found(
    persons: Sequence[tuple[Any, float]], time: float, least_score: float
) -> tuple[ActorBox, ...]:
    return tuple(
        ActorBox(time=time, box=box, score=score) for box, score in persons if score >= least_score
    )


# --- frames ---------------------------------------------------------------------------------------


def frames_around(
    video: FrameSource,
    time: float,
    protocol: Preprocessing,
    *,
    duration: float | None = None,
    name: str = "",
) -> UInt8[Tensor, "t h w c"]:
    """Decode the clip around a moment of a video.

    Both sides are as long as the shorter one, and frames are repeated where a side is shorter than
    half of the clip. Of a part of known length the shorter side is stretched instead, as published
    for Kinetics.

    Args:
        video: any.
        time: in seconds from its start.
        protocol: says how many frames, and how far apart.
        duration: of a part that was cut out, as its name says.
        name: for messages.

    Raises:
        VideoError: the moment is not in the video.
    """
    total, span = video.num_frames, protocol.num_frames * protocol.frame_stride
    half = span // 2
    middle = round(time * video.fps) if duration is None else middle_frame(time, duration, total)
    if not 0 <= middle < total:
        raise VideoError(
            f"{name or 'the key frame'} is at {time:g} s, but the video is over after "
            f"{total / video.fps:g} s; is it a part of the annotated one?"
        )
    length, stride = protocol.num_frames, protocol.frame_stride
    if duration is not None and min(middle, total - middle) < half <= total:
        first, last = max(middle - half, 0), min(middle + half, total)
        decoded = video.frames(range(first, last))
        window = stretched_window(decoded, middle - first, span)
        return window[clip_indices(len(window), clip_length=length, frame_stride=stride)]
    side = min(middle, total - middle)
    indices = clip_indices(max(2 * side, 1), clip_length=length, frame_stride=stride)
    wanted, places = np.unique(indices + middle - side, return_inverse=True)
    return video.frames(wanted.tolist())[torch.from_numpy(places)]


def _from_seconds(folder: Path, second: int, protocol: Preprocessing) -> UInt8[Tensor, "t h w c"]:
    """Decode the clip around the start of a second, of files of one second each.

    Raises:
        VideoError: there are none around it.
    """
    opened: dict[int, Video | None] = {}

    def video(number: int) -> Video | None:
        if number not in opened:
            files = (folder / f"{number}{suffix}" for suffix in sorted(VIDEO_SUFFIXES))
            found = next((file for file in files if file.is_file()), None)
            opened[number] = None if found is None else Video(found)
        return opened[number]

    def count(number: int) -> int:
        held = video(number)
        return 0 if held is None else held.num_frames

    try:
        span = protocol.num_frames * protocol.frame_stride
        window = second_window(count, second, span)
        if not window:
            raise VideoError(f"{folder} has no videos of the seconds {second - 1} and {second}")
        indices = clip_indices(
            len(window), clip_length=protocol.num_frames, frame_stride=protocol.frame_stride
        )
        wanted = [window[index] for index in indices]
        clips: dict[tuple[int, int], Tensor] = {}
        for number in dict.fromkeys(each for each, _ in wanted):
            places = sorted({frame for each, frame in wanted if each == number})
            held = video(number)
            assert held is not None
            clips |= {(number, p): f for p, f in zip(places, held.frames(places), strict=True)}
        return torch.stack([clips[each] for each in wanted])
    finally:
        for held in opened.values():
            if held is not None:
                held.close()
