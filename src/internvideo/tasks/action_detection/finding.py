"""A detector in the engine of evaluation: scores of what is done in the boxes of each key frame."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (tensors and arrays leave the types of their lists open)

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from internvideo.annotations import ActorBox
from internvideo.data.key_frames import KeyFrameSource
from internvideo.errors import ConfigError
from internvideo.evaluation.engine import Answerer, Batch
from internvideo.models.contract import has
from internvideo.tasks.action_detection import boxes as box_ops
from internvideo.tasks.action_detection.task import pixel_boxes
from internvideo.tasks.action_detection.transforms import padded
from internvideo.zoo.hub import LoadedModel, weights_sha256

__all__ = ["ActionFinder", "ActorActions", "check_detector", "scored"]

_MULTIPLE = 16  # sides of clips are padded to multiples of it, as published


@dataclass(frozen=True, slots=True)
class ActorActions:
    """What is done in the boxes of a picture.

    Attributes:
        boxes: as they were asked about, as fractions, with the scores of their detector.
        scores: of each box and class, from 0 to 1: the model's times that of the box.
    """

    boxes: tuple[ActorBox, ...]
    scores: Float[Tensor, "n k"]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; scores have six digits."""
        return {
            "time": self.boxes[0].time if self.boxes else 0.0,
            "boxes": [list(each.box) for each in self.boxes],
            "persons": [each.score for each in self.boxes],
            "scores": [[round(value, 6) for value in row] for row in self.scores.tolist()],
        }

    @classmethod
    def from_dict(cls, line: dict[str, Any]) -> ActorActions:
        """Return what `to_dict` wrote."""
        pairs = zip(line["boxes"], line["persons"], strict=True)
        boxes = tuple(ActorBox(time=line["time"], box=tuple(b), score=s) for b, s in pairs)
        scores = torch.tensor(line["scores"]).reshape(len(boxes), -1)
        return cls(boxes, scores)


def check_detector(model: LoadedModel) -> Any:
    """Return the network of a detector.

    Raises:
        ConfigError: the model is something else.
    """
    if not has(model.model, "boxes"):
        raise ConfigError(
            f"{model.name} does not tell what is done in boxes; give a detector, such as one that "
            "the recipe world_action-detector-nano trained"
        )
    return model.model


def scored(
    network: Any,
    clips: Sequence[Float[Tensor, "c t h w"]],
    boxes: Sequence[tuple[ActorBox, ...]],
    sizes: Sequence[tuple[int, int]],
    batch: Batch,
) -> list[ActorActions]:
    """Return what is done in the boxes of some clips.

    Clips of one size go through the model together, so that no answer depends on the others: what
    is padded takes part in attention, as published. A box without an area in the picture gets none.

    Args:
        network: the detector.
        clips: whole pictures, resized and normalised.
        boxes: of each clip, as fractions.
        sizes: width and height of the pictures before they were resized.
        batch: says where and in which precision, and how many clips at once.
    """
    found: list[ActorActions | None] = [None] * len(clips)
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, clip in enumerate(clips):
        groups[tuple(clip.shape[-2:])].append(number)
    for members in groups.values():
        for start in range(0, len(members), batch.size):
            part = members[start : start + batch.size]
            kept: list[list[int]] = []
            rois: list[Tensor] = []
            for place, number in enumerate(part):
                sides, own = pixel_boxes(boxes[number], sizes[number])
                height, width = clips[number].shape[-2:]
                sides = box_ops.resize(sides, sizes[number], (width, height))
                sides = box_ops.extend(sides, box_ops.EXTENSION, (width, height))
                rois.append(torch.cat([sides.new_full((len(own), 1), place), sides], dim=1))
                kept.append(own)
            video = padded([clips[number] for number in part], _MULTIPLE)
            with torch.no_grad(), batch.precision():
                logits = network(
                    video.to(batch.device, batch.dtype), torch.cat(rois).to(batch.device)
                )
            rows = logits.float().sigmoid().cpu().split([len(own) for own in kept])
            for number, own, scores in zip(part, kept, rows, strict=True):
                held = tuple(boxes[number][place] for place in own)
                persons = torch.tensor([each.score for each in held]).reshape(-1, 1)
                found[number] = ActorActions(held, scores * persons)
    return [each for each in found if each is not None]


class ActionFinder(Answerer[ActorActions]):
    """Tells what is done in the boxes of the key frames of a source.

    Args:
        model: a detector.
        source: the key frames; they are asked about by their numbers.

    Raises:
        ConfigError: the model is no detector.
    """

    def __init__(self, model: LoadedModel, source: KeyFrameSource) -> None:
        super().__init__(check_detector(model), model.protocol)
        self.source = source

    def answer(self, batch: Batch) -> list[ActorActions]:
        """Return what is done at each key frame."""
        numbers = [each.index for each in batch.videos]
        return scored(
            self.network,
            [each.views[0] for each in batch.videos],
            [self.source.frames[number].boxes for number in numbers],
            [self.source.sizes[number] for number in numbers],
            batch,
        )

    def from_json(self, line: dict[str, Any]) -> ActorActions:
        """Return the answer in a line."""
        return ActorActions.from_dict(line)

    def identity(self) -> dict[str, Any]:
        """Return what the scores depend on."""
        return {
            "weights": weights_sha256(self.network),
            "protocol": self.protocol.to_dict(),
            "boxes": self.source.identity()["digest"],
        }
