"""Training the anticipation of contacts, as InternVideo-Ego4D does it.

    worker:  frames up to the boxes ──► short side ──► crop, mirror                     uint8
    device:  ──► normalise ──► verbs and seconds of each box ──► the losses of both

Source: short-term anticipation of ego4d-eccv2022-solutions; the boxes are the annotated ones, as in
its configuration.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from pydantic import Field, PositiveInt
from torch import Tensor

from internvideo.config import Fraction, NonNegative, config_class
from internvideo.data.samples import EvaluationSource, Sample
from internvideo.data.untrimmed import UntrimmedSource, UntrimmedVideo
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.arrays import as_list
from internvideo.models.contact_anticipator import ContactAnticipator
from internvideo.tasks.anticipation.clips import clip_before, frame_of, sides_of
from internvideo.tasks.anticipation.losses import IGNORED, contact_losses
from internvideo.tasks.parts import Parts
from internvideo.train.task import TrainableTask
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.transforms import CropBox, crop, resize_short_side

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Anticipation", "AnticipationConfig", "annotated_frames", "build"]

_KIND = "contacts are anticipated at annotated frames: data.kind must be untrimmed"


@config_class
class AnticipationConfig:
    """What will be done with the objects in boxes, and in how many seconds."""

    kind: Literal["anticipation"] = "anticipation"
    short_sides: tuple[PositiveInt, PositiveInt] = Field(
        default=(256, 320), description="of training frames, in pixels: the least and the most"
    )
    flip: Fraction = Field(
        default=0.5, description="share of mirrored clips; 0 where left and right are verbs"
    )
    max_boxes: PositiveInt = Field(default=16, description="of a frame; others are left out")
    verb_weight: NonNegative = 1.0
    ttc_weight: NonNegative = 15.0

    def __post_init__(self) -> None:
        if self.short_sides[0] > self.short_sides[1]:
            raise ConfigError(f"task.short_sides are {self.short_sides}; expected them to grow")


class Anticipation(TrainableTask[ContactAnticipator]):
    """Trains a `ContactAnticipator` on annotated frames."""

    def __init__(
        self, model: ContactAnticipator, preprocessing: Preprocessing, config: AnticipationConfig
    ) -> None:
        super().__init__()
        if config.short_sides[0] < preprocessing.crop_size:
            raise ConfigError(
                f"task.short_sides begin at {config.short_sides[0]}, below the crop of "
                f"{preprocessing.crop_size}"
            )
        self.model = model
        self.preprocessing = preprocessing
        self.config = config

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Return `video` "t s s c", `boxes` "m 4", `verbs`, `seconds`, and the number of boxes.

        Raises:
            VideoError: the clip cannot be read.
            ConfigError: the sample is no annotated video.
        """
        if not isinstance(sample, UntrimmedVideo):
            raise ConfigError(_KIND)
        config, annotation = self.config, sample.annotation
        with sample.video as video:
            clip = clip_before(video, frame_of(annotation), self.preprocessing)
        contacts = annotation.contacts[: config.max_boxes]
        size = annotation.size or (clip.shape[2], clip.shape[1])
        # uniform in 1 / side, as published
        low, high = config.short_sides
        side = round(1 / rng.uniform(1 / high, 1 / low)) if low < high else low
        clip = resize_short_side(clip, side, antialias=self.preprocessing.antialias)
        boxes = sides_of(contacts, size, (clip.shape[2], clip.shape[1]))
        clip, boxes = self._cropped(clip, boxes, rng)
        count = len(contacts)
        row = {
            "video": clip,
            "boxes": torch.zeros(config.max_boxes, 4),
            "verbs": torch.full((config.max_boxes,), IGNORED),
            "seconds": torch.full((config.max_boxes, 1), torch.nan),
            "host_boxes": torch.tensor(count),
        }
        row["boxes"][:count] = boxes
        for place, each in enumerate(contacts):
            row["verbs"][place] = IGNORED if each.verb is None else each.verb
            row["seconds"][place] = torch.nan if each.seconds is None else each.seconds
        return [row]

    def _cropped(
        self, clip: UInt8[Tensor, "t h w c"], boxes: Float[Tensor, "n 4"], rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return a random square, mirrored or not, and boxes in it; those outside have no area."""
        side = self.preprocessing.crop_size
        top, left = (int(rng.integers(0, length - side + 1)) for length in clip.shape[1:3])
        clip = crop(clip, CropBox(top, left, side, side))
        boxes = boxes - boxes.new_tensor([left, top] * 2)
        if rng.random() < self.config.flip:
            clip = clip.flip(2)
            x1, y1, x2, y2 = boxes.unbind(dim=1)
            boxes = torch.stack([side - 1 - x2, y1, side - 1 - x1, y2], dim=1)
        return clip.contiguous(), boxes.clamp(0, side - 1)

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the weighted sum of the losses of verbs and seconds, and both of them."""
        config, counts = self.config, as_list(batch["host_boxes"])

        def shown(name: str) -> Tensor:
            return torch.cat([rows[:n] for rows, n in zip(batch[name], counts, strict=True)])

        boxes = shown("boxes")
        clips = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        rois = torch.cat([clips.to(boxes)[:, None], boxes], dim=1)
        verbs, seconds = self.model(self.preprocessing.normalize(batch["video"]), rois)
        of_verb, of_time = contact_losses(
            verbs.float(), seconds.float(), shown("verbs"), shown("seconds")
        )
        loss = config.verb_weight * of_verb + config.ttc_weight * of_time
        return {"loss": loss, "verb": of_verb.detach(), "ttc": of_time.detach()}


def build(config: AnticipationConfig, parts: Parts) -> Anticipation:
    """Build the task of a recipe; its encoder starts from `init`, its heads anew.

    Raises:
        ConfigError: the recipe has an augmentation or labels, which this task does not take.
        CheckpointError: the weights cannot be read, or are of another shape.
    """
    parts.refuse("augmentation", "init_labels")
    model: Any = parts.build_model()
    parts.start_encoder(model)
    return Anticipation(model, parts.preprocessing, config)


def annotated_frames(
    task: Anticipation,
    source: EvaluationSource,
    directory: Path,
    *,
    num_workers: int,
    fabric: Fabric,
) -> UntrimmedSource:
    """Check the verbs; a frame without objects teaches nothing, and is kept.

    Raises:
        DataError: no frame has objects, or one has a verb that the model does not know.
        ConfigError: the data are no annotated videos.
    """
    del directory, num_workers, fabric
    if not isinstance(source, UntrimmedSource):
        raise ConfigError(_KIND)
    annotated, num_verbs = source.annotated, task.model.config.num_verbs
    if not any(video.contacts for video in annotated.videos):
        raise DataError(f"{annotated.file} has no objects in {len(source)} frames")
    for video in annotated.videos:
        for each in video.contacts:
            if each.verb is not None and not 0 <= each.verb < num_verbs:
                raise DataError(
                    f"{annotated.file}: {video.id} has an object with the verb {each.verb}, the "
                    f"model has {num_verbs}; set model.num_verbs"
                )
    return source
