"""Losses on the matrix of scores of a batch, where each text belongs to the video of its row.

The symmetric cross-entropy trains all published models; on embeddings `train.contrast` computes it
without the matrix. The others are those that the reference has beside it.

Letters: n pairs; rows are texts, columns videos; d channels.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from internvideo.tasks.retrieval.headers import TokenWiseHeader
from internvideo.train.contrast import contrastive_targets

__all__ = [
    "Decorrelation",
    "cross_entropy",
    "decorrelation_loss",
    "dual_softmax_loss",
    "max_margin_loss",
    "mil_nce_loss",
    "symmetric",
]

Decorrelation: TypeAlias = Literal["none", "random", "nearest", "weighted"]


def cross_entropy(
    logits: Float[Tensor, "n n"], ids: Int[Tensor, "n"] | None = None
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of each text's own video.

    Args:
        logits: of the pairs.
        ids: pairs with equal ids are positives of each other; None: all are distinct.
    """
    if ids is None:
        target = torch.arange(len(logits), device=logits.device)
    else:
        target = contrastive_targets(ids)
    return F.cross_entropy(logits, target)


def dual_softmax_loss(
    logits: Float[Tensor, "n n"], *, temperature: float = 1000.0
) -> Float[Tensor, ""]:
    """Return the cross-entropy after a prior of each video over the texts (arXiv 2109.04290)."""
    prior = (logits / temperature).softmax(dim=0)
    return cross_entropy(logits * prior * len(logits))


def symmetric(loss: Float[Tensor, ""], transposed: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Return the mean of a loss on the rows and the same on the columns."""
    return (loss + transposed) / 2


def max_margin_loss(
    scores: Float[Tensor, "n n"],
    *,
    margin: float,
    group: int = 1,
    easy_rate: float = 0.5,
) -> Float[Tensor, ""]:
    """Return the mean hinge of every pair against the pairs of its row and of its column.

    Args:
        scores: of the pairs.
        margin: by which the own pair should be ahead.
        group: captions of one video that stand side by side; with several, pairs within a group
            weigh `groups * (1 - easy_rate)` and others `groups / (groups - 1) * easy_rate`.
        easy_rate: share of the weight that pairs of different videos have.
    """
    own = scores.diagonal()
    hinge = (margin + scores - own[:, None]).relu() + (margin + scores - own[None]).relu()
    groups = len(scores) // group
    if group > 1 and groups > 1:
        weights = torch.where(
            _same_group(scores, group),
            groups * (1 - easy_rate),
            groups / (groups - 1) * easy_rate,
        )
        hinge = hinge * weights
    return hinge.mean()


def mil_nce_loss(logits: Float[Tensor, "n n"], *, group: int = 1) -> Float[Tensor, ""]:
    """Return the loss of MIL-NCE (arXiv 1912.06430), of the middle pair of each group.

    Any text of the group may be the right one; all other texts of the video and all other videos
    of the text are negatives.

    Args:
        logits: of the pairs.
        group: captions of one video that stand side by side.
    """
    same = _same_group(logits, group)
    of_video, of_text = logits.T, logits.masked_fill(same, -torch.inf)
    positives = of_video.masked_fill(~same, -torch.inf).logsumexp(dim=1)
    losses = torch.cat([of_video, of_text], dim=1).logsumexp(dim=1) - positives
    return losses[group // 2 :: group].mean()


def _same_group(scores: Float[Tensor, "n n"], group: int) -> Bool[Tensor, "n n"]:
    numbers = torch.arange(len(scores), device=scores.device) // group
    return numbers[:, None] == numbers[None]


def decorrelation_loss(
    kind: Decorrelation,
    header: TokenWiseHeader,
    words: Float[Tensor, "n l d"],
    said: Bool[Tensor, "n l"],
    frames: Float[Tensor, "n t d"],
    seen: Bool[Tensor, "n t"],
    *,
    on_diagonal: float = 0.16,
    off_diagonal: float = 0.0,
) -> Float[Tensor, ""]:
    """Ask the channels of matching words and frames to correlate (DRL, arXiv 2203.07111).

    The correlation of channel c of the words with channel d of the frames, over the true pairs of
    the batch, should be 1 where c = d and 0 elsewhere.

    Args:
        kind: which tokens are matched: a "random" word with a random frame; each word with its
            "nearest" frame and each frame with its nearest word; the same, "weighted".
        header: compares the true pairs, to find which tokens match.
        words: of the texts.
        said: which are no padding.
        frames: of the videos.
        seen: which are no padding.
        on_diagonal: weight of the squares of what lacks to 1.
        off_diagonal: weight of the squares elsewhere.
    """
    unit_words, unit_frames = F.normalize(words, dim=-1), F.normalize(frames, dim=-1)
    if kind == "random":
        word, frame = _drawn(unit_words, said), _drawn(unit_frames, seen)
        matrix = _correlation(word, frame, torch.ones_like(word[..., 0]))
    else:
        found = header(words, said, frames, seen)
        of_words, of_frames = said.to(words.dtype), seen.to(words.dtype)
        if kind == "weighted":
            of_words, of_frames = found.word_weights, found.frame_weights
        near_words = _taken(unit_frames, found.nearest_frame)
        near_frames = _taken(unit_words, found.nearest_word)
        matrix = _correlation(unit_words, near_words, of_words, said)
        matrix = (matrix + _correlation(unit_frames, near_frames, of_frames, seen)) / 2
    diagonal = matrix.diagonal()
    rest = matrix.square().sum() - diagonal.square().sum()
    return on_diagonal * (diagonal - 1).square().sum() + off_diagonal * rest


def _correlation(
    first: Float[Tensor, "n k d"],
    second: Float[Tensor, "n k d"],
    weights: Float[Tensor, "n k"],
    real: Bool[Tensor, "n k"] | None = None,
) -> Float[Tensor, "d d"]:
    """Return the weighted mean product of standardised channels over all tokens that are real."""
    flat = weights.flatten()
    counted = torch.ones_like(flat) if real is None else real.flatten().to(flat.dtype)
    parts = [_standardised(tokens.flatten(0, 1), counted) for tokens in (first, second)]
    return torch.einsum("nc,nf,n->cf", *parts, flat * counted) / flat.sum()


def _standardised(x: Float[Tensor, "m d"], counted: Float[Tensor, "m"]) -> Float[Tensor, "m d"]:
    count, weights = counted.sum(), counted[:, None]
    centred = x - (x * weights).sum(dim=0) / count
    return centred * ((centred.square() * weights).sum(dim=0) / (count - 1)).rsqrt()


def _taken(tokens: Float[Tensor, "n k d"], index: Int[Tensor, "n m"]) -> Float[Tensor, "n m d"]:
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[2]))


def _drawn(tokens: Float[Tensor, "n k d"], real: Bool[Tensor, "n k"]) -> Float[Tensor, "n 1 d"]:
    """Return one token of each row that is no padding; padding stands at the end."""
    share = torch.rand(len(tokens), device=tokens.device)
    return _taken(tokens, (share * real.sum(dim=1)).long()[:, None])
