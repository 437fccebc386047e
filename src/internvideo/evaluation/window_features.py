"""From a video of any length to its features: a vector for each window, in bounded memory."""

from __future__ import annotations

import torch
from torch import Tensor

from internvideo.data.features import FeatureSequence
from internvideo.evaluation.engine import Answerer, Seen, answers
from internvideo.video.opening import AnyVideo, open_video
from internvideo.video.read_ahead import in_background
from internvideo.video.windows import sliding_windows, spans

__all__ = ["window_features"]

_WINDOWS = 16  # encoded together


def window_features(
    answerer: Answerer[Tensor],
    video: AnyVideo,
    *,
    window: float,
    stride: float,
    fps: float | None = None,
) -> FeatureSequence:
    """Return a row for each whole window of a video; a video shorter than one has one row.

    The video is decoded once, in order, and each window is looked at through one clip and the
    central crop; windows start at regular distances, so the last frames may be in none.

    Args:
        answerer: makes a vector of a window, such as `VideoEmbedder`.
        video: as for `open_video`.
        window: its length in frames.
        stride: frames from one window to the next.
        fps: frames per second that both count; None counts the frames of the video. They are
            rounded to whole frames of the video, which the result says.

    Raises:
        VideoError: the video cannot be read to its end.
        ConfigError: a length or stride that is not positive.
    """
    protocol = answerer.protocol
    with open_video(video) as (name, opened):
        scale = 1.0 if fps is None else 1.0 / fps
        plan = spans(
            opened, protocol, window=window * scale, stride=stride * scale, in_frames=fps is None
        ).regular()
        windows = in_background(sliding_windows(opened, protocol, plan), depth=2 * _WINDOWS)
        seen = (
            Seen(name, each.clip[None], number, each.start, each.end)
            for number, each in enumerate(windows)
        )
        rows = [row for _, row in answers(answerer, seen, batch_size=_WINDOWS)]
        return FeatureSequence(
            features=torch.stack([row for row in rows if isinstance(row, Tensor)]),
            fps=opened.fps,
            stride=plan.stride,
            window=plan.length,
            duration=opened.num_frames / opened.fps,
            source=name,
        )
