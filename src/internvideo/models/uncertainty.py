"""How unsure a classifier is: evidence for its classes, and disagreement of several passes.

Evidence says what a Dirichlet distribution over the class probabilities has seen:

    logits z ──► evidence e(z) ≥ 0 ──► alpha = e + 1 ──► p = alpha / sum(alpha)
                                                     └─► u = k / sum(alpha), 1 where nothing speaks

Letters: b videos, k classes, p passes.

Source: evidential learning (arXiv 1806.01768), DEAR (arXiv 2107.10161); fixtures `openset-edl`,
`openset-bald`, `openset-bnn-test`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

__all__ = ["Dirichlet", "Evidence", "bald", "entropy", "variances"]

Evidence = Literal["exp", "relu", "softplus"]

_LARGEST_LOGIT = 10.0


@dataclass(frozen=True, slots=True)
class Dirichlet:
    """A distribution over class probabilities.

    Attributes:
        alpha: "*b k", at least 1.
    """

    alpha: Float[Tensor, "*b k"]

    @classmethod
    def of_logits(cls, logits: Float[Tensor, "*b k"], evidence: Evidence = "exp") -> Dirichlet:
        """Return the distribution that logits give evidence for.

        COMPAT: the exponential is that of logits between -10 and 10, in tests too; pinned by golden
        `openset-edl`.

        Raises:
            ValueError: an unknown kind of evidence.
        """
        match evidence:
            case "exp":
                found = logits.clamp(-_LARGEST_LOGIT, _LARGEST_LOGIT).exp()
            case "relu":
                found = logits.relu()
            case "softplus":
                found = F.softplus(logits)
            case _:
                raise ValueError(f"evidence {evidence!r} is not one of 'exp', 'relu', 'softplus'")
        return cls(found + 1)

    @property
    def strength(self) -> Float[Tensor, "*b"]:
        """The sum of alpha."""
        return self.alpha.sum(dim=-1)

    @property
    def probabilities(self) -> Float[Tensor, "*b k"]:
        """The expected probabilities."""
        return self.alpha / self.strength[..., None]

    @property
    def uncertainty(self) -> Float[Tensor, "*b"]:
        """The share of the distribution that no evidence speaks for, 0 to 1."""
        return self.alpha.shape[-1] / self.strength


def entropy(probabilities: Float[Tensor, "*b k"]) -> Float[Tensor, "*b"]:
    """Return the entropy of probabilities, in nats."""
    return -torch.xlogy(probabilities, probabilities).sum(dim=-1)


def bald(probabilities: Float[Tensor, "*b p k"]) -> Float[Tensor, "*b"]:
    """Return by how much passes disagree: entropy of their mean minus their mean entropy.

    Source: BALD (arXiv 1112.5745).
    """
    return entropy(probabilities.mean(dim=-2)) - entropy(probabilities).mean(dim=-1)


def variances(
    probabilities: Float[Tensor, "*b p k"],
) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
    """Return the variance of the class within the passes (aleatoric) and between them (epistemic).

    They are the traces of the matrices E[diag(p) - p pᵀ] and E[(p - p̄)(p - p̄)ᵀ].
    """
    within = (probabilities - probabilities.square()).sum(dim=-1).mean(dim=-1)
    mean = probabilities.mean(dim=-2, keepdim=True)
    return within, (probabilities - mean).square().sum(dim=-1).mean(dim=-1)
