"""Video-text contrast: the symmetric cross-entropy with several possible positives.

`S = v tᵀ / temperature` of unit vectors; the target of row i is uniform over all j with the same
sample id, so a caption that occurs twice in a batch is not its own negative. The loss is the mean
of the video→text and the text→video cross-entropy, as in ViCLIP (arXiv 2307.06942). With distinct
ids it is the InfoNCE loss of CLIP. Across processes, gather features and ids first and pass the
whole batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["caption_ids", "contrastive_loss", "contrastive_targets"]


def caption_ids(captions: Sequence[str]) -> Int[Tensor, "b"]:
    """Return one id per caption, equal for equal captions, in any batch and on any machine.

    >>> first, second, third = caption_ids(["a red star", "a digit", "a red star"]).tolist()
    >>> first == third != second
    True
    """
    digests = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in captions]
    return torch.tensor(
        [int.from_bytes(digest, "big", signed=True) for digest in digests], dtype=torch.int64
    )


def contrastive_targets(ids: Int[Tensor, "b"]) -> Float[Tensor, "b b"]:
    """Return the target distribution of each row: uniform over the samples with the same id."""
    same = (ids[:, None] == ids[None, :]).float()
    return same / same.sum(dim=1, keepdim=True)


def contrastive_loss(
    video: Float[Tensor, "b d"],
    text: Float[Tensor, "b d"],
    temperature: float | Float[Tensor, ""],
    *,
    ids: Int[Tensor, "b"] | None = None,
) -> Float[Tensor, ""]:
    """Return the symmetric contrastive loss of a batch of pairs.

    Args:
        video: unit-norm video embeddings.
        text: unit-norm text embeddings; row i belongs to video i.
        temperature: the similarities are divided by it.
        ids: sample ids; pairs with equal ids are positives of each other. None: all are distinct.
    """
    logits = video.float() @ text.float().T / temperature
    if ids is None:
        target = torch.arange(len(logits), device=logits.device)
    else:
        target = contrastive_targets(ids)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
