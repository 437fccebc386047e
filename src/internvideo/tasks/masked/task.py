"""Masked video modelling: hide most of a clip, reconstruct it (VideoMAE, arXiv 2203.12602).

With a decoder mask only a part of the clip is reconstructed (dual masking, VideoMAE V2, arXiv
2303.16727), and with repeats one decoded clip serves several times.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from pydantic import Field, PositiveInt
from torch import Tensor

from internvideo.config import Fraction, config_class
from internvideo.data.samples import Sample
from internvideo.evaluation.arrays import from_numpy
from internvideo.models.tubelets import TokenSplit, split_mask, tubelet_grid
from internvideo.models.videomae import VideoMAE
from internvideo.tasks.masked.masking import DecoderMaskKind, MaskKind, draw_decoder_mask, draw_mask
from internvideo.tasks.parts import Parts
from internvideo.train.task import TrainableTask
from internvideo.video.augment import Augmentation
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.training_input import TrainingInput

__all__ = ["MaskedConfig", "MaskedPretraining", "build"]


@config_class
class MaskedConfig:
    """Masked video modelling with a `VideoMAE`."""

    kind: Literal["masked"] = "masked"
    mask: MaskKind = Field(
        default="tube",
        description='"tube" hides the same places in all frames (the paper), "random" any tokens',
    )
    mask_ratio: Fraction = Field(default=0.9, description="share of the tokens that is hidden")
    decoder_mask: DecoderMaskKind = Field(
        default="none", description="dual masking (VideoMAE V2): which places are reconstructed"
    )
    decoder_mask_ratio: Fraction = Field(
        default=0.5, description="share that dual masking leaves out: 0.25, 0.5 or 0.75"
    )
    repeats: PositiveInt = Field(
        default=1, description="crops, each with its own mask, of one decoded clip"
    )


class MaskedPretraining(TrainableTask[VideoMAE]):
    """Trains a `VideoMAE` to predict the pixels of masked tokens.

    Raises:
        ConfigError: the masks do not fit the model's grid of tokens, or leave nothing to learn.
    """

    def __init__(
        self,
        model: VideoMAE,
        preprocessing: Preprocessing,
        config: MaskedConfig,
        *,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.preprocessing = preprocessing
        self.config = config
        self.input = TrainingInput(preprocessing, augmentation)
        self._masks(model.config.mask_grid, np.random.default_rng(0))  # refuses what cannot work

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Return for each repeat the frames "t h w c", and which tokens are "visible" and "masked".

        With a decoder mask, also which are "reconstructed" and "skipped". They are indices, whose
        number is known without reading a mask, so that the step never waits for the device.
        """
        frames, model = from_numpy(sample.frames), self.model.config
        copies: list[dict[str, Tensor]] = []
        for crop in self._crops(frames, rng):
            grid = tubelet_grid(
                crop["video"].permute(3, 0, 1, 2)[None],
                tubelet_size=model.encoder.tubelet_size,
                patch_size=model.mask_patch,
            )
            copies.append({**crop, **self._masks(grid, rng)})
        return copies

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the mean squared error over masked tokens."""
        video = self.input.finish(batch)
        decoded = None
        if self.config.decoder_mask != "none":
            decoded = TokenSplit(batch["reconstructed"], batch["skipped"])
        split = TokenSplit(batch["visible"], batch["masked"])
        return {"loss": self.model(video, split, decoded).loss}

    def _crops(self, frames: Tensor, rng: np.random.Generator) -> Iterator[dict[str, Tensor]]:
        if self.input.augmentation is None:  # all are equal: resized once
            yield from [self.input.prepare(frames, rng)] * self.config.repeats
            return
        for _ in range(self.config.repeats):
            yield self.input.prepare(frames, rng)

    def _masks(self, grid: tuple[int, int, int], rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw the masks of one clip, as indices of tokens."""
        config = self.config
        visible, masked = _indices(draw_mask(grid, config.mask_ratio, kind=config.mask, rng=rng))
        if config.decoder_mask == "none":
            return {"visible": visible, "masked": masked}
        left_out = draw_decoder_mask(grid, config.decoder_mask_ratio, rng=rng)
        reconstructed, skipped = _indices(left_out)
        return {
            "visible": visible,
            "masked": masked,
            "reconstructed": reconstructed,
            "skipped": skipped,
        }


def _indices(mask: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return the indices of the False and of the True tokens of one clip."""
    split = split_mask(from_numpy(mask)[None])
    return split.visible[0], split.masked[0]


def build(config: MaskedConfig, parts: Parts) -> MaskedPretraining:
    """Build the task of a recipe; the encoder starts from `init`."""
    parts.refuse("init_labels")
    model = parts.build_model()
    task = MaskedPretraining(model, parts.preprocessing, config, augmentation=parts.augmentation)
    parts.start_encoder(model)
    return task
