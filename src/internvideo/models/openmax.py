"""OpenMax: how far a video is from the usual videos of the class that it looks like.

    features of training videos that were recognised ──► mean of each class, distances from it
    the largest distances of a class ──► a Weibull distribution: how unusual is a distance?
    scores of a new video ──► less of those classes that it is too far from ──► the rest: unknown

All in float64: the fit turns rounding errors of float32 distances into shapes 10 % off.

Letters: n videos, d width of the features, k classes.

Source: arXiv 1511.06233; fixture `openset-openmax`. The Weibull fit is the maximum likelihood
estimate, found by bisection.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["OpenMax", "distances", "fit_weibull"]

_TAIL = 20
_TRANSLATION = 10_000.0
_EUCLIDEAN = 200.0
_HALVINGS = 200
_FEWEST = 2


def distances(
    features: Float[Tensor, "n d"], centers: Float[Tensor, "k d"]
) -> Float[Tensor, "n k"]:
    """Return Euclidean distance / 200 plus cosine distance, float64."""
    features, centers = features.double(), centers.double()
    straight = (features[:, None] - centers).square().sum(dim=2).sqrt()
    norms = features.norm(dim=1)[:, None] * centers.norm(dim=1)
    return straight / _EUCLIDEAN + 1 - features @ centers.T / norms


def fit_weibull(tail: Float[Tensor, " n"]) -> Float[Tensor, "3"]:
    """Return scale, shape and smallest value of the distribution of large distances.

    Args:
        tail: the largest distances, at least two different ones.

    Raises:
        ValueError: fewer.
    """
    tail = tail.double()
    smallest = tail.min()
    logs = (tail + _TRANSLATION - smallest).log()
    width = logs.max() - logs.min()
    if len(tail) < _FEWEST or not width > 0:
        raise ValueError(f"{len(tail)} distances of which no two differ have no distribution")
    z = (logs - logs.max()) / width
    low, high = z.new_tensor(0.0), z.new_tensor(1.0)
    for _ in range(_HALVINGS):  # the left side of the likelihood equation grows with sigma
        sigma = (low + high) / 2
        weights = (z / sigma).exp()
        below = sigma + z.mean() - (z * weights).sum() / weights.sum() < 0
        low, high = torch.where(below, sigma, low), torch.where(below, high, sigma)
    sigma = (low + high) / 2
    location = sigma * (z / sigma).exp().mean().log()
    return torch.stack([(width * location + logs.max()).exp(), 1 / (width * sigma), smallest])


@dataclass(frozen=True, slots=True)
class OpenMax:
    """Where the classes are, and how far their videos are from there.

    Attributes:
        centers: mean features of each class, "k d" float64.
        weibull: scale, shape, smallest value of each class, "k 3" float64; a class that has none
            (too few training videos) has zeros, and no video is too far from it.
    """

    centers: Float[Tensor, "k d"]
    weibull: Float[Tensor, "k 3"]

    @classmethod
    def fit(
        cls,
        features: Float[Tensor, "n d"],
        labels: Int[Tensor, " n"],
        num_classes: int,
        *,
        tail: int = _TAIL,
    ) -> OpenMax:
        """Fit to the features of training videos that were recognised; one row each."""
        features = features.double()
        centers = features.new_zeros(num_classes, features.shape[1])
        weibull = features.new_zeros(num_classes, 3)
        for number in range(num_classes):
            own = features[labels == number]
            if not len(own):
                continue
            centers[number] = own.mean(dim=0)
            far = distances(own, centers[number, None])[:, 0].sort(descending=True).values[:tail]
            if len(far) >= _FEWEST and far[0] > far[-1]:
                weibull[number] = fit_weibull(far)
        return cls(centers, weibull)

    @property
    def unfitted(self) -> list[int]:
        """Classes whose training videos told no distribution."""
        return torch.nonzero(self.weibull[:, 0] == 0)[:, 0].tolist()

    def packed(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k 3"]]:
        """Return both as float32, which holds a scale only as its distance from the translation."""
        scale, *others = self.weibull.unbind(dim=1)
        scale = torch.where(scale > 0, scale - _TRANSLATION, scale)
        return self.centers.float(), torch.stack([scale, *others], dim=1).float()

    @classmethod
    def unpacked(cls, centers: Float[Tensor, "k d"], weibull: Float[Tensor, "k 3"]) -> OpenMax:
        """Return what was packed."""
        scale, *others = weibull.double().unbind(dim=1)
        scale = torch.where(others[0] > 0, scale + _TRANSLATION, scale)
        return cls(centers.double(), torch.stack([scale, *others], dim=1))

    def oddness(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Return for each class how probable a smaller distance is, 0 to 1."""
        scale, shape, smallest = self.weibull.unbind(dim=1)
        fitted = scale > 0
        found = distances(features, self.centers) + _TRANSLATION - smallest
        ratio = found.clamp(min=0) / torch.where(fitted, scale, torch.ones_like(scale))
        return torch.where(fitted, 1 - (-(ratio**shape)).exp(), torch.zeros_like(found))

    def probabilities(
        self, scores: Float[Tensor, "n k"], features: Float[Tensor, "n d"], *, rank: int = 1
    ) -> Float[Tensor, "n k1"]:
        """Return the probabilities of the classes and, last, of none of them.

        Args:
            scores: before any softmax.
            features: what the scores are made from.
            rank: so many of the best classes may lose score.
        """
        scores, rank = scores.double(), min(rank, scores.shape[1])
        best = scores.argsort(dim=1, descending=True, stable=True)[:, :rank]
        shares = (rank - torch.arange(rank, dtype=torch.float64, device=scores.device)) / rank
        weights = torch.zeros_like(scores).scatter_(1, best, shares.expand(len(scores), -1))
        kept = scores * (1 - self.oddness(features) * weights)
        unknown = (scores - kept).sum(dim=1, keepdim=True)
        return torch.cat([kept, unknown], dim=1).softmax(dim=1)
