"""From what a user calls videos to rows of numbers: batches of a bounded size, in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from internvideo.errors import VideoError
from internvideo.video import Video
from internvideo.video.opening import AnyVideo, read_views
from internvideo.video.preprocessing import Preprocessing

__all__ = ["BATCH_CLIPS", "answer_clips", "answer_views", "as_list", "raw_views"]

BATCH_CLIPS = 16
"""Clips that go through a model together."""


def answer_clips(
    model: nn.Module, function: Callable[[Tensor], Tensor], clips: Float[Tensor, "b c t y x"]
) -> Float[Tensor, "b k"]:
    """Apply a function of clips on the model's device, a bounded number of them at a time."""
    parameter = next(model.parameters())
    with torch.no_grad():
        parts = [
            function(part.to(parameter.device, parameter.dtype)).float().cpu()
            for part in clips.split(BATCH_CLIPS)
        ]
    return torch.cat(parts)


def answer_views(
    videos: Iterable[AnyVideo],
    protocol: Preprocessing,
    answer: Callable[[Float[Tensor, "b c t y x"]], Float[Tensor, "b k"]],
) -> Iterator[tuple[str, Float[Tensor, "v k"] | VideoError]]:
    """Yield name and result of each video, one row per view, or why it cannot be read.

    The views of several videos go through the model together; results keep their order.

    Args:
        videos: as a user names them; they are decoded a few ahead.
        protocol: frames, clips and crops, resolution.
        answer: from clips to rows on the CPU, see `answer_clips`.
    """
    waiting: list[tuple[str, Tensor | VideoError]] = []
    for item in read_views(videos, protocol):
        waiting.append(item)
        num_views = sum(len(views) for _, views in waiting if isinstance(views, Tensor))
        if num_views >= BATCH_CLIPS or len(waiting) >= 4 * BATCH_CLIPS:
            yield from _flush(waiting, answer)
            waiting = []
    yield from _flush(waiting, answer)


def _flush(
    waiting: list[tuple[str, Tensor | VideoError]], answer: Callable[[Tensor], Tensor]
) -> Iterator[tuple[str, Tensor | VideoError]]:
    good = [views for _, views in waiting if isinstance(views, Tensor)]
    rows = iter(answer(torch.cat(good)).split([len(v) for v in good]) if good else ())
    for name, views in waiting:
        yield name, (views if isinstance(views, VideoError) else next(rows))


def raw_views(
    frames: UInt8[Tensor, "b t h w c"], protocol: Preprocessing, *, fps: float | None
) -> Iterator[Iterator[Float[Tensor, "b c p y x"]]]:
    """Yield the views of a batch of raw clips, a bounded number of clips at a time.

    Args:
        frames: RGB clips of equal shape.
        protocol: which frames are picked, and how they are resized.
        fps: their frame rate, for a protocol that counts in seconds.
    """
    views = [
        (torch.from_numpy(picked), crop)
        for picked in protocol.sample(frames.shape[1], fps)
        for crop in range(protocol.num_crops)
    ]
    for part in frames.split(BATCH_CLIPS):
        yield (_one_view(part, protocol, picked, crop) for picked, crop in views)


def _one_view(
    frames: UInt8[Tensor, "b t h w c"], protocol: Preprocessing, picked: Tensor, crop: int
) -> Float[Tensor, "b c p y x"]:
    """Return one view of each clip of a batch: the picked frames through one crop."""
    chosen = rearrange(frames[:, picked], "b p h w c -> (b p) h w c")
    resized = protocol.resize(chosen, crop_index=crop)
    return protocol.normalize(rearrange(resized, "(b p) y x c -> b p y x c", p=len(picked)))


def as_list(videos: AnyVideo | Sequence[AnyVideo]) -> list[AnyVideo]:
    """Return one video or several as a list; five-dimensional frames are several clips."""
    if isinstance(videos, Tensor | np.ndarray):
        return list(videos) if videos.ndim == 5 else [videos]
    if isinstance(videos, str | bytes | os.PathLike | Video):
        return [cast(AnyVideo, videos)]
    return list(cast("Sequence[AnyVideo]", videos))
