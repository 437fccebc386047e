"""Sparse clips: a few frames spread over the whole video, most often one from each equal segment.

The rules differ in where the borders of the segments are rounded to, in which frames of a segment
may be drawn, and in what a video with fewer frames than segments gives. Each is the rule of a
family of models whose published numbers rest on it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from internvideo.errors import ConfigError, VideoError
from internvideo.video.sampling.indices import (
    FrameIndices,
    NumpyRandom,
    check_counts,
    draw_integers,
    pad_with_last,
)

__all__ = [
    "activitynet_indices",
    "demo_indices",
    "kinetics_sparse_indices",
    "linspace_indices",
    "segment_indices",
    "sparse_test_indices",
    "umt_indices",
    "uniform_indices",
    "uniform_test_indices",
    "viclip_indices",
]


def segment_indices(
    num_frames: int, *, clip_length: int, rng: NumpyRandom | None = None
) -> FrameIndices:
    """Take one frame from each of `clip_length` equal segments (TSN; Something-Something).

    The frame is drawn inside its segment, or is the segment's middle without `rng`. A video with
    fewer frames than segments begins with repetitions of its first frame.

    Returns:
        Indices `(clip_length,)`, never decreasing.

    Source: VideoMAE SSv2 data set (fixture `videomae-sampling`: ssv2_train_val).
    """
    check_counts(num_frames, clip_length=clip_length)
    length = num_frames // clip_length
    if length == 0:
        return np.maximum(np.arange(num_frames - clip_length, num_frames), 0).astype(np.int64)
    offsets = length // 2 if rng is None else draw_integers(rng, 0, length, size=clip_length)
    return np.arange(clip_length, dtype=np.int64) * length + offsets


def umt_indices(
    num_frames: int, *, clip_length: int, rng: NumpyRandom | None = None
) -> FrameIndices:
    """Take one frame from each segment as the first stage of the unmasked teacher does.

    The rule is that of `segment_indices`, but of a video with fewer frames than segments the first
    frame alone is seen.

    Returns:
        Indices `(clip_length,)`, never decreasing.

    Source: fixture `umt-recipe` (frame_sampling.pretrain).
    """
    check_counts(num_frames, clip_length=clip_length)
    if num_frames < clip_length:
        return np.zeros(clip_length, dtype=np.int64)
    return segment_indices(num_frames, clip_length=clip_length, rng=rng)


def sparse_test_indices(num_frames: int, *, clip_length: int, num_clips: int = 1) -> FrameIndices:
    """Interleave `num_clips` sparse clips that each cover the whole video (TSN test sampling).

    Clip k takes every segment's frame shifted by k/num_clips of a segment; all indices are then
    sorted together and dealt out in turn, as the official test set does.

    Returns:
        Indices `(num_clips, clip_length)`; each row never decreases.

    Source: VideoMAE SSv2 test data set (fixture `videomae-sampling`: sparse_test, ssv2_test).
    """
    check_counts(num_frames, clip_length=clip_length, num_clips=num_clips)
    tick = num_frames / clip_length
    shifts = np.arange(num_clips)[:, None] * tick / num_clips
    grid = (shifts + tick * np.arange(clip_length)).astype(np.int64)
    return np.sort(grid, axis=None).reshape(clip_length, num_clips).T.copy()


def kinetics_sparse_indices(
    num_frames: int, *, clip_length: int, rng: NumpyRandom | None = None
) -> FrameIndices:
    """Take one frame from each segment by VideoMAE's sparse Kinetics rule.

    Differs from `segment_indices` by one frame in the middle, and never draws the last frame of a
    segment. The official code crashes when there are fewer frames than segments; here the middles
    of the fractional segments are taken then.

    Returns:
        Indices `(clip_length,)`, never decreasing.

    Source: VideoMAE `--sparse_sample` (fixture `videomae-sampling`: kinetics_sparse_val).
    """
    check_counts(num_frames, clip_length=clip_length)
    length = num_frames // clip_length
    segments = np.arange(clip_length, dtype=np.int64)
    if length == 0:
        return ((segments * 2 + 1) * num_frames) // (2 * clip_length)
    if length == 1:
        return segments
    if rng is None:
        return segments * length + (length + 1) // 2 - 1
    return segments * length + draw_integers(rng, 1, length, size=clip_length) - 1


def activitynet_indices(
    num_frames: int,
    *,
    clip_length: int,
    duration: float,
    start: float,
    end: float,
    rng: NumpyRandom | None = None,
) -> FrameIndices:
    """Take one frame from each segment of the annotated part `[start, end]` of a long video.

    Args:
        num_frames: frames in the whole video.
        clip_length: frames in the clip.
        duration: length of the whole video in seconds.
        start: begin of the part in seconds.
        end: end of the part in seconds.
        rng: draws inside each segment; a part with fewer frames than `clip_length` gives sorted
            draws with replacement. None takes the middles.

    Returns:
        Indices `(clip_length,)`, never decreasing, clamped to the video.

    Source: VideoMAE ActivityNet data set (fixture `videomae-sampling`: activitynet_sparse_train).
    """
    check_counts(num_frames, clip_length=clip_length)
    _check_duration(duration)
    part = int(num_frames * (end - start) / duration)
    if part >= clip_length or (rng is None and part >= 1):
        indices = segment_indices(part, clip_length=clip_length, rng=rng)
    elif part > 1 and rng is not None:
        indices = np.sort(draw_integers(rng, 0, part, size=clip_length))
    else:
        indices = np.zeros(clip_length, dtype=np.int64)
    return np.clip(indices + int(num_frames * start / duration), 0, num_frames - 1)


def uniform_indices(
    num_frames: int,
    *,
    clip_length: int,
    rng: NumpyRandom,
    duration: float | None = None,
    start: float = 0.0,
    end: float | None = None,
) -> FrameIndices:
    """Draw one frame from each segment by UniFormerV2's training rule (both borders included).

    Args:
        num_frames: frames in the whole video.
        clip_length: frames in the clip.
        rng: draws inside each segment.
        duration: length of the whole video in seconds, with `start` and `end` (seconds) of the
            annotated part (ActivityNet, HACS); None samples the whole video.
        start: begin of the part.
        end: end of the part; None is the end of the video.

    Returns:
        Indices `(clip_length,)`, never decreasing, clamped to the video.

    Source: fixture `uniformerv2-sampling-indices` (train_low, train_high).
    """
    borders, _, offset = _uniform_part(num_frames, clip_length, duration, start, end)
    indices = draw_integers(rng, borders[:-1], borders[1:] + 1)
    return np.clip(indices + offset, 0, num_frames - 1)


def uniform_test_indices(
    num_frames: int,
    *,
    clip_length: int,
    num_clips: int = 1,
    duration: float | None = None,
    start: float = 0.0,
    end: float | None = None,
) -> FrameIndices:
    """Spread `num_clips` sparse clips over the video by UniFormerV2's test rule.

    Clip c lies `(c + 1) / (num_clips + 1)` of a segment behind the segment's start, rounded down.
    `duration`, `start` and `end` are those of `uniform_indices`. (The official Something-Something
    loader adds 1 to these indices because its frame files are numbered from 1.)

    Returns:
        Indices `(num_clips, clip_length)`; each row never decreases.

    Source: fixture `uniformerv2-sampling-indices` (k400, sth, anet).
    """
    check_counts(num_frames, clip_length=clip_length, num_clips=num_clips)
    borders, segment, offset = _uniform_part(num_frames, clip_length, duration, start, end)
    shifts = (segment / (num_clips + 1) * np.arange(1, num_clips + 1)).astype(np.int64)
    return np.clip(borders[:-1] + shifts[:, None] + offset, 0, num_frames - 1)


def _uniform_part(
    num_frames: int, clip_length: int, duration: float | None, start: float, end: float | None
) -> tuple[FrameIndices, float, int]:
    """Return segment borders, segment length and first frame of the (part of the) video.

    The borders `(clip_length + 1,)` count from the first frame and are rounded to the nearest.
    """
    check_counts(num_frames, clip_length=clip_length)
    length, first = float(num_frames), 0
    if duration is not None:
        _check_duration(duration)
        rate = num_frames / duration
        length = rate * ((duration if end is None else end) - start)
        first = int(rate * start)
    elif start != 0.0 or end is not None:
        raise ConfigError("start and end are seconds of a video whose duration must be given")
    segment = max((length - 1) / clip_length, 0.0)
    borders = np.round(segment * np.arange(clip_length + 1)).astype(np.int64)
    return borders, segment, first


def _check_duration(duration: float) -> None:
    if duration <= 0:
        raise VideoError(f"the duration of the video is {duration} s; it must be positive")


def viclip_indices(
    num_frames: int,
    *,
    clip_length: int,
    rule: Literal["middle", "rand", "fix_start"] = "middle",
    offset: int = 0,
    rng: NumpyRandom | None = None,
    pad: bool = True,
) -> FrameIndices:
    """Take one frame from each of `clip_length` intervals whose borders are rounded down.

    This one rule serves ViCLIP, InternVideo-MM pretraining and video question answering.

    Args:
        num_frames: frames in the video; fewer than `clip_length` makes as many intervals.
        clip_length: frames in the clip.
        rule: "middle" of the interval; "rand" draws inside it, its last frame excluded as in the
            official code (if an interval has no other frame, the clip is a sorted random subset
            of all frames); "fix_start" takes the first frame plus `offset`.
        offset: distance from the interval's first frame, for "fix_start".
        rng: required by "rand".
        pad: repeat the last index when the video is shorter than the clip; the reference of
            InternVideo-MM returns the shorter list instead.

    Returns:
        Indices `(clip_length,)`, or `(min(num_frames, clip_length),)` without `pad`.

    Source: fixtures `viclip-text` (frame_indices), `internvideo-mm-frames`, `vqa-frame-sampling`.
    """
    check_counts(num_frames, clip_length=clip_length)
    num_intervals = min(num_frames, clip_length)
    borders = np.linspace(0, num_frames, num=num_intervals + 1).astype(np.int64)
    first, last = borders[:-1], borders[1:] - 1
    if rule == "middle":
        indices = (first + last) // 2
    elif rule == "fix_start":
        indices = np.clip(first + offset, 0, num_frames - 1)
    elif rule == "rand":
        if rng is None:
            raise ConfigError("rule 'rand' draws frames at random: pass an rng")
        if np.any(first >= last):
            indices = np.sort(rng.permutation(num_frames)[:num_intervals]).astype(np.int64)
        else:
            indices = draw_integers(rng, first, last)
    else:
        raise ConfigError(f"unknown rule {rule!r}; expected 'middle', 'rand' or 'fix_start'")
    return pad_with_last(indices, clip_length) if pad else indices


def demo_indices(num_frames: int, *, clip_length: int) -> FrameIndices:
    """Take frames 0, s, 2s, ... with s = num_frames // clip_length, as the ViCLIP demo does.

    The clip is not centred and ignores the end of the video; kept for parity with published demo
    outputs. A video shorter than the clip, which the demo refuses, repeats its last frame.

    Returns:
        Indices `(clip_length,)`, never decreasing.

    Source: fixture `viclip-preprocess` (demo).
    """
    check_counts(num_frames, clip_length=clip_length)
    step = max(num_frames // clip_length, 1)
    return np.minimum(np.arange(clip_length, dtype=np.int64) * step, num_frames - 1)


def linspace_indices(num_frames: int, *, clip_length: int) -> FrameIndices:
    """Spread the clip evenly from the first to the last frame, rounding down.

    Returns:
        Indices `(clip_length,)`, never decreasing.

    Source: InternVideo-MM demo (fixture `internvideo-mm-frames`, case linspace).
    """
    check_counts(num_frames, clip_length=clip_length)
    return np.linspace(0, num_frames - 1, num=clip_length).astype(np.int64)
