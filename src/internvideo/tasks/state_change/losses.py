"""Which query stands for which true box, and how wrong all of them are.

One query a true box by the Hungarian method; all others are background. Noisy queries know their
true boxes. Sums are divided by the number of true boxes, in the mean over processes.

Source: the losses of DINO (Zhang et al., 2022; fixtures `ego4d-scod-dino`, `ego4d-scod-dn`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from internvideo.config import Fraction, NonNegative, config_class
from internvideo.errors import require
from internvideo.models.dino import FoundBoxes, from_sides, to_sides
from internvideo.tasks.state_change.denoising import Denoising
from internvideo.train import collectives

__all__ = ["LossWeights", "TrueBoxes", "detection_losses", "match"]

_OVERLAP_EPS = 1e-6
_LOG_EPS = 1e-12
_PARTS = ("loss_cls", "loss_bbox", "loss_iou")


@dataclass(frozen=True, eq=False)
class TrueBoxes:
    """The objects in a picture.

    Attributes:
        boxes: left, top, right and bottom side in pixels.
        labels: their classes.
        size: height and width of the picture, without padding.
    """

    boxes: Float[Tensor, "n 4"]
    labels: Int[Tensor, " n"]
    size: tuple[int, int]

    @property
    def extent(self) -> Float[Tensor, "4"]:
        """Width, height, width, height."""
        height, width = self.size
        return self.boxes.new_tensor([width, height, width, height])

    @property
    def fractions(self) -> Float[Tensor, "n 4"]:
        """Centre x, centre y, width and height, as shares of the picture."""
        return from_sides(self.boxes / self.extent)


@config_class
class LossWeights:
    """What a mistake costs, in the choice of queries and in the loss.

    Attributes:
        class_cost: of the score, where queries are chosen.
        box_cost: of the sides, likewise.
        overlap_cost: of the overlap, likewise.
        class_loss: of the score.
        box_loss: of the sides.
        overlap_loss: of the overlap.
        alpha: share of objects, against background, in the focal loss.
        gamma: how little sure answers count in it.
    """

    class_cost: NonNegative = 2.0
    box_cost: NonNegative = 5.0
    overlap_cost: NonNegative = 2.0
    class_loss: NonNegative = 1.0
    box_loss: NonNegative = 5.0
    overlap_loss: NonNegative = 2.0
    alpha: Fraction = 0.25
    gamma: NonNegative = 2.0


def _generalised_overlap(
    ones: Float[Tensor, "*#n 4"], others: Float[Tensor, "*#n 4"]
) -> Float[Tensor, "*n"]:
    """Return the generalised IoU of boxes; without area, too, it is a number."""

    def area(low: Tensor, high: Tensor) -> Tensor:
        return (high - low).clamp(min=0).prod(dim=-1)

    low, high = ones[..., :2].maximum(others[..., :2]), ones[..., 2:].minimum(others[..., 2:])
    shared = area(low, high)
    own = [(each[..., 2:] - each[..., :2]).prod(dim=-1) for each in (ones, others)]
    union = (own[0] + own[1] - shared).clamp(min=_OVERLAP_EPS)
    around = area(
        ones[..., :2].minimum(others[..., :2]), ones[..., 2:].maximum(others[..., 2:])
    ).clamp(min=_OVERLAP_EPS)
    return shared / union - (around - union) / around


def _sides(boxes: Float[Tensor, "*n 4"], extent: Tensor) -> Float[Tensor, "*n 4"]:
    return to_sides(boxes) * extent


@torch.no_grad()
def match(
    logits: Float[Tensor, "q k"],
    boxes: Float[Tensor, "q 4"],
    true: TrueBoxes,
    weights: LossWeights,
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """Return the queries that stand for true boxes, and the numbers of these boxes.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    if not len(true.boxes):
        none = true.labels.new_zeros(0)
        return none, none
    score, alpha = logits.float().sigmoid(), weights.alpha
    missed = -(1 - score + _LOG_EPS).log() * (1 - alpha) * score**weights.gamma
    found = -(score + _LOG_EPS).log() * alpha * (1 - score) ** weights.gamma
    cost = weights.class_cost * (found - missed)[:, true.labels]
    cost = cost + weights.box_cost * torch.cdist(boxes, true.fractions, p=1)
    overlap = _generalised_overlap(_sides(boxes, true.extent)[:, None], true.boxes[None])
    cost = cost - weights.overlap_cost * overlap
    assign = require("scipy.optimize", extra="detection").linear_sum_assignment
    queries, numbers = assign(cost.cpu().numpy())
    return tuple(torch.as_tensor(each, device=logits.device) for each in (queries, numbers))  # type: ignore[return-value]


def _mean_over_processes(number: Float[Tensor, "1"]) -> Float[Tensor, ""]:
    group = collectives.training_group()
    numbers = collectives.gather_rows(number, group)
    return numbers.mean()


def _layer_losses(
    logits: Float[Tensor, "b q k"],
    boxes: Float[Tensor, "b q 4"],
    true: Sequence[TrueBoxes],
    matches: Sequence[tuple[Tensor, Tensor]],
    weights: LossWeights,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the losses of class, sides and overlap of one layer."""
    targets = torch.zeros_like(logits)
    pairs: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for number, (each, (queries, numbers)) in enumerate(zip(true, matches, strict=True)):
        targets[number, queries, each.labels[numbers]] = 1
        found, extent = boxes[number, queries], each.extent.expand(len(queries), -1)
        pairs.append((found, each.fractions[numbers], each.boxes[numbers], extent))
    found, wanted, sides, extent = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    count = _mean_over_processes(logits.new_tensor([len(found)])).clamp(min=1)
    score = logits.sigmoid()
    wrong = (1 - score) * targets + score * (1 - targets)
    share = weights.alpha * targets + (1 - weights.alpha) * (1 - targets)
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    classes = (entropy * share * wrong**weights.gamma).sum() / count
    distance = (found - wanted).abs().sum() / count
    overlap = _generalised_overlap(_sides(found, extent), sides)
    return (
        weights.class_loss * classes,
        weights.box_loss * distance,
        weights.overlap_loss * (1 - overlap).sum() / count,
    )


def detection_losses(
    found: FoundBoxes,
    true: Sequence[TrueBoxes],
    weights: LossWeights,
    denoising: Denoising | None = None,
) -> dict[str, Tensor]:
    """Return the loss of every layer by the names of the reference; their sum is to be minimised.

    Args:
        found: what the detector says.
        true: what is in each picture.
        weights: of the parts.
        denoising: of the noisy queries in front of the others.
    """
    losses: dict[str, Tensor] = {}

    def add(prefix: str, parts: tuple[Tensor, Tensor, Tensor]) -> None:
        losses.update({f"{prefix}{name}": part for name, part in zip(_PARTS, parts, strict=True)})

    def matched(logits: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        matches = [
            match(scores, places, each, weights)
            for scores, places, each in zip(logits.detach(), boxes.detach(), true, strict=True)
        ]
        return _layer_losses(logits, boxes, true, matches, weights)

    add("interm_", matched(found.start_logits.float(), found.start_boxes))
    num_noisy = denoising.num_queries if denoising is not None else 0
    last = len(found.logits) - 1
    for number, (logits, boxes) in enumerate(zip(found.logits.float(), found.boxes, strict=True)):
        layer = "" if number == last else f"d{number}."
        add(layer, matched(logits[:, num_noisy:], boxes[:, num_noisy:]))
        if denoising is not None and num_noisy:
            noisy = (logits[:, :num_noisy], boxes[:, :num_noisy])
            parts = _layer_losses(*noisy, true, denoising.matches, weights)
            add(f"{layer}dn_", parts)
    return losses


def total(losses: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of the losses of all layers."""
    return torch.stack(list(losses.values())).sum()
