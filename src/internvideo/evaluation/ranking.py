"""Numbers from a matrix of scores: ranks, recalls, accuracies.

Letters: Q queries (rows), C candidates (columns).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["best_ranks", "dual_softmax", "recall_percent", "top_k_accuracy"]


def best_ranks(scores: Float[Tensor, "q c"], positives: Bool[Tensor, "q c"]) -> Int[Tensor, "q"]:
    """Return the rank (0 = first) of the best positive candidate of every query.

    Of candidates with equal scores the one with the larger index counts as better, as when the
    reference reverses an ascending stable sort. Counting, not sorting: linear in the matrix.
    """
    hidden = scores.masked_fill(~positives, -torch.inf)
    best = hidden.amax(dim=1, keepdim=True)
    index = torch.arange(scores.shape[1], device=scores.device)
    last = index.masked_fill(~((hidden == best) & positives), -1).amax(dim=1, keepdim=True)
    ahead = (scores > best) | ((scores == best) & (index > last))
    return ahead.sum(dim=1)


def recall_percent(ranks: Int[Tensor, "q"], k: int) -> float:
    """Return the percentage of queries whose rank is below `k`, to two decimals."""
    return round(float((ranks < k).double().mean()) * 100, 2)


def top_k_accuracy(scores: Float[Tensor, "q c"], labels: Int[Tensor, "q"], k: int) -> float:
    """Return the percentage of rows whose label is among the `k` best, to two decimals."""
    positives = torch.nn.functional.one_hot(labels.long(), scores.shape[1]).bool()
    return recall_percent(best_ranks(scores, positives), k)


def dual_softmax(scores: Float[Tensor, "q c"], *, temperature: float = 1.0) -> Float[Tensor, "q c"]:
    """Rerank by `scores · softmax(scores / temperature over the QUERIES)` (DSL, arXiv 2109.04290).

    A candidate that suits all queries loses; it needs all queries at once, so it is no fair number
    for a single query. ViCLIP uses cosines at temperature 1, where the softmax is almost flat.
    """
    return scores * (scores / temperature).softmax(dim=0)
