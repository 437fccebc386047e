"""Probing: train a small head on a frozen encoder, from clips or from features kept on disk."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import Tensor

from internvideo.config import Fraction, config_class
from internvideo.data.samples import Sample, class_label
from internvideo.errors import ConfigError
from internvideo.evaluation.arrays import from_numpy
from internvideo.models.probe import ProbeClassifier
from internvideo.tasks.frozen_features import FeatureSample
from internvideo.tasks.parts import Parts
from internvideo.train.task import TrainableTask
from internvideo.video.preprocessing import Preprocessing

__all__ = ["ProbeConfig", "ProbeRecognition", "build"]


@config_class
class ProbeConfig:
    """Action recognition on a frozen encoder: how much do its features already know?"""

    kind: Literal["probe"] = "probe"
    head: Literal["linear", "attentive"] = "linear"
    batch_norm: bool = Field(default=True, description="without affine, before a linear head")
    num_heads: PositiveInt = Field(default=8, description="of the attentive head")
    label_smoothing: Fraction = 0.0


class ProbeRecognition(TrainableTask[ProbeClassifier]):
    """Trains the head of a `ProbeClassifier` on clips with a class each."""

    def __init__(
        self, model: ProbeClassifier, preprocessing: Preprocessing, config: ProbeConfig
    ) -> None:
        super().__init__()
        self.model = model
        self.preprocessing = preprocessing
        self.config = config

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Return the features of a `FeatureSample`, or the frames "t s s c" of a clip; the label.

        Raises:
            DataError: the sample has no label, or one outside the classes of the model.
        """
        label = torch.tensor(class_label(sample, self.model.config.num_classes))
        if isinstance(sample, FeatureSample):
            return [{**sample.features, "label": label}]
        clip = self.preprocessing.resize(from_numpy(sample.frames))
        return [{"video": clip, "label": label}]

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the cross-entropy and `top1`, the share of hits."""
        if "features" in batch:
            features = batch["features"].float()
        else:
            features = self.model.features(self.preprocessing.normalize(batch["video"]))
        logits, labels = self.model.classify(features).float(), batch["label"]
        return {
            "loss": F.cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing),
            "top1": (logits.detach().argmax(dim=1) == labels).float().mean(),
        }


def build(config: ProbeConfig, parts: Parts) -> ProbeRecognition:
    """Build the task of a recipe; the frozen encoder has the weights of `init`."""
    parts.refuse("augmentation", "init_labels")
    head = {"head": config.head, "batch_norm": config.batch_norm, "num_heads": config.num_heads}
    if twice := head.keys() & parts.model.keys():
        raise ConfigError(f"model.{min(twice)} belongs to the task of a probe: task.{min(twice)}")
    model = parts.build_model(head)
    parts.start_encoder(model)
    return ProbeRecognition(model, parts.preprocessing, config)
