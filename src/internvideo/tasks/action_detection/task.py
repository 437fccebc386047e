"""Training an action detector: clips around key frames, boxes that are moved at random.

    worker:  frames, boxes ──► short side ──► crop, colours, mirror ──► moved boxes      uint8
    device:  ──► normalise ──► detector ──► a loss over the classes of each box

Source: the fine-tuning of VideoMAE for AVA (fixtures `stal-vit`, `stal-transform-train`).
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (tensors leave the types of their lists open)

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor

from internvideo.annotations import ActorBox
from internvideo.config import Fraction, NonNegative, config_class
from internvideo.data.key_frames import KeyFrameSample
from internvideo.data.samples import EvaluationSource, Sample
from internvideo.errors import ConfigError
from internvideo.models.action_detector import ActionDetector
from internvideo.tasks.action_detection import boxes as box_ops
from internvideo.tasks.action_detection.boxes import Jitter
from internvideo.tasks.action_detection.losses import BoxLoss, box_loss
from internvideo.tasks.action_detection.transforms import (
    ColorShift,
    draw_view,
    resized,
    train_view,
)
from internvideo.tasks.parts import Parts
from internvideo.train.task import TrainableTask
from internvideo.video.preprocessing import Preprocessing

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["ActionDetection", "DetectionConfig", "build", "checked_clips", "pixel_boxes"]


@config_class
class DetectionConfig:
    """Action detection: what is done in boxes around people at a key frame."""

    kind: Literal["action-detection"] = "action-detection"
    loss: BoxLoss = Field(default="bce", description="focal weighs wrong answers more")
    focal_gamma: NonNegative = 2.0
    focal_alpha: Fraction | None = None
    mirror: Fraction = Field(
        default=0.5, description="share of mirrored clips; 0 where left and right are actions"
    )
    colors: bool = Field(default=True, description="shift hue, saturation and value of a clip")
    jitter: bool = Field(default=True, description="move the sides of boxes at random")
    max_boxes: PositiveInt = Field(default=100, description="of a clip; others are left out")
    drop_outside: bool = Field(
        default=False,
        description="leave out boxes outside of the crop; the published code keeps them as slivers",
    )


def pixel_boxes(
    boxes: tuple[ActorBox, ...], size: tuple[int, int]
) -> tuple[Float[Tensor, "n 4"], list[int]]:
    """Return boxes in pixels of a picture (width, height), inside of it, and which ones are left.

    A box that is outside, or not larger than a pixel, is left out.
    """
    sides = torch.tensor([each.box for each in boxes], dtype=torch.float32).reshape(-1, 4)
    found = box_ops.clip(box_ops.from_fractions(sides, size), size)
    kept = box_ops.has_area(found)
    return found[kept], torch.nonzero(kept)[:, 0].tolist()


class ActionDetection(TrainableTask[ActionDetector]):
    """Trains a detector on clips around key frames."""

    def __init__(
        self, model: ActionDetector, preprocessing: Preprocessing, config: DetectionConfig
    ) -> None:
        super().__init__()
        self.model = model
        self.preprocessing = preprocessing
        self.config = config

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Return `video` "t s s c", `boxes` "m 4", `labels` "m k", and how many boxes there are.

        Raises:
            ConfigError: the sample has no boxes.
        """
        if not isinstance(sample, KeyFrameSample):
            raise ConfigError(
                "action detection learns from key frames with boxes; give data: {kind: boxes, "
                "annotations: ava_train.csv, root: …}"
            )
        protocol, config = self.preprocessing, self.config
        frames = torch.from_numpy(sample.frames)  # pyright: ignore[reportUnknownMemberType]
        boxes, kept = pixel_boxes(sample.boxes, (frames.shape[2], frames.shape[1]))
        frames, boxes = resized(frames, boxes, protocol.resize_size, antialias=protocol.antialias)
        colors = ColorShift() if config.colors else None
        drawn = draw_view(rng, colors, mirror_probability=config.mirror)
        side = protocol.crop_size
        frames, boxes = train_view(frames, boxes, drawn, crop_size=side)
        labels = torch.zeros(len(kept), self.model.config.num_classes, dtype=torch.uint8)
        for row, place in enumerate(kept):
            labels[row, list(sample.boxes[place].labels)] = 1
        chosen = np.arange(len(boxes))
        if config.drop_outside:
            chosen = chosen[box_ops.has_area(boxes).numpy()]
        if len(chosen) > config.max_boxes:
            chosen = rng.choice(chosen, config.max_boxes, replace=False)
        if config.jitter:
            moves = torch.from_numpy(rng.random((len(boxes), 4), np.float32))
            boxes = box_ops.jitter(boxes, moves, Jitter(), (side, side))
        return [
            {
                "video": frames,
                "boxes": _padded(boxes[chosen], config.max_boxes),
                "labels": _padded(labels[chosen], config.max_boxes),
                "host_boxes": torch.tensor(len(chosen)),
            }
        ]

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss, the sum over the boxes of a batch, and that of a box."""
        video = self.preprocessing.normalize(batch["video"])
        counts = batch["host_boxes"].tolist()
        rois = torch.cat(
            [
                torch.cat([boxes.new_full((count, 1), clip), boxes[:count]], dim=1)
                for clip, (boxes, count) in enumerate(zip(batch["boxes"], counts, strict=True))
            ]
        )
        targets = torch.cat([held[:n] for held, n in zip(batch["labels"], counts, strict=True)])
        logits = self.model(video, rois).float()
        loss = box_loss(
            logits, targets.float(), kind=self.config.loss, gamma=self.config.focal_gamma,
            alpha=self.config.focal_alpha,
        )  # fmt: skip
        return {"loss": loss, "of_a_box": loss.detach() / max(len(rois), 1)}


def _padded(rows: Tensor, length: int) -> Tensor:
    filled = rows.new_zeros(length, *rows.shape[1:])
    filled[: len(rows)] = rows
    return filled


def build(config: DetectionConfig, parts: Parts) -> ActionDetection:
    """Build the task of a recipe; its encoder starts from `init`, its head anew.

    Raises:
        ConfigError: the recipe has an augmentation or labels, which this task does not take.
    """
    parts.refuse("augmentation", "init_labels")
    model = parts.build_model()
    parts.start_encoder(model)
    return ActionDetection(model, parts.preprocessing, config)


def checked_clips(
    task: ActionDetection,
    source: EvaluationSource,
    directory: Path,
    *,
    num_workers: int,
    fabric: Fabric,
) -> EvaluationSource:
    """Check the actions of the boxes.

    Raises:
        DataError: one that the detector does not know.
    """
    del directory, num_workers, fabric
    source.check_labels(task.model.config.num_classes)
    return source
