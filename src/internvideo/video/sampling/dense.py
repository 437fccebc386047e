"""Dense clips: neighbouring frames lie a stride apart, and a clip covers a stretch of the video."""

from __future__ import annotations

import numpy as np

from internvideo.video.sampling.indices import (
    FrameIndices,
    NumpyRandom,
    check_counts,
    draw_integers,
    pad_with_last,
)

__all__ = [
    "dense_indices",
    "dense_test_indices",
    "looped_indices",
    "pretrain_indices",
    "window_indices",
]


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
    check_counts(num_frames, clip_length=clip_length, frame_stride=frame_stride)
    span = clip_length * frame_stride
    if num_frames <= span:
        covered = np.linspace(0, num_frames, num=num_frames // frame_stride)
        grid = np.concatenate([covered, np.full(clip_length - len(covered), num_frames)])
        return np.clip(grid, 0, num_frames - 1).astype(np.int64)
    end = (span + num_frames) // 2 if rng is None else int(draw_integers(rng, span, num_frames))
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
    check_counts(
        num_frames, clip_length=clip_length, frame_stride=frame_stride, num_clips=num_clips
    )
    thinned = pad_with_last(np.arange(0, num_frames, frame_stride, dtype=np.int64), clip_length)
    room = len(thinned) - clip_length
    if num_clips == 1:
        starts = np.array([room // 2])
    else:
        starts = (np.arange(num_clips) * (room / (num_clips - 1))).astype(np.int64)
    return thinned[starts[:, None] + np.arange(clip_length)]


def looped_indices(
    num_frames: int,
    *,
    clip_length: int,
    frame_stride: int,
    num_clips: int = 1,
    rng: NumpyRandom | None = None,
) -> FrameIndices:
    """Sample dense clips with exactly `frame_stride` between their frames, as MMAction2 does.

    A clip that is longer than the video begins it again.

    Args:
        num_frames: frames in the video.
        clip_length: frames in the clip.
        frame_stride: distance between sampled frames.
        num_clips: spread over the video from its start; one lies in the centre.
        rng: draws where each clip begins; never at the last place possible.

    Returns:
        Indices `(num_clips, clip_length)`.

    Source: open-set recognition (fixture `openset-sampling`).
    """
    check_counts(
        num_frames, clip_length=clip_length, frame_stride=frame_stride, num_clips=num_clips
    )
    last = max(num_frames - clip_length * frame_stride, 0)
    if rng is not None:
        drawn = draw_integers(rng, 0, last, size=num_clips) if last else 0
        starts = np.broadcast_to(drawn, num_clips)
    elif num_clips == 1:
        starts = np.array([(last + 1) // 2 if num_frames >= clip_length * frame_stride else 0])
    else:
        starts = np.linspace(0, last, num=num_clips).astype(np.int64)
    steps = frame_stride * np.arange(clip_length, dtype=np.int64)
    return (starts[:, None] + steps) % num_frames


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
    check_counts(num_frames, clip_length=clip_length, frame_stride=frame_stride)
    num_starts = num_frames - clip_length * frame_stride + 1
    start = 0
    if num_starts > 0:
        start = (num_starts - 1) // 2 if rng is None else int(draw_integers(rng, 0, num_starts))
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
    check_counts(num_frames, clip_length=clip_length, stride=stride, frame_stride=frame_stride)
    span = (clip_length - 1) * frame_stride + 1
    starts = np.arange(0, max(num_frames - span + 1, 1), stride, dtype=np.int64)
    indices = starts[:, None] + frame_stride * np.arange(clip_length, dtype=np.int64)
    return np.minimum(indices, num_frames - 1)
