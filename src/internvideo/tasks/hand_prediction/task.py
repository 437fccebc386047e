"""Training the prediction of hands, as InternVideo-Ego4D does it.

    worker:  a random frame of each part of the clip ──► augmentation      uint8 or float
    device:  ──► normalise, erase ──► twenty numbers ──► a loss over the annotated ones

COMPAT: the hands stay where they are annotated, in pixels, wherever a crop moves the picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from internvideo.config import config_class
from internvideo.data.samples import EvaluationSource, Sample
from internvideo.data.untrimmed import UntrimmedSource, UntrimmedVideo
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.arrays import from_numpy
from internvideo.models.uniformer_video import UniFormerVideo
from internvideo.tasks.hand_prediction.losses import hand_loss
from internvideo.tasks.hand_prediction.metric import NUM_COORDINATES, mean_hands, targets_of
from internvideo.tasks.parts import Parts
from internvideo.train.task import TrainableTask
from internvideo.video.augment import Augmentation
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.sampling import segment_indices
from internvideo.video.training_input import TrainingInput

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["HandPrediction", "HandPredictionConfig", "annotated_clips", "build"]


@config_class
class HandPredictionConfig:
    """Where both hands will be at five key frames after a clip."""

    kind: Literal["hand-prediction"] = "hand-prediction"
    start_at_mean: bool = Field(
        default=False,
        description="begin with the mean place of each hand in the training clips, not with 0, 0",
    )


class HandPrediction(TrainableTask[UniFormerVideo]):
    """Trains a `UniFormerVideo` on clips with hands."""

    def __init__(
        self,
        model: UniFormerVideo,
        preprocessing: Preprocessing,
        augmentation: Augmentation | None = None,
        *,
        start_at_mean: bool = False,
    ) -> None:
        super().__init__()
        if model.config.num_classes != NUM_COORDINATES:
            raise ConfigError(
                f"model.num_classes is {model.config.num_classes}; the places of hands are "
                f"{NUM_COORDINATES} numbers"
            )
        if augmentation is not None and augmentation.flip_probability:
            raise ConfigError("hands have sides: augmentation.flip_probability must be 0")
        self.model = model
        self.start_at_mean = start_at_mean
        self.preprocessing = preprocessing
        self.input = TrainingInput(preprocessing, augmentation)

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Return `video` "t s s c", `hands` "20" in pixels, and which are `annotated`.

        Raises:
            VideoError: the clip cannot be read.
            ConfigError: the sample is no annotated video.
        """
        if not isinstance(sample, UntrimmedVideo):
            raise ConfigError(_KIND)
        with sample.video as video:
            length = self.preprocessing.num_frames
            frames = video.frames(segment_indices(video.num_frames, clip_length=length, rng=rng))
        targets = from_numpy(targets_of(sample.annotation).astype(np.float32))
        shown = (targets.reshape(-1, 2) != 0).any(dim=1, keepdim=True).expand(-1, 2).reshape(-1)
        inputs = self.input.prepare(frames, rng)
        return [{**inputs, "hands": targets, "annotated": shown.float()}]

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the mean loss of an annotated coordinate."""
        found = self.model(self.input.finish(batch)).float()
        return {"loss": hand_loss(found, batch["hands"], batch["annotated"])}


_KIND = "hands are predicted after annotated clips: data.kind must be untrimmed"


def build(config: HandPredictionConfig, parts: Parts) -> HandPrediction:
    """Build the task of a recipe; its network starts from `init`, another UniFormer.

    Raises:
        ConfigError: the recipe does not fit hands.
        CheckpointError: the weights cannot be read, or are of another shape.
    """
    parts.refuse("init_labels")
    model: Any = parts.build_model()
    parts.start_encoder(model)
    return HandPrediction(
        model, parts.preprocessing, parts.augmentation, start_at_mean=config.start_at_mean
    )


def annotated_clips(
    task: HandPrediction,
    source: EvaluationSource,
    directory: Path,
    *,
    num_workers: int,
    fabric: Fabric,
) -> UntrimmedSource:
    """Check that the clips are annotated; one without hands teaches nothing, and is kept.

    Where the task asks for it, its model begins with their mean hands.

    Raises:
        DataError: no clip has any.
        ConfigError: the data are no annotated videos.
    """
    del directory, num_workers, fabric
    if not isinstance(source, UntrimmedSource):
        raise ConfigError(_KIND)
    if not any(video.hands for video in source.annotated.videos):
        raise DataError(f"{source.annotated.file} has no hands in {len(source)} clips")
    if task.start_at_mean:
        targets = np.stack([targets_of(video) for video in source.annotated.videos])
        with torch.no_grad():
            task.model.head.bias.copy_(from_numpy(mean_hands(targets)))
    return source
