"""Masked video modelling: hide most of a clip, reconstruct it (VideoMAE, arXiv 2203.12602)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from internvideo.data.samples import Sample
from internvideo.models.tubelets import TokenSplit, split_mask
from internvideo.models.videomae import VideoMAE
from internvideo.video.masks import random_mask, tube_mask
from internvideo.video.preprocessing import Preprocessing

__all__ = ["MaskedPretraining"]


class MaskedPretraining(nn.Module):
    """Trains a `VideoMAE` to predict the pixels of masked tokens.

    Args:
        model: the masked autoencoder.
        preprocessing: frames per clip, resolution and pixel statistics.
        mask: "tube" hides the same places in all frames (the paper), "random" any tokens.
        mask_ratio: share of tokens hidden from the encoder.
    """

    def __init__(
        self,
        model: VideoMAE,
        preprocessing: Preprocessing,
        *,
        mask: Literal["tube", "random"] = "tube",
        mask_ratio: float = 0.9,
    ) -> None:
        super().__init__()
        self.model = model
        self.preprocessing = preprocessing
        self.mask = mask
        self.mask_ratio = mask_ratio

    def prepare(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        """Return resized uint8 frames `(T, H, W, C)` and the visible and the masked token indices.

        Indices, because their number is known without reading a mask: the step then never makes
        the host wait for the device.
        """
        grid = self.model.config.encoder.grid
        draw = tube_mask if self.mask == "tube" else random_mask
        split = split_mask(torch.from_numpy(draw(grid, self.mask_ratio, rng=rng))[None])
        return {
            "video": self.preprocessing.resize(torch.from_numpy(sample.frames)),
            "visible": split.visible[0],
            "masked": split.masked[0],
        }

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the mean squared error over masked tokens."""
        video = self.preprocessing.normalize(batch["video"])
        split = TokenSplit(batch["visible"], batch["masked"])
        return {"loss": self.model(video, split).loss}
