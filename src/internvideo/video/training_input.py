"""Frames of a training clip on their way into a model: a half in the data worker, a half after it.

frames ──► prepare (worker, uint8) ──► batch ──► finish (device) ──► normalised clips
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from internvideo.video.augment import Augmentation
from internvideo.video.preprocessing import Preprocessing

__all__ = ["TrainingInput"]


@dataclass(frozen=True, slots=True)
class TrainingInput:
    """How training clips are cropped and normalised.

    Attributes:
        preprocessing: the input protocol of the model.
        augmentation: what is drawn for each clip; None resizes as `preprocessing` says.
    """

    preprocessing: Preprocessing
    augmentation: Augmentation | None = None

    def prepare(
        self, frames: UInt8[Tensor, "t h w c"], rng: np.random.Generator
    ) -> dict[str, Tensor]:
        """Return the frames at the input size, "video", and what `finish` must know of them.

        Where the protocol takes frames by the clock, clips too short for it are filled up, and
        "frame_mask" (t,) tells which frames are of the video.
        """
        if self.augmentation is None:
            prepared = {"video": self.preprocessing.resize(frames)}
        else:
            drawn = self.augmentation.draw(frames.shape[1], frames.shape[2], rng=rng)
            prepared = {"video": self.augmentation.cut(frames, drawn)}
            prepared |= self.augmentation.draw_tensors(drawn)
        if self.preprocessing.is_timed:
            video, length = prepared["video"], self.preprocessing.num_frames
            padding = video.new_zeros(length - len(video), *video.shape[1:])
            prepared["video"] = torch.cat([video, padding])
            prepared["frame_mask"] = torch.arange(length) < len(video)
        return prepared

    def finish(self, batch: dict[str, Tensor]) -> Float[Tensor, "b c t s s"]:
        """Return the normalised clips of a batch of what `prepare` gave; padding is zero."""
        if self.augmentation is None:
            clips = self.preprocessing.normalize(batch["video"])
        else:
            clips = self.augmentation.finish(batch["video"], batch)
        if "frame_mask" in batch:
            clips.masked_fill_(~batch["frame_mask"][:, None, :, None, None], 0)
        return clips
