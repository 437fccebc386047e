"""From what the detector says to the likeliest boxes of a picture."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor
from torchvision.ops import box_convert  # type: ignore[import-untyped]

__all__ = ["ScoredBoxes", "best_boxes"]


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
    sides = box_convert(boxes[queries], "cxcywh", "xyxy") * extent
    sides = sides.clamp(min=0).minimum(extent)
    return ScoredBoxes(sides, best.values, best.indices % logits.shape[1])
