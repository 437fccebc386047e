"""The losses of a temporal detector, and what they are divided by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from internvideo.train.collectives import group_size, total, training_group

__all__ = ["DetectionLoss", "LossNormalizer", "detection_loss", "iou_loss", "sigmoid_focal_loss"]

_TINY = 1e-8
_LEAST = 0.01  # boundary loss that a balanced weight is computed for
_MOMENTUM = 0.9


def sigmoid_focal_loss(
    logits: Float[Tensor, "*b k"],
    targets: Float[Tensor, "*b k"],
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Float[Tensor, "*b k"]:
    """Return the focal loss of each logit (Lin et al., 2017); targets may lie between 0 and 1.

    Args:
        logits: before the sigmoid.
        targets: wanted probabilities.
        alpha: weight of the positive side; negative: both weigh 1.
        gamma: how much less a sure and right score counts.
    """
    score = logits.sigmoid()
    right = score * targets + (1 - score) * (1 - targets)
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    loss = loss * (1 - right) ** gamma
    if alpha < 0:
        return loss
    return loss * (alpha * targets + (1 - alpha) * (1 - targets))


def iou_loss(
    predicted: Float[Tensor, "*p 2"], wanted: Float[Tensor, "*p 2"], *, distance: bool = True
) -> Float[Tensor, "*p"]:
    """Return one minus the overlap of two segments around the same point, for each point.

    The segments are given by their distances from the point, so they always touch; there the
    generalised IoU is the plain one.

    Args:
        predicted: to the start and to the end, not negative.
        wanted: likewise.
        distance: add the squared distance of the centres over the length that holds both.
    """
    (l_p, r_p), (l_g, r_g) = predicted.unbind(-1), wanted.unbind(-1)
    # Where both are equal, the gradient goes to the wanted side, as in the reference.
    common = torch.where(l_p < l_g, l_p, l_g) + torch.where(r_p < r_g, r_p, r_g)
    union = (l_p + r_p) + (l_g + r_g) - common
    loss = 1 - common / union.clamp(min=_TINY)
    if not distance:
        return loss
    around = torch.maximum(l_p, l_g) + torch.maximum(r_p, r_g)
    apart = 0.5 * (r_p - l_p - r_g + l_g)
    return loss + (apart / around.clamp(min=_TINY)).square()


class LossNormalizer(nn.Module):
    """A running mean of the positive points of a step; part of the state of a run.

    The published code restarts it when a run resumes, and keeps one a process; here it is that of
    the whole run.
    """

    value: Float[Tensor, ""]

    def __init__(self, start: float) -> None:
        super().__init__()
        self.register_buffer("value", torch.tensor(float(start)))

    def forward(self, num_positive: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Take in a step, and return what its losses are divided by."""
        group = training_group()
        mean = total(num_positive.detach().float(), group) / group_size(group)
        self.value.lerp_(mean.clamp(min=1), 1 - _MOMENTUM)
        return self.value.clone()


@dataclass(frozen=True, slots=True)
class DetectionLoss:
    """The losses of a step.

    Attributes:
        total: what is minimised.
        classes: of the scores.
        boundaries: of starts and ends, before its weight.
    """

    total: Float[Tensor, ""]
    classes: Float[Tensor, ""]
    boundaries: Float[Tensor, ""]


def detection_loss(
    logits: Float[Tensor, "b p k"],
    offsets: Float[Tensor, "b p 2"],
    classes: Float[Tensor, "b p k"],
    boundaries: Float[Tensor, "b p 2"],
    valid: Bool[Tensor, "b p"],
    normalizer: LossNormalizer,
    *,
    label_smoothing: float = 0.0,
    boundary_weight: float | None = 1.0,
) -> DetectionLoss:
    """Return the losses of a batch; nothing makes the host wait for the device.

    Args:
        logits: scores of the points.
        offsets: their distances to start and end.
        classes: see `labels.Targets`.
        boundaries: likewise, the wanted distances.
        valid: points that are no padding.
        normalizer: takes in the number of points with a class.
        label_smoothing: share of the wanted scores that is spread over the classes and one more.
        boundary_weight: factor of the boundary loss; None makes it as large as the other.
    """
    positive = (classes.amax(dim=-1) > 0) & valid
    divisor = normalizer(positive.sum())
    wanted = classes * (1 - label_smoothing) + label_smoothing / (classes.shape[-1] + 1)
    focal = sigmoid_focal_loss(logits.float(), wanted)
    class_loss = focal.masked_fill(~valid[..., None], 0).sum() / divisor
    # Points without an action have no boundaries: zeros keep their gradient finite.
    boundaries = boundaries.masked_fill(~positive[..., None], 0)
    overlap = iou_loss(offsets.float(), boundaries).masked_fill(~positive, 0)
    boundary_loss = overlap.sum() / divisor
    if boundary_weight is None:
        weight: Tensor | float = class_loss.detach() / boundary_loss.detach().clamp(min=_LEAST)
    else:
        weight = boundary_weight
    return DetectionLoss(class_loss + weight * boundary_loss, class_loss, boundary_loss)
