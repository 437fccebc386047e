"""Training the interaction of two frozen encoders for action recognition.

    worker:  clip ──► crop, resize ──► uint8            (or what the frozen encoders gave for it)
    device:  ──► 0..1 ──► InternVideo ──► cross-entropy of the logits [+ of both encoders' alone]

Stage 1 trains each encoder alone, by its own recipe; the classes must be the same, or are rows of a
Kinetics-710 head (`init_labels`).

Source: InternVideo (arXiv 2212.03191), section 3.4: the loss is that of recognition alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from internvideo.config import Fraction, NonNegative, config_class, config_to_dict, merged
from internvideo.data.samples import ClipSource, EvaluationSource, Sample, class_label
from internvideo.errors import ConfigError
from internvideo.evaluation.arrays import from_numpy
from internvideo.models.interaction import SIZES, InternVideo
from internvideo.tasks.frozen_features import FeatureSample, cached_clips
from internvideo.tasks.interaction.towers import describe_tower, start_tower
from internvideo.tasks.parts import Parts
from internvideo.train.task import TrainableTask
from internvideo.video.augment import Augmentation
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.training_input import TrainingInput

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["InteractionConfig", "InteractionTraining", "build", "clips", "describe"]

_TOWERS = ("masked", "multimodal", "third")


@config_class
class InteractionConfig:
    """Two frozen encoders that learn to look at each other, for action recognition."""

    kind: Literal["interaction"] = "interaction"
    masked: str = Field(description="the encoder whose tokens ask: any model with features")
    multimodal: str = Field(description="the encoder that is asked: any model with features")
    third: str | None = Field(
        default=None, description="a classifier whose logits are averaged with theirs"
    )
    label_smoothing: Fraction = 0.0
    single_weight: NonNegative = Field(
        default=0.0, description="of the cross-entropy of each encoder's own logits"
    )
    keep_features: bool = Field(
        default=False,
        description="run the encoders once over the clips and keep what they give; needs "
        "model.wiring=side, model.train_query=false and no augmentation",
    )


class InteractionTraining(TrainableTask[InternVideo]):
    """Trains what lies between the encoders of an `InternVideo`, on clips with a class each."""

    def __init__(
        self,
        model: InternVideo,
        preprocessing: Preprocessing,
        config: InteractionConfig,
        *,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.preprocessing = preprocessing
        self.config = config
        self.input = TrainingInput(preprocessing, augmentation)

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Return the features of a `FeatureSample`, or the frames "t s s c" of a clip; the label.

        Raises:
            DataError: the sample has no label, or one outside the classes of the model.
        """
        label = torch.tensor(class_label(sample, self.model.config.num_classes))
        if isinstance(sample, FeatureSample):
            return [{**sample.features, "label": label}]
        return [{**self.input.prepare(from_numpy(sample.frames), rng), "label": label}]

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the cross-entropy, `top1`, and the share of the masked encoder's logits."""
        model, labels = self.model, batch["label"]
        kept = {name: each for name, each in batch.items() if name.partition(".")[0] in _TOWERS}
        found = model.fuse(model.recall(kept) if kept else model.see(self.input.finish(batch)))
        smoothing = self.config.label_smoothing

        def fit(logits: Tensor) -> Tensor:
            return F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)

        loss = fit(found.logits)
        if self.config.single_weight:
            single = fit(found.masked_logits) + fit(found.multimodal_logits)
            loss = loss + self.config.single_weight * single
        hits = found.logits.detach().argmax(dim=1) == labels
        share = model.alpha.detach().sigmoid()
        return {"loss": loss, "top1": hits.float().mean(), "masked_share": share}


def describe(config: InteractionConfig, model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the section `model` with the shapes of the encoders, where it has none yet.

    Raises:
        ConfigError: no number of classes, or a model that cannot be an encoder here.
    """
    if "masked" in model:
        return dict(model)
    if not isinstance(model.get("num_classes"), int):
        raise ConfigError("model.num_classes is missing: how many classes do the labels have?")
    if (shape := SIZES.get(model.get("size", ""))) is not None:
        whole = config_to_dict(shape.with_classes(model["num_classes"]))
        return merged(whole, {key: value for key, value in model.items() if key != "size"})
    towers = {name: getattr(config, name) for name in _TOWERS}
    shapes = {
        name: describe_tower(source, model["num_classes"])
        for name, source in towers.items()
        if source is not None
    }
    return {**model, **shapes}


def build(config: InteractionConfig, parts: Parts) -> InteractionTraining:
    """Build the task of a recipe; its encoders have the weights of the models that it names."""
    if parts.init is not None:
        raise ConfigError(
            "the task 'interaction' takes no init: task.masked and task.multimodal name its models"
        )
    model: InternVideo = parts.build_model()
    shape, protocol = model.config, parts.preprocessing
    if protocol.mean != (0, 0, 0) or protocol.std != (1, 1, 1) or protocol.channel_order != "rgb":
        raise ConfigError(
            "an InternVideo normalises clips itself, for each encoder: preprocessing needs mean "
            "[0, 0, 0], std [1, 1, 1] and rgb, as the preset 'interaction' has"
        )
    if (protocol.num_frames, protocol.crop_size) != (shape.num_frames, shape.image_size):
        raise ConfigError(
            f"the encoders take {shape.num_frames} frames of {shape.image_size} pixels, the "
            f"preprocessing gives {protocol.num_frames} of {protocol.crop_size}: set preprocessing"
            ".num_frames, .crop_size and .resize_size"
        )
    if config.keep_features:
        if shape.wiring != "side" or model.query is not None:
            raise ConfigError(
                "task.keep_features needs model.wiring=side and, with a UniFormerV2, "
                "model.train_query=false: else training changes what the encoders give"
            )
        if parts.augmentation is not None:
            raise ConfigError("task.keep_features sees each clip once: remove augmentation")
    if parts.with_weights:
        for name in _TOWERS:
            if (source := getattr(config, name)) is not None:
                start_tower(model, name, source, parts.init_labels)
    return InteractionTraining(model, protocol, config, augmentation=parts.augmentation)


def clips(
    task: InteractionTraining,
    source: EvaluationSource,
    directory: Path,
    *,
    num_workers: int,
    fabric: Fabric,
) -> ClipSource:
    """Return the clips, or where the recipe says so what the encoders give for them."""
    if not task.config.keep_features:
        return source
    return cached_clips(task, source, directory, num_workers=num_workers, fabric=fabric)
