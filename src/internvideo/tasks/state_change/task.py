"""Training a detector on key frames: DINO's objective, as InternVideo-Ego4D trains it.

Source: the configurations `dino_5scale_*_8x2_12e_scod` of ego4d-eccv2022-solutions.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor

from internvideo.config import Fraction, config_class
from internvideo.data.samples import EvaluationSource, Sample
from internvideo.data.untrimmed import UntrimmedSource, UntrimmedVideo
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.arrays import as_list
from internvideo.formats.ego4d_scod import key_time
from internvideo.models.dino import DINO
from internvideo.models.vit_pyramid import VideoViTPyramid
from internvideo.tasks.parts import Parts
from internvideo.tasks.state_change.denoising import DenoisingConfig, noisy_queries
from internvideo.tasks.state_change.losses import LossWeights, TrueBoxes, detection_losses, total
from internvideo.tasks.state_change.pictures import DIVISOR, fitted, key_frame
from internvideo.train.task import TrainableTask
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.transforms import resize
from internvideo.zoo.transfer import load_weights, read_weights

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["StateChange", "StateChangeConfig", "annotated_pictures", "build"]

_CLASSIFIERS = ("bbox_head.cls_branches.", "bbox_head.label_embedding.")


@config_class
class StateChangeConfig:
    """Detection of the object that changes its state, in key frames."""

    kind: Literal["state-change"] = "state-change"
    short_sides: tuple[PositiveInt, PositiveInt] = Field(
        default=(800, 1600), description="of training pictures, in pixels: the least and the most"
    )
    long_side: PositiveInt = Field(default=2000, description="of training pictures, at most")
    flip: Fraction = Field(default=0.5, description="share of pictures that are mirrored")
    max_boxes: PositiveInt = Field(default=100, description="in one picture")
    weights: LossWeights = LossWeights()
    denoising: DenoisingConfig = DenoisingConfig()

    def __post_init__(self) -> None:
        low, high = self.short_sides
        if not low <= high <= self.long_side:
            raise ConfigError(
                f"task.short_sides {low} to {high} and task.long_side {self.long_side}: expected "
                "them to grow"
            )


class StateChange(TrainableTask[DINO]):
    """Trains a `DINO` on key frames with boxes."""

    def __init__(
        self, model: DINO, config: StateChangeConfig, preprocessing: Preprocessing
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.preprocessing = preprocessing

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Return a picture at a random size, mirrored or not, and its boxes in pixels.

        All pictures are as large as the largest may be, with zeros below and on the right.

        Raises:
            VideoError: the key frame cannot be read.
            ConfigError: the sample is no annotated video.
            DataError: the picture has too many boxes.
        """
        if not isinstance(sample, UntrimmedVideo):
            raise ConfigError("state changes are found in key frames: data.kind must be untrimmed")
        config, annotation = self.config, sample.annotation
        if len(annotation.boxes) > config.max_boxes:
            raise DataError(
                f"{sample.key} has {len(annotation.boxes)} boxes, task.max_boxes is "
                f"{config.max_boxes}; raise it"
            )
        with sample.video as video:
            frame = key_frame(video, key_time(annotation))
        short = float(rng.integers(config.short_sides[0], config.short_sides[1] + 1))
        height, width = fitted((frame.shape[0], frame.shape[1]), short, config.long_side)
        picture = resize(frame[None], (height, width), exact=False)[0].permute(2, 0, 1)
        sides = torch.tensor([box.box for box in annotation.boxes]).reshape(-1, 4)
        if rng.random() < config.flip:
            picture = picture.flip(2)
            sides = torch.stack([1 - sides[:, 2], sides[:, 1], 1 - sides[:, 0], sides[:, 3]], dim=1)
        extent = sides.new_tensor([width, height] * 2)
        count, canvas = len(sides), -(-config.long_side // DIVISOR) * DIVISOR
        image = picture.new_zeros(3, canvas, canvas)
        image[:, :height, :width] = picture
        boxes, labels = torch.zeros(config.max_boxes, 4), torch.zeros(config.max_boxes).long()
        boxes[:count] = sides.clamp(0, 1) * extent
        labels[:count] = torch.tensor([box.labels[0] for box in annotation.boxes])
        return [
            {
                "image": image,
                "boxes": boxes,
                "labels": labels,
                "host_size": torch.tensor([height, width]),
                "host_count": torch.tensor(count),
            }
        ]

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the sum of the losses of all layers, and those of the last layer."""
        sizes = [tuple(size) for size in as_list(batch["host_size"])]
        counts = as_list(batch["host_count"])
        height, width = (-(-max(side) // DIVISOR) * DIVISOR for side in zip(*sizes, strict=True))
        frames = batch["image"][:, :, :height, :width].permute(0, 2, 3, 1)
        shown = torch.zeros(len(sizes), height, width, dtype=torch.bool, device=frames.device)
        for number, (h, w) in enumerate(sizes):
            shown[number, :h, :w] = True
        images = self._normalised(frames) * shown[:, None]
        true = [
            TrueBoxes(batch["boxes"][n, :count], batch["labels"][n, :count], size)
            for n, (count, size) in enumerate(zip(counts, sizes, strict=True))
        ]
        noisy = None
        if self.config.denoising.num_queries:
            noisy = noisy_queries(self.model, true, self.config.denoising)
        found = self.model(images, shown, noisy.queries if noisy else None)
        losses = detection_losses(found, true, self.config.weights, noisy)
        loss = total(losses)
        if noisy is None:  # a parameter without any gradient would stop several processes
            loss = loss + 0 * self.model.bbox_head.label_embedding.weight.sum()
        names = {"classes": "loss_cls", "boxes": "loss_bbox", "overlaps": "loss_iou"}
        return {"loss": loss, **{own: losses[name].detach() for own, name in names.items()}}

    def _normalised(self, frames: Tensor) -> Float[Tensor, "b c y x"]:
        return self.preprocessing.normalize(frames[:, None])[:, :, 0]


def build(config: StateChangeConfig, parts: Parts) -> StateChange:
    """Build the task of a recipe.

    Its detector starts from `init`, another DINO; a backbone that is a `VideoViT` also from any
    video encoder that `transfer` takes.

    Raises:
        CheckpointError: the weights cannot be read, or are of another shape. Other classes are
            learnt anew.
    """
    parts.refuse("augmentation", "init_labels")
    model = parts.build_model()
    if parts.init is not None:
        of_videos = isinstance(model.backbone, VideoViTPyramid)
        start = read_weights(parts.init, as_start=of_videos)
        if of_videos and (start.architecture is None or start.architecture.model is not DINO):
            parts.start_encoder(model)
            return StateChange(model, config, parts.preprocessing)
        given, own = dict(start.state), model.state_dict()
        fresh = [
            name
            for name in own
            if name.startswith(_CLASSIFIERS)
            and name in given
            and given[name].shape != own[name].shape
        ]
        given = {name: tensor for name, tensor in given.items() if name not in fresh}
        load_weights(model, given, parts.init, fresh=fresh)
    return StateChange(model, config, parts.preprocessing)


def annotated_pictures(
    task: StateChange,
    source: EvaluationSource,
    directory: Path,
    *,
    num_workers: int,
    fabric: Fabric,
) -> UntrimmedSource:
    """Leave out the pictures without boxes, as published.

    Raises:
        DataError: no picture has boxes, or a box has a class that the detector does not know.
        ConfigError: the data are no annotated videos.
    """
    del directory, num_workers, fabric
    if not isinstance(source, UntrimmedSource):
        raise ConfigError("state changes are learnt from key frames: data.kind must be untrimmed")
    annotated, num_classes = source.annotated, task.model.config.num_classes
    videos = tuple(video for video in annotated.videos if video.boxes)
    if not videos:
        raise DataError(f"{annotated.file} has no boxes in {len(annotated.videos)} pictures")
    for video in videos:
        unknown = [label for box in video.boxes for label in box.labels if label >= num_classes]
        if unknown:
            raise DataError(
                f"{annotated.file}: {os.fspath(video.path)} has a box of the class {unknown[0]}, "
                f"the detector has {num_classes}; set model.num_classes"
            )
    return UntrimmedSource(replace(annotated, videos=videos))
