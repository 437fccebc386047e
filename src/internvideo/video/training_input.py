"""Frames of a training clip on their way into a model: a half in the data worker, a half after it.

frames ──► prepare (worker, uint8) ──► batch ──► finish (device) ──► normalised clips
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
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
        """Return the frames at the input size, "video", and what `finish` must know of them."""
        if self.augmentation is None:
            return {"video": self.preprocessing.resize(frames)}
        drawn = self.augmentation.draw(frames.shape[1], frames.shape[2], rng=rng)
        tensors = self.augmentation.draw_tensors(drawn)
        return {"video": self.augmentation.cut(frames, drawn), **tensors}

    def finish(self, batch: dict[str, Tensor]) -> Float[Tensor, "b c t s s"]:
        """Return the normalised clips of a batch of what `prepare` gave."""
        if self.augmentation is None:
            return self.preprocessing.normalize(batch["video"])
        return self.augmentation.finish(batch["video"], batch)
