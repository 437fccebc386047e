"""Which frames of a video a model looks at: pure functions from a frame count to frame indices.

Every function takes the number of frames of the video first and returns 0-based `int64` indices:
one clip as `(t,)`, several clips of one video as `(clips, t)`. A view is one clip seen through one
spatial crop, so a test protocol of `n` clips and `k` crops has `n * k` views, ordered clip by clip
(view = clip * k + crop); the crops are cut in `internvideo.video.transforms`.

Functions with an `rng` draw at random when one is given (training) and take the fixed middle when
it is `None` (validation). Both the modern `numpy.random.Generator` and the legacy
`numpy.random.RandomState` are accepted; the latter replays the draws of the official code.

Videos shorter than a clip never fail: indices repeat, and stay inside `[0, num_frames - 1]`.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from internvideo.errors import ConfigError, VideoError

__all__ = [
    "FrameIndices",
    "NumpyRandom",
    "activitynet_indices",
    "demo_indices",
    "dense_indices",
    "dense_test_indices",
    "fps_indices",
    "kinetics_sparse_indices",
    "linspace_indices",
    "per_second_indices",
    "pretrain_indices",
    "segment_indices",
    "sparse_test_indices",
    "uniform_indices",
    "uniform_test_indices",
    "viclip_indices",
    "whole_second_indices",
    "window_indices",
]

FrameIndices: TypeAlias = NDArray[np.int64]
NumpyRandom: TypeAlias = np.random.Generator | np.random.RandomState


def _check(num_frames: int, **counts: int) -> None:
    """Refuse empty videos and counts below one."""
    if num_frames < 1:
        raise VideoError(f"cannot sample frames from a video that has {num_frames} frames")
    for name, value in counts.items():
        if value < 1:
            raise ConfigError(f"{name} is {value}; it must be at least 1")


def _integers(
    rng: NumpyRandom, low: int | FrameIndices, high: int | FrameIndices, size: int | None = None
) -> FrameIndices:
    """Draw integers from `[low, high)` with either kind of numpy generator."""
    draw = rng.randint if isinstance(rng, np.random.RandomState) else rng.integers
    return np.asarray(draw(low, high, size=size), dtype=np.int64)


def _pad_with_last(indices: FrameIndices, clip_length: int) -> FrameIndices:
    """Repeat the last index until the clip is full."""
    return np.pad(indices, (0, max(clip_length - len(indices), 0)), mode="edge")


# ---------------------------------------------------------------- VideoMAE: dense clips


def dense_indices(
    num_frames: int, *, clip_length: int, frame_stride: int, rng: NumpyRandom | None = None
) -> FrameIndices:
    """Sample one dense clip as VideoMAE does in fine-tuning (random) and validation (centre).

    The clip spans `clip_length * frame_stride` frames. The official rule spreads the indices over
    the whole span including its end, so neighbours lie `span / (clip_length - 1)` apart, slightly
    more than `frame_stride`. A video no longer than the span is covered at about `frame_stride`
    and then holds its last frame.

    Args:
        num_frames: frames in the video.
        clip_length: frames in the clip.
        frame_stride: nominal distance between sampled frames.
        rng: draws the position of the clip; None takes the centre.

    Returns:
        Indices `(clip_length,)`, never decreasing.

    Source: VideoMAE fine-tuning data set (fixture `videomae-sampling`: dense_train, dense_val).
    """
    _check(num_frames, clip_length=clip_length, frame_stride=frame_stride)
    span = clip_length * frame_stride
    if num_frames <= span:
        covered = np.linspace(0, num_frames, num=num_frames // frame_stride)
        grid = np.concatenate([covered, np.full(clip_length - len(covered), num_frames)])
        return np.clip(grid, 0, num_frames - 1).astype(np.int64)
    end = (span + num_frames) // 2 if rng is None else int(_integers(rng, span, num_frames))
    start = end - span
    return np.clip(np.linspace(start, end, num=clip_length), start, end - 1).astype(np.int64)


def dense_test_indices(
    num_frames: int, *, clip_length: int, frame_stride: int, num_clips: int = 1
) -> FrameIndices:
    """Sample evenly spread dense clips with exactly `frame_stride` between their frames.

    The video is thinned to every `frame_stride`-th frame (its last one repeated until a clip
    fits); the first clip begins at the start and the last one ends at the end. With one clip, where
    the official code divides by zero, the clip lies in the centre.

    Returns:
        Indices `(num_clips, clip_length)`; each row never decreases.

    Source: VideoMAE test data set (fixture `videomae-sampling`: dense_test).
    """
    _check(num_frames, clip_length=clip_length, frame_stride=frame_stride, num_clips=num_clips)
    thinned = _pad_with_last(np.arange(0, num_frames, frame_stride, dtype=np.int64), clip_length)
    room = len(thinned) - clip_length
    if num_clips == 1:
        starts = np.array([room // 2])
    else:
        starts = (np.arange(num_clips) * (room / (num_clips - 1))).astype(np.int64)
    return thinned[starts[:, None] + np.arange(clip_length)]


def pretrain_indices(
    num_frames: int, *, clip_length: int, frame_stride: int, rng: NumpyRandom | None = None
) -> FrameIndices:
    """Sample the clip of masked pretraining: a random start, then every `frame_stride`-th frame.

    The walk stops advancing before it would reach the last frame (the official comparison is
    strict) and repeats the index it stands on. Without `rng` the clip starts in the middle.

    Returns:
        Indices `(clip_length,)`, never decreasing.

    Source: VideoMAE pretraining data set (fixture `videomae-sampling`: pretrain_train).
    """
    _check(num_frames, clip_length=clip_length, frame_stride=frame_stride)
    num_starts = num_frames - clip_length * frame_stride + 1
    start = 0
    if num_starts > 0:
        start = (num_starts - 1) // 2 if rng is None else int(_integers(rng, 0, num_starts))
    num_steps = max((num_frames - 2 - start) // frame_stride, 0)
    return start + frame_stride * np.minimum(np.arange(clip_length, dtype=np.int64), num_steps)


def window_indices(
    num_frames: int, *, clip_length: int, stride: int, frame_stride: int = 1
) -> FrameIndices:
    """Return every full sliding window over a long video, for feature extraction.

    Args:
        num_frames: frames in the video.
        clip_length: frames in a window.
        stride: frames between the starts of neighbouring windows.
        frame_stride: frames between neighbours inside a window.

    Returns:
        Indices `(windows, clip_length)`. A video shorter than a window, for which the official
        extractor returns nothing, gives one window that repeats the last frame.

    Source: VideoMAE V2's feature extraction for temporal action detection.
    """
    _check(num_frames, clip_length=clip_length, stride=stride, frame_stride=frame_stride)
    span = (clip_length - 1) * frame_stride + 1
    starts = np.arange(0, max(num_frames - span + 1, 1), stride, dtype=np.int64)
    indices = starts[:, None] + frame_stride * np.arange(clip_length, dtype=np.int64)
    return np.minimum(indices, num_frames - 1)


# ---------------------------------------------------------------- VideoMAE: sparse clips


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
    _check(num_frames, clip_length=clip_length)
    length = num_frames // clip_length
    if length == 0:
        return np.maximum(np.arange(num_frames - clip_length, num_frames), 0).astype(np.int64)
    offsets = length // 2 if rng is None else _integers(rng, 0, length, size=clip_length)
    return np.arange(clip_length, dtype=np.int64) * length + offsets


def sparse_test_indices(num_frames: int, *, clip_length: int, num_clips: int = 1) -> FrameIndices:
    """Interleave `num_clips` sparse clips that each cover the whole video (TSN test sampling).

    Clip k takes every segment's frame shifted by k/num_clips of a segment; all indices are then
    sorted together and dealt out in turn, as the official test set does.

    Returns:
        Indices `(num_clips, clip_length)`; each row never decreases.

    Source: VideoMAE SSv2 test data set (fixture `videomae-sampling`: sparse_test, ssv2_test).
    """
    _check(num_frames, clip_length=clip_length, num_clips=num_clips)
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
    _check(num_frames, clip_length=clip_length)
    length = num_frames // clip_length
    segments = np.arange(clip_length, dtype=np.int64)
    if length == 0:
        return ((segments * 2 + 1) * num_frames) // (2 * clip_length)
    if length == 1:
        return segments
    if rng is None:
        return segments * length + (length + 1) // 2 - 1
    return segments * length + _integers(rng, 1, length, size=clip_length) - 1


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
    _check(num_frames, clip_length=clip_length)
    if duration <= 0:
        raise VideoError(f"the duration of the video is {duration} s; it must be positive")
    part = int(num_frames * (end - start) / duration)
    if part >= clip_length or (rng is None and part >= 1):
        indices = segment_indices(part, clip_length=clip_length, rng=rng)
    elif part > 1 and rng is not None:
        indices = np.sort(_integers(rng, 0, part, size=clip_length))
    else:
        indices = np.zeros(clip_length, dtype=np.int64)
    return np.clip(indices + int(num_frames * start / duration), 0, num_frames - 1)


# ---------------------------------------------------------------- ViCLIP and InternVideo-MM


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
    _check(num_frames, clip_length=clip_length)
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
            indices = _integers(rng, first, last)
    else:
        raise ConfigError(f"unknown rule {rule!r}; expected 'middle', 'rand' or 'fix_start'")
    return _pad_with_last(indices, clip_length) if pad else indices


def demo_indices(num_frames: int, *, clip_length: int) -> FrameIndices:
    """Take frames 0, s, 2s, ... with s = num_frames // clip_length, as the ViCLIP demo does.

    The clip is not centred and ignores the end of the video; kept for parity with published demo
    outputs. A video shorter than the clip, which the demo refuses, repeats its last frame.

    Source: fixture `viclip-preprocess` (demo).
    """
    _check(num_frames, clip_length=clip_length)
    step = max(num_frames // clip_length, 1)
    return np.minimum(np.arange(clip_length, dtype=np.int64) * step, num_frames - 1)


def linspace_indices(num_frames: int, *, clip_length: int) -> FrameIndices:
    """Spread the clip evenly from the first to the last frame, rounding down.

    Source: InternVideo-MM demo (fixture `internvideo-mm-frames`, case linspace).
    """
    _check(num_frames, clip_length=clip_length)
    return np.linspace(0, num_frames - 1, num=clip_length).astype(np.int64)


# ---------------------------------------------------------------- UniFormerV2


def _uniform_borders(length: float, clip_length: int) -> tuple[FrameIndices, float]:
    """Return the rounded segment borders `(clip_length + 1,)` and the fractional segment length."""
    segment = max((length - 1) / clip_length, 0.0)
    return np.round(segment * np.arange(clip_length + 1)).astype(np.int64), segment


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
    indices = _integers(rng, borders[:-1], borders[1:] + 1)
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
    _check(num_frames, clip_length=clip_length, num_clips=num_clips)
    borders, segment, offset = _uniform_part(num_frames, clip_length, duration, start, end)
    shifts = (segment / (num_clips + 1) * np.arange(1, num_clips + 1)).astype(np.int64)
    return np.clip(borders[:-1] + shifts[:, None] + offset, 0, num_frames - 1)


def _uniform_part(
    num_frames: int, clip_length: int, duration: float | None, start: float, end: float | None
) -> tuple[FrameIndices, float, int]:
    """Return segment borders, segment length and first frame of the (part of the) video."""
    _check(num_frames, clip_length=clip_length)
    if duration is None:
        if start != 0.0 or end is not None:
            raise ConfigError("start and end are seconds of a video whose duration must be given")
        return *_uniform_borders(num_frames, clip_length), 0
    if duration <= 0:
        raise VideoError(f"the duration of the video is {duration} s; it must be positive")
    rate = num_frames / duration
    part = rate * ((duration if end is None else end) - start)
    return *_uniform_borders(part, clip_length), int(rate * start)


# ---------------------------------------------------------------- by time


def fps_indices(
    num_frames: int, *, fps: float, rate: float, max_frames: int | None = None
) -> FrameIndices:
    """Take the frame at the centre of every window of `1 / rate` seconds.

    Args:
        num_frames: frames in the video.
        fps: frame rate of the video.
        rate: sampled frames per second.
        max_frames: keep at most this many, from the start; None keeps all.

    Returns:
        Indices `(n,)`, at least one.

    Source: ViCLIP sampling "fpsX" (fixture `viclip-text`, frame_indices.fps).
    """
    _check(num_frames)
    _check_rates(fps, rate)
    window = 1 / rate
    duration = num_frames / fps
    seconds = np.arange(window / 2, duration + window / 2, window)
    indices = np.around(seconds * fps).astype(np.int64)
    indices = indices[indices < num_frames][:max_frames]
    return indices if len(indices) else np.array([num_frames // 2], dtype=np.int64)


def per_second_indices(
    num_frames: int,
    *,
    fps: float,
    max_frames: int,
    rate: float = 1.0,
    start: float | None = None,
    end: float | None = None,
) -> FrameIndices:
    """Take about `rate` frames per second of `[start, end]`, thinned evenly to `max_frames`.

    Args:
        num_frames: frames in the video.
        fps: frame rate of the video.
        max_frames: upper bound of the number of frames.
        rate: frames per second before thinning.
        start: begin in seconds; None is 0.
        end: end in seconds, None is the end of the video; swapped with `start` when smaller,
            one second later when equal.

    Returns:
        Indices `(n,)`, 1 <= n <= max_frames; the caller pads short clips and masks the padding.

    Source: retrieval loaders over decord (fixture `retrieval-frame-sampling`, fn decord).
    """
    _check(num_frames, max_frames=max_frames)
    _check_rates(fps, rate)
    begin, stop = _ordered_seconds(start, end)
    first = min(int(begin * fps), num_frames - 1)
    last = num_frames - 1 if stop is None else int(min(stop * fps, num_frames - 1))
    step = max(round(fps / rate), 1)
    return _thin(np.arange(first, max(last, first) + 1, step, dtype=np.int64), max_frames)


def whole_second_indices(
    num_frames: int,
    *,
    fps: float,
    max_frames: int,
    rate: int = 1,
    start: int | None = None,
    end: int | None = None,
    keep: Literal["head", "tail", "even"] = "even",
) -> FrameIndices:
    """Take `rate` frames of each whole second, with the frame rate rounded down to an integer.

    At fractional rates the rule drifts from true seconds; kept for the data sets whose published
    numbers rest on it (MSVD, ActivityNet retrieval). Arguments are those of `per_second_indices`;
    `keep` chooses which frames survive when there are more than `max_frames`.

    Source: retrieval loaders over OpenCV (fixture `retrieval-frame-sampling`, fn cv2).
    """
    _check(num_frames, max_frames=max_frames)
    _check_rates(fps, rate)
    whole_fps = max(int(fps), 1)
    step = max(whole_fps // rate, 1)
    begin, stop = _ordered_seconds(start, end)
    stop = math.ceil(num_frames / whole_fps) if stop is None else stop
    seconds = np.arange(int(begin), int(stop) + 1, dtype=np.int64)
    in_second = np.arange(0, whole_fps, step, dtype=np.int64)[:rate]
    indices = (seconds[:, None] * whole_fps + in_second).ravel()
    indices = indices[indices < num_frames]
    if len(indices) == 0:
        indices = np.array([num_frames - 1], dtype=np.int64)
    if keep == "head":
        return indices[:max_frames]
    if keep == "tail":
        return indices[-max_frames:]
    return _thin(indices, max_frames)


def _check_rates(fps: float, rate: float) -> None:
    if not fps > 0:
        raise VideoError(f"the frame rate of the video is {fps}; it must be positive")
    if not rate > 0:
        raise ConfigError(f"rate is {rate} frames per second; it must be positive")


def _ordered_seconds(start: float | None, end: float | None) -> tuple[float, float | None]:
    """Return the time span with its ends in order and at least one second apart when equal."""
    begin = max(start or 0, 0)
    if end is None:
        return begin, None
    end = max(end, 0)
    if end == begin:
        return begin, begin + 1
    return min(begin, end), max(begin, end)


def _thin(indices: FrameIndices, max_frames: int) -> FrameIndices:
    """Keep `max_frames` evenly spread entries, the first and the last among them."""
    if len(indices) <= max_frames:
        return indices
    return indices[linspace_indices(len(indices), clip_length=max_frames)]
