"""Supervised action recognition: fine-tune a video classifier on labelled clips.

    worker:  clip ──► repeats × (crop, resize)                        uint8, and what was drawn
    device:  ──► flip, normalise, erase ──► mixup or cutmix ──► classifier ──► soft cross-entropy

The recipe is that of the VideoMAE fine-tuning (arXiv 2203.12602): the copies of one decoded clip
stand next to each other in the batch, and a clip is mixed with its mirror image in the batch order.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from internvideo.data.samples import Sample
from internvideo.errors import ConfigError, DataError
from internvideo.models.classifier import VideoClassifier
from internvideo.models.uniformerv2_classifier import UniFormerV2Classifier
from internvideo.video.augment import Augmentation
from internvideo.video.mixup import draw_mixup, mix_clips, mix_labels
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.training_input import TrainingInput

__all__ = ["SupervisedRecognition", "class_label"]


class SupervisedRecognition(nn.Module):
    """Trains a classifier of videos on clips with a class each.

    Args:
        model: the classifier.
        preprocessing: frames per clip, resolution and pixel statistics.
        augmentation: of the training clips; None resizes them as the protocol does.
        label_smoothing: share of the target that is spread over all classes.
        mixup: alpha of mixup; 0 is none.
        cutmix: alpha of cutmix; 0 is none.
        mixup_prob: share of the batches that are mixed.
        mixup_switch_prob: share of cutmix among the mixed batches, where both are allowed.
        repeats: augmented copies of one decoded clip.

    Raises:
        ConfigError: the augmentation makes other clips than the protocol that they are tested with.
    """

    def __init__(
        self,
        model: VideoClassifier | UniFormerV2Classifier,
        preprocessing: Preprocessing,
        *,
        augmentation: Augmentation | None = None,
        label_smoothing: float = 0.1,
        mixup: float = 0.8,
        cutmix: float = 1.0,
        mixup_prob: float = 1.0,
        mixup_switch_prob: float = 0.5,
        repeats: int = 1,
    ) -> None:
        super().__init__()
        if augmentation is not None:
            _check_agreement(augmentation, preprocessing)
        self.model = model
        self.preprocessing = preprocessing
        self.input = TrainingInput(preprocessing, augmentation)
        self.label_smoothing = label_smoothing
        self.mixup = mixup
        self.cutmix = cutmix
        self.mixup_prob = mixup_prob
        self.mixup_switch_prob = mixup_switch_prob
        self.repeats = repeats

    @property
    def mixes(self) -> bool:
        """Whether batches are mixed at all."""
        return self.mixup_prob > 0 and (self.mixup > 0 or self.cutmix > 0)

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Return `repeats` copies: `video` "t s s c", `label`, and what was drawn for each.

        Raises:
            DataError: the sample has no label, or one outside the classes of the model.
        """
        label = torch.tensor(class_label(sample, self.model.config.num_classes))
        frames = torch.from_numpy(sample.frames)
        return [{**self.input.prepare(frames, rng), "label": label} for _ in range(self.repeats)]

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the cross-entropy; with it `top1`, the share of hits, unless clips are mixed."""
        video, labels = self.input.finish(batch), batch["label"]
        if self.mixes:
            return {"loss": self._mixed_loss(video, labels)}
        logits = self.model(video).float()
        hits = logits.detach().argmax(dim=1) == labels
        return {
            "loss": F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing),
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
            mixup=self.mixup,
            cutmix=self.cutmix,
            prob=self.mixup_prob,
            switch_prob=self.mixup_switch_prob,
            rng=rng,
        )
        targets = mix_labels(
            labels, self.model.config.num_classes, drawn, smoothing=self.label_smoothing
        )
        return F.cross_entropy(self.model(mix_clips(video, drawn)).float(), targets)


def _check_agreement(augmentation: Augmentation, preprocessing: Preprocessing) -> None:
    """Refuse an augmentation after which the test would be another than the training."""
    for name, own, other in (
        ("size", augmentation.size, preprocessing.crop_size),
        ("mean", augmentation.mean, preprocessing.mean),
        ("std", augmentation.std, preprocessing.std),
        ("channel order", augmentation.channel_order, preprocessing.channel_order),
    ):
        if own != other:
            raise ConfigError(
                f"the augmentation makes clips of {name} {own}, the protocol of the test of {name} "
                f"{other}; give both the same"
            )


def class_label(sample: Sample, num_classes: int) -> int:
    """Return the label of a sample.

    Raises:
        DataError: it has none, or one outside the classes.
    """
    if sample.label is None:
        raise DataError(
            f"{sample.key or 'a clip'} has no label; supervised learning needs a class number"
        )
    if not 0 <= sample.label < num_classes:
        raise DataError(
            f"{sample.key or 'a clip'} has the label {sample.label}; the model has {num_classes} "
            f"classes, numbered from 0 to {num_classes - 1}: check the list or model.num_classes"
        )
    return sample.label
