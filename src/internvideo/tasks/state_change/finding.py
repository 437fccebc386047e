"""From what the detector says to the likeliest boxes of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from internvideo.errors import ConfigError
from internvideo.evaluation.arrays import as_list
from internvideo.evaluation.engine import Answerer, Batch
from internvideo.models.dino import DINO, to_sides
from internvideo.tasks.state_change.pictures import DIVISOR, LONG_SIDE, padded
from internvideo.zoo.hub import LoadedModel

__all__ = ["MAX_BOXES", "ObjectFinder", "ScoredBoxes", "best_boxes"]

MAX_BOXES = 100


@dataclass(frozen=True, eq=False)
class ScoredBoxes:
    """Boxes of a picture, the surest first.

    Attributes:
        boxes: left, top, right and bottom side in pixels.
        scores: from 0 to 1.
        labels: their classes.
    """

    boxes: Float[Tensor, "n 4"]
    scores: Float[Tensor, " n"]
    labels: Int[Tensor, " n"]


def best_boxes(
    logits: Float[Tensor, "q k"],
    boxes: Float[Tensor, "q 4"],
    size: tuple[int, int],
    *,
    limit: int = 100,
) -> ScoredBoxes:
    """Return the surest boxes inside a picture; none is suppressed by another.

    Args:
        logits: of the classes of each query.
        boxes: their centres, widths and heights as shares of the picture.
        size: height and width of the picture, in whatever pixels the boxes are wanted.
        limit: how many at most.
    """
    height, width = size
    scores = logits.float().sigmoid().flatten()
    best = scores.topk(min(limit, len(scores)))
    queries = best.indices // logits.shape[1]
    extent = boxes.new_tensor([width, height, width, height])
    sides = to_sides(boxes[queries]) * extent
    sides = sides.clamp(min=0).minimum(extent)
    return ScoredBoxes(sides, best.values, best.indices % logits.shape[1])


class ObjectFinder(Answerer[ScoredBoxes]):
    """Finds the objects of a detector in pictures; boxes are shares of width and height.

    Args:
        model: a `DINO`.
        limit: boxes a picture.

    Raises:
        ConfigError: the model does not find objects in pictures.
    """

    def __init__(self, model: LoadedModel, *, limit: int = MAX_BOXES) -> None:
        if not isinstance(model.model, DINO):
            raise ConfigError(
                f"{model.name} finds no objects in pictures; give a detector such as "
                "dino-swin-l-ego4d-scod"
            )
        super().__init__(model.model, model.protocol)
        self.detector = model.model
        self.limit = limit

    def describe(self) -> str:
        """Say how pictures are looked at."""
        short = self.protocol.resize_size
        return (
            f"key frame · short side {short}, long side at most {LONG_SIDE * short:g} "
            f"({self.protocol.interpolation}), padded to {DIVISOR} · the {self.limit} surest boxes"
        )

    def answer(self, batch: Batch) -> list[ScoredBoxes]:
        """Return the surest boxes of each picture."""
        found: list[ScoredBoxes] = []
        pictures = [video.views[0, :, 0] for video in batch.videos]
        for start in range(0, len(pictures), batch.size):
            images, shown = padded(pictures[start : start + batch.size])
            with torch.no_grad(), batch.precision():
                seen = self.detector(images.to(batch.device, batch.dtype), shown.to(batch.device))
            for logits, boxes in zip(seen.logits[-1].cpu(), seen.boxes[-1].cpu(), strict=True):
                found.append(best_boxes(logits, boxes.float(), (1, 1), limit=self.limit))
        return found

    def to_json(self, answer: ScoredBoxes) -> dict[str, Any]:
        """Return an answer as plain data."""
        parts = {"boxes": answer.boxes, "scores": answer.scores, "labels": answer.labels}
        return {name: as_list(part) for name, part in parts.items()}

    def from_json(self, line: dict[str, Any]) -> ScoredBoxes:
        """Return the answer that a line holds."""
        return ScoredBoxes(
            torch.tensor(line["boxes"], dtype=torch.float32).reshape(-1, 4),
            torch.tensor(line["scores"], dtype=torch.float32),
            torch.tensor(line["labels"], dtype=torch.long),
        )
