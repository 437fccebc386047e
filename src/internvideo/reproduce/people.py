"""Clips of real people: the segments of annotated videos, and windows without labels.

Whole videos are dealt to training and test, anew for each seed, so that nobody is trained on the
room and the minute that is asked about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from internvideo.annotations import VideoAnnotation
from internvideo.data.clip_file import DecodedClip, write_clips
from internvideo.data.feature_videos import read_videos
from internvideo.errors import DataError
from internvideo.video import Video
from internvideo.video.preprocessing import Preprocessing

__all__ = ["ANNOTATIONS", "VIDEOS", "cut_people", "missing_people"]

ANNOTATIONS, VIDEOS = "fir_activitynet.json", "fir"
"""What the folder of real videos has: annotations in ActivityNet's format, and the videos."""

_SPLITS = "training", "validation"  # as published; here they are dealt anew
_TRAINING = 2 / 3  # of the videos
_STEP = 2  # frames of a video from one frame of a window to the next
_HOP = 6  # frames of a video from one window to the next


def missing_people(folder: Path | None) -> str:
    """Return why there are no real videos; empty where there are."""
    if folder is None:
        return "no folder of real videos was given (--real)"
    lacking = [name for name in (ANNOTATIONS, VIDEOS) if not (folder / name).exists()]
    return f"{folder} has no {' and no '.join(lacking)}" if lacking else ""


def cut_people(directory: Path, options: Mapping[str, Any], protocol: Preprocessing) -> None:
    """Write the clips of a seed: labelled segments of both parts, and windows of the first.

    Raises:
        DataError: the annotations cannot be used, or name no classes.
        VideoError: a video cannot be read.
    """
    folder = Path(options["folder"])
    videos: list[VideoAnnotation] = []
    names = None
    for split in _SPLITS:
        found = read_videos(folder / ANNOTATIONS, root=str(folder / VIDEOS), split=split)
        found.refuse_bad_lines()
        videos += found.videos
        names = found.class_names
    if names is None:
        raise DataError(f"{folder / ANNOTATIONS} names no classes")
    order = np.random.default_rng(options["seed"]).permutation(len(videos))
    chosen = order[: options["num_videos"]].tolist()
    cut = round(_TRAINING * len(chosen))
    parts: dict[str, list[DecodedClip]] = {"train": [], "test": [], "windows": []}
    for place, number in enumerate(chosen):
        about = videos[number]
        video = Video(folder / VIDEOS / f"{about.id}.mp4")
        frames = protocol.resize(video.frames(range(video.num_frames)))
        part = "train" if place < cut else "test"
        parts[part] += _segments(frames, video.fps, about, protocol.num_frames)
        if part == "train":
            parts["windows"] += _windows(frames, about, protocol.num_frames)
    for part, clips in parts.items():
        write_clips(directory / f"{part}.safetensors", clips, class_names=names)


def _segments(
    frames: UInt8[Tensor, "t s s 3"], fps: float, about: VideoAnnotation, count: int
) -> Iterator[DecodedClip]:
    """Yield the labelled segments, each as `count` frames that are spread evenly over it."""
    for number, segment in enumerate(about.segments):
        end = len(frames) / fps if segment.end is None else segment.end
        first, last = (round(second * fps) for second in (segment.start, end))
        places = np.linspace(first, max(last - 1, first), count).round().astype(int)
        chosen = frames[torch.from_numpy(places.clip(0, len(frames) - 1))]
        yield DecodedClip(chosen, f"{about.id}-segment-{number}", segment.label)


def _windows(
    frames: UInt8[Tensor, "t s s 3"], about: VideoAnnotation, count: int
) -> Iterator[DecodedClip]:
    """Yield windows of `count` frames without labels from the beginning to the end of a video."""
    span = _STEP * count
    for first in range(0, len(frames) - span + 1, _HOP):
        yield DecodedClip(frames[first : first + span : _STEP], f"{about.id}-window-{first}")
