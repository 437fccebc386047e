"""One vector of unit length for a video, whatever kind of model there is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from internvideo.errors import ConfigError, VideoError
from internvideo.models.contract import has
from internvideo.pipeline.clips import answer_clips, answer_views, raw_views
from internvideo.video.preprocessing import Preprocessing
from internvideo.views import AnyVideo

__all__ = ["embed_frames", "embed_videos"]


def embed_videos(
    model: nn.Module, videos: Iterable[AnyVideo], protocol: Preprocessing, *, name: str
) -> Iterator[Float[Tensor, "d"] | VideoError]:
    """Yield a vector of unit length for each video, its views averaged, or why it cannot be read.

    Args:
        model: of the zoo.
        videos: as a user names them; they are decoded a few ahead.
        protocol: frames, clips and crops, resolution.
        name: of the model, for messages.

    Raises:
        ConfigError: the model has no video encoder.
    """
    for _, vectors in answer_views(videos, protocol, _answer(model, name)):
        if isinstance(vectors, VideoError):
            yield vectors
        else:
            yield F.normalize(vectors.mean(dim=0), dim=0)


def embed_frames(
    model: nn.Module,
    frames: UInt8[Tensor, "b t h w c"],
    protocol: Preprocessing,
    *,
    fps: float | None,
    name: str,
) -> Float[Tensor, "b d"]:
    """Return a vector of unit length for each clip of a batch of raw frames, its views averaged.

    Args:
        model: of the zoo.
        frames: RGB clips of equal shape.
        protocol: which frames are picked, and how they are resized.
        fps: their frame rate, for a protocol that counts in seconds.
        name: of the model, for messages.

    Raises:
        ConfigError: the model has no video encoder, or the protocol needs the frame rate.
    """
    answer = _answer(model, name)
    parts = [
        torch.stack([answer(view) for view in views]).mean(dim=0)
        for views in raw_views(frames, protocol, fps=fps)
    ]
    return F.normalize(torch.cat(parts), dim=1)


def _answer(model: nn.Module, name: str) -> Callable[[Tensor], Tensor]:
    """Return the function from clips on any device to their vectors on the CPU."""
    if not has(model, "embed"):
        raise ConfigError(f"{name} gives no embeddings of videos")
    return partial(answer_clips, model, model.embed)
