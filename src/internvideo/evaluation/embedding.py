"""One vector of unit length for a video, whatever kind of model there is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from internvideo.errors import ConfigError, VideoError
from internvideo.evaluation.arrays import from_numpy
from internvideo.evaluation.engine import Answerer, Batch, Seen
from internvideo.evaluation.videos import ask_videos
from internvideo.models.contract import has
from internvideo.video.opening import AnyVideo
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo.hub import LoadedModel

__all__ = ["VideoEmbedder", "embed_frames", "embed_videos"]

_BATCH_CLIPS = 16


class VideoEmbedder(Answerer[Tensor]):
    """Embeds videos; the vectors of several views of one are averaged.

    Raises:
        ConfigError: the model has no video encoder.
    """

    def __init__(self, model: LoadedModel) -> None:
        super().__init__(model.model, model.protocol)
        if not has(model.model, "embed"):
            raise ConfigError(f"{model.name} does not embed videos")
        self.embed = model.model.embed

    def answer(self, batch: Batch) -> list[Float[Tensor, " d"]]:
        """Return a vector of unit length for each video."""
        return [F.normalize(rows.mean(dim=0), dim=0) for _, rows in batch.each(self.embed)]


def embed_videos(
    model: LoadedModel, videos: Iterable[AnyVideo]
) -> Iterator[Float[Tensor, " d"] | VideoError]:
    """Yield a vector of unit length for each video, or why it cannot be read."""
    return (vector for _, vector in ask_videos(VideoEmbedder(model), videos))


def embed_frames(
    model: LoadedModel, frames: UInt8[Tensor, "b t h w c"], *, fps: float | None
) -> Float[Tensor, "b d"]:
    """Return a vector of unit length for each RGB clip of a batch, its views averaged.

    Raises:
        ConfigError: the model has no video encoder, or the protocol needs the frame rate.
    """
    embedder = VideoEmbedder(model)
    protocol = embedder.protocol
    views = [
        (from_numpy(picked), crop)
        for picked in protocol.sample(frames.shape[1], fps)
        for crop in range(protocol.num_crops)
    ]
    means: list[Tensor] = []
    for start in range(0, len(frames), _BATCH_CLIPS):
        clips = frames[start : start + _BATCH_CLIPS]
        rows: list[Tensor] = []
        for picked, crop in views:
            seen = Seen("", _one_view(clips, protocol, picked, crop))
            [(_, vectors)] = Batch.of(embedder.network, [seen], len(clips)).each(embedder.embed)
            rows.append(vectors)
        means.append(torch.stack(rows).mean(dim=0))
    return F.normalize(torch.cat(means), dim=1)


def _one_view(
    frames: UInt8[Tensor, "b t h w c"], protocol: Preprocessing, picked: Tensor, crop: int
) -> Float[Tensor, "b c p y x"]:
    """Return one view of each clip of a batch: the picked frames through one crop."""
    chosen = rearrange(frames[:, picked], "b p h w c -> (b p) h w c")
    resized = protocol.resize(chosen, crop_index=crop)
    return protocol.normalize(rearrange(resized, "(b p) y x c -> b p y x c", p=len(picked)))
