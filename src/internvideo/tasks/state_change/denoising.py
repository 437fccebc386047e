"""Noisy queries: true boxes, moved a little or too far, that the decoder learns to tell apart.

Groups of [M moved a little | M moved too far] for the M boxes of the fullest picture; pictures with
fewer boxes leave queries of zeros. Queries of different groups do not see each other, and the
learnt queries see none of them.

Source: contrastive denoising of DINO (Zhang et al., 2022, section 3.3; fixture `ego4d-scod-dn`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int
from pydantic import NonNegativeInt
from torch import Tensor

from internvideo.config import Fraction, NonNegative, config_class
from internvideo.models.dino import DINO, NoisyQueries, from_sides, inverse_sigmoid, to_sides

__all__ = ["Denoising", "DenoisingConfig", "Drawn", "draw", "noisy_queries"]


@config_class
class DenoisingConfig:
    """How much noise, and how many queries.

    Attributes:
        num_queries: groups fill about this number of pairs; 0 leaves denoising out.
        label_noise: half of it is the probability of another class.
        box_noise: how far sides move, in half sides of the box.
    """

    num_queries: NonNegativeInt = 1000
    label_noise: Fraction = 0.5
    box_noise: NonNegative = 1.0


class _HasBoxes(Protocol):
    @property
    def labels(self) -> Tensor: ...
    @property
    def fractions(self) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Drawn:
    """The random numbers behind noisy queries, one for each box of a batch and each of its copies.

    Attributes:
        labels: from 0 to 1; a small one changes the class.
        classes: to which it changes, for those where it does.
        signs: 0 or 1, which way a side moves.
        parts: from 0 to 1, how far.
    """

    labels: Float[Tensor, " m"]
    classes: Int[Tensor, " c"]
    signs: Float[Tensor, "m 4"]
    parts: Float[Tensor, "m 4"]


@dataclass(frozen=True, eq=False)
class Denoising:
    """Noisy queries, and which true boxes they stand for.

    Attributes:
        queries: for the detector.
        num_queries: of each picture.
        num_groups: groups in them.
        matches: of each picture the queries that stand for a true box, and its number.
    """

    queries: NoisyQueries
    num_queries: int
    num_groups: int
    matches: tuple[tuple[Int[Tensor, " n"], Int[Tensor, " n"]], ...]


def num_groups(counts: Sequence[int], config: DenoisingConfig) -> int:
    """Return how many groups there are for pictures with so many boxes."""
    return max(1, config.num_queries // max(1, max(counts, default=0)))


def draw(num_boxes: int, num_classes: int, config: DenoisingConfig, device: torch.device) -> Drawn:
    """Draw noise for this number of noisy boxes."""
    labels = torch.rand(num_boxes, device=device)
    changed = int((labels < config.label_noise / 2).sum())
    return Drawn(
        labels=labels,
        classes=torch.randint(num_classes, (changed,), device=device),
        signs=torch.randint(2, (num_boxes, 4), device=device).float(),
        parts=torch.rand(num_boxes, 4, device=device),
    )


def noisy_queries(
    model: DINO, true: Sequence[_HasBoxes], config: DenoisingConfig, drawn: Drawn | None = None
) -> Denoising:
    """Return the noisy queries of a batch.

    Args:
        model: which learns them.
        true: the objects of each picture.
        config: how much noise.
        drawn: the random numbers; None draws them.
    """
    table = model.bbox_head.label_embedding.weight
    device, counts = table.device, [len(each.labels) for each in true]
    groups, most = num_groups(counts, config), max(counts, default=0)
    copies, size = 2 * groups, 2 * groups * most
    labels = torch.cat([each.labels for each in true]).repeat(copies)
    boxes = torch.cat([each.fractions for each in true]).repeat(copies, 1)
    if drawn is None:
        drawn = draw(len(labels), model.config.num_classes, config, device)
    labels[drawn.labels < config.label_noise / 2] = drawn.classes
    is_far = torch.arange(copies, device=device).repeat_interleave(sum(counts)) % 2
    moved = (drawn.signs * 2 - 1) * (drawn.parts + is_far[:, None])
    sides = to_sides(boxes)
    sides = sides + moved * boxes[:, 2:].repeat(1, 2) / 2 * config.box_noise
    boxes = from_sides(sides.clamp(0, 1))
    picture = torch.arange(len(true), device=device).repeat_interleave(
        torch.tensor(counts, device=device)
    )
    place = torch.cat([torch.arange(count, device=device) for count in counts])
    first = torch.arange(copies, device=device)[:, None] * most
    where = (picture.repeat(copies), (place + first).flatten())
    contents = table.new_zeros(len(true), size, table.shape[1])
    contents = contents.index_put(where, table[labels])
    starts = boxes.new_zeros(len(true), size, 4).index_put(where, inverse_sigmoid(boxes))
    pairs = torch.arange(groups, device=device)[:, None] * (2 * most)
    matches = tuple(
        (
            (pairs + torch.arange(count, device=device)).flatten(),
            torch.arange(count, device=device).repeat(groups),
        )
        for count in counts
    )
    blocked = _blocked(size, groups, model.config.num_queries, device)
    return Denoising(NoisyQueries(contents, starts, blocked), size, groups, matches)


def _blocked(size: int, groups: int, num_learnt: int, device: torch.device) -> Tensor:
    group = torch.full((size + num_learnt,), -1, device=device)
    if size:
        group[:size] = torch.arange(size, device=device) // (size // groups)
    return (group[None] >= 0) & (group[:, None] != group[None])
