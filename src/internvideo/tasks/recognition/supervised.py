"""Supervised action recognition: fine-tune a video classifier on labelled clips.

    worker:  clip ──► repeats × (crop, resize)                        uint8, and what was drawn
    device:  ──► flip, normalise, erase ──► mixup or cutmix ──► classifier ──► soft cross-entropy

The recipe is that of the VideoMAE fine-tuning (arXiv 2203.12602): the copies of one decoded clip
stand next to each other in the batch, and a clip is mixed with its mirror image in the batch order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from internvideo.config import Fraction, NonNegative, config_class
from internvideo.data.balanced import BalancedClips
from internvideo.data.samples import ClipSource, Sample, class_label
from internvideo.errors import ConfigError
from internvideo.evaluation.arrays import from_numpy
from internvideo.models.classifier import VideoClassifier
from internvideo.models.uniformerv2_classifier import UniFormerV2Classifier
from internvideo.tasks.parts import Parts
from internvideo.train.task import TrainableTask
from internvideo.video.augment import Augmentation
from internvideo.video.mixup import draw_mixup, mix_clips, mix_labels
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.training_input import TrainingInput
from internvideo.zoo.labels import k710_rows
from internvideo.zoo.load import load_model
from internvideo.zoo.transfer import load_encoder_weights

if TYPE_CHECKING:
    from internvideo.data.samples import EvaluationSource

__all__ = ["SupervisedConfig", "SupervisedRecognition", "build"]

_K710_CLASSES = 710


@config_class
class SupervisedConfig:
    """Action recognition with a classifier: VideoMAE's, unmasked teacher's or UniFormerV2's."""

    kind: Literal["supervised"] = "supervised"
    label_smoothing: Fraction = Field(
        default=0.1, description="share of the target that is spread over all classes"
    )
    mixup: NonNegative = Field(default=0.8, description="alpha of mixup; 0: none")
    cutmix: NonNegative = Field(default=1.0, description="alpha of cutmix; 0: none")
    mixup_prob: Fraction = Field(default=1.0, description="share of the batches that are mixed")
    mixup_switch_prob: Fraction = Field(
        default=0.5, description="share of cutmix where both are allowed"
    )
    repeats: PositiveInt = Field(default=1, description="augmented copies of one decoded clip")
    balance: Literal["none", "loss", "sampler"] = Field(
        default="none",
        description="of rare classes: weigh their loss by one over their number, or draw their "
        "clips as often as those of others",
    )

    @property
    def mixes(self) -> bool:
        """Whether batches are mixed at all."""
        return self.mixup_prob > 0 and (self.mixup > 0 or self.cutmix > 0)


class SupervisedRecognition(TrainableTask[VideoClassifier | UniFormerV2Classifier]):
    """Trains a classifier of videos on clips with a class each."""

    def __init__(
        self,
        model: VideoClassifier | UniFormerV2Classifier,
        preprocessing: Preprocessing,
        config: SupervisedConfig,
        *,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__()
        if model.config.num_classes < 1:
            raise ConfigError("model.num_classes 0 is an encoder; training needs classes")
        self.model = model
        self.preprocessing = preprocessing
        self.config = config
        self.input = TrainingInput(preprocessing, augmentation)
        self._weights: Tensor | None = None  # of the classes, in the loss

    def over(self, source: ClipSource) -> ClipSource:
        """Return the clips, with `balance: sampler` in an order that has all classes alike."""
        if self.config.balance == "none":
            return source
        labelled = cast("EvaluationSource", source)  # as every source of a recipe is
        found = [labelled.label(index) for index in range(len(source))]
        labels = [label for label in found if label is not None]
        if len(labels) < len(found):
            raise ConfigError(f"task.balance={self.config.balance} needs a class for each clip")
        if self.config.balance == "sampler":
            return BalancedClips(source, labels)
        counts = torch.bincount(torch.tensor(labels), minlength=self.model.config.num_classes)
        present = counts.count_nonzero()
        self._weights = len(labels) / (present * counts.clamp(min=1))
        return source

    def _loss(self, logits: Float[Tensor, "b k"], target: Tensor, smoothing: float) -> Tensor:
        weights = None if self._weights is None else self._weights.to(logits.device)
        return F.cross_entropy(logits, target, weights, label_smoothing=smoothing)

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Return `repeats` copies: `video` "t s s c", `label`, and what was drawn for each.

        Raises:
            DataError: the sample has no label, or one outside the classes of the model.
        """
        label = torch.tensor(class_label(sample, self.model.config.num_classes))
        frames = from_numpy(sample.frames)
        return [
            {**self.input.prepare(frames, rng), "label": label} for _ in range(self.config.repeats)
        ]

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the cross-entropy; with it `top1`, the share of hits, unless clips are mixed."""
        video, labels = self.input.finish(batch), batch["label"]
        if self.config.mixes:
            return {"loss": self._mixed_loss(video, labels)}
        logits = self.model(video).float()
        hits = logits.detach().argmax(dim=1) == labels
        return {
            "loss": self._loss(logits, labels, self.config.label_smoothing),
            "top1": hits.float().mean(),
        }

    def _mixed_loss(
        self, video: Float[Tensor, "b c t y x"], labels: Int[Tensor, " b"]
    ) -> Float[Tensor, ""]:
        # Seeded by torch's generator, whose state is part of a checkpoint; on the host, so that
        # the step does not wait for the device.
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        drawn = draw_mixup(
            *video.shape[-2:],
            mixup=self.config.mixup,
            cutmix=self.config.cutmix,
            prob=self.config.mixup_prob,
            switch_prob=self.config.mixup_switch_prob,
            rng=rng,
        )
        targets = mix_labels(
            labels, self.model.config.num_classes, drawn, smoothing=self.config.label_smoothing
        )
        return self._loss(self.model(mix_clips(video, drawn)).float(), targets, 0.0)


def build(config: SupervisedConfig, parts: Parts) -> SupervisedRecognition:
    """Build the task of a recipe; its classifier starts from `init`."""
    model = parts.build_model()
    if parts.init_labels is None:
        parts.start_encoder(model)
    else:
        _start_with_head(model, parts.init, parts.init_labels)
    return SupervisedRecognition(
        model, parts.preprocessing, config, augmentation=parts.augmentation
    )


def _start_with_head(
    model: VideoClassifier | UniFormerV2Classifier, init: str | None, labels: str
) -> None:
    """Start a classifier from a Kinetics-710 one, and its head from the rows of these labels."""
    rows = k710_rows(labels)
    if init is None:
        raise ConfigError("init_labels keeps the head of `init`, but the recipe has no init")
    if len(rows) != model.config.num_classes:
        raise ConfigError(
            f"init_labels {labels} has {len(rows)} classes, model.num_classes is "
            f"{model.config.num_classes}"
        )
    outputs = getattr(load_model(init).model, "head", None)
    if getattr(outputs, "out_features", None) != _K710_CLASSES:
        raise ConfigError(
            f"init_labels takes rows of a head of {_K710_CLASSES} classes (Kinetics-710); "
            f"the model {init} has {getattr(outputs, 'out_features', 'none')}"
        )
    load_encoder_weights(model, init, head_rows=rows)
