"""Probing: train a small head on a frozen encoder, from clips or from features kept on disk."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.data.samples import Sample
from internvideo.models.probe import ProbeClassifier
from internvideo.tasks.recognition.supervised import class_label
from internvideo.video.preprocessing import Preprocessing

__all__ = ["FeatureSample", "ProbeRecognition"]


def _no_frames() -> np.ndarray:
    return np.zeros((0, 0, 0, 3), np.uint8)


@dataclass(frozen=True, slots=True)
class FeatureSample(Sample):
    """A clip of which only the frozen encoder's features are left; it has no frames.

    Attributes:
        features: "d" or "n d", as `ProbeClassifier.features` gives them.
    """

    frames: np.ndarray = field(default_factory=_no_frames)
    features: Float[Tensor, "*n d"] | None = None


class ProbeRecognition(nn.Module):
    """Trains the head of a `ProbeClassifier` on clips with a class each.

    Args:
        model: the frozen encoder with its head.
        preprocessing: frames per clip, resolution and pixel statistics.
        label_smoothing: share of the target that is spread over all classes.
    """

    def __init__(
        self,
        model: ProbeClassifier,
        preprocessing: Preprocessing,
        *,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.preprocessing = preprocessing
        self.label_smoothing = label_smoothing

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Return the features of a `FeatureSample`, or the frames "t s s c" of a clip; the label.

        Raises:
            DataError: the sample has no label, or one outside the classes of the model.
        """
        label = torch.tensor(class_label(sample, self.model.config.num_classes))
        if isinstance(sample, FeatureSample) and sample.features is not None:
            return [{"features": sample.features, "label": label}]
        clip = self.preprocessing.resize(torch.from_numpy(sample.frames))
        return [{"video": clip, "label": label}]

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the cross-entropy and `top1`, the share of hits."""
        if "features" in batch:
            features = batch["features"].float()
        else:
            features = self.model.features(self.preprocessing.normalize(batch["video"]))
        logits, labels = self.model.classify(features).float(), batch["label"]
        return {
            "loss": F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing),
            "top1": (logits.detach().argmax(dim=1) == labels).float().mean(),
        }
