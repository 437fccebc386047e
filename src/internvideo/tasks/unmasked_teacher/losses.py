"""Hard negatives and hidden words: what video-text matching and word prediction learn from.

Matching: 3B pairs of a batch of B, every video with its text, every text with a video that is
easily taken for its own, every video with such a text (ALBEF, arXiv 2107.07651).
Words: BERT's masked language model, with the video in view.

Letters: b batch, l text length, v vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from internvideo.evaluation.arrays import from_numpy
from internvideo.models.wordpiece import WordPieceTokenizer

__all__ = [
    "IGNORED",
    "HiddenWords",
    "Negatives",
    "draw_negatives",
    "hide_words",
    "matching_labels",
    "negative_weights",
    "word_loss",
]

IGNORED = -100  # the label of what does not count
_SHARE_MASKED, _SHARE_RANDOM = 0.8, 0.1  # of the hidden words; the rest stays as it is


class Negatives(NamedTuple):
    """Partners that do not belong.

    Attributes:
        video: for each text the number of a video.
        text: for each video the number of a text.
    """

    video: Int[Tensor, "b"]
    text: Int[Tensor, "b"]


class HiddenWords(NamedTuple):
    """A text with words hidden.

    Attributes:
        tokens: what the model reads.
        words: what it shall find, `IGNORED` where nothing is hidden.
    """

    tokens: Int[Tensor, "l"]
    words: Int[Tensor, "l"]


@torch.no_grad()
def negative_weights(
    similarity: Float[Tensor, "b b"], ids: Int[Tensor, "b"]
) -> Float[Tensor, "b b"]:
    """Return how likely each column is drawn as the negative of a row: softmax, 0 for equal ids."""
    same = ids[:, None] == ids[None, :]
    return similarity.float().softmax(dim=1).masked_fill(same, 0.0)


@torch.no_grad()
def draw_negatives(
    similarity: Float[Tensor, "b b"],
    ids: Int[Tensor, "b"],
    *,
    generator: torch.Generator | None = None,
) -> Negatives:
    """Draw a hard negative for every text and for every video.

    Nothing makes the host wait. A batch of one id has no negatives: see `matching_labels`.

    Args:
        similarity: of the videos (rows) and the texts of this process, over the temperature.
        ids: equal where a video and a text belong together.
        generator: on the device of the similarities; None is the device's own.
    """

    def draw(weights: Tensor) -> Tensor:
        # The largest of w / E with E ~ Exp(1) is a draw with the weights w.
        return (weights / torch.empty_like(weights).exponential_(generator=generator)).argmax(dim=1)

    return Negatives(
        video=draw(negative_weights(similarity.T, ids)),
        text=draw(negative_weights(similarity, ids)),
    )


def matching_labels(ids: Int[Tensor, "b"], negatives: Negatives) -> Int[Tensor, "3b"]:
    """Return 1 for the pairs, then 0 for the texts and videos with their negatives.

    A "negative" of the same id, where there was no other to draw, does not count.
    """
    drawn = torch.cat([ids[negatives.video] == ids, ids[negatives.text] == ids])
    return torch.cat([torch.ones_like(ids), torch.where(drawn, IGNORED, 0)])


def hide_words(
    tokens: Int[Tensor, "l"],
    tokenizer: WordPieceTokenizer,
    *,
    probability: float,
    rng: np.random.Generator,
) -> HiddenWords:
    """Hide words of a text, never padding or `[CLS]`.

    Of the hidden ones 80 % become `[MASK]`, 10 % any piece of the vocabulary, 10 % stay.

    Raises:
        ConfigError: the model came without a vocabulary.
    """
    ids = tokens.numpy()
    kept = np.isin(ids, [tokenizer.special_id("[PAD]"), tokenizer.special_id("[CLS]")])
    hidden = (rng.random(ids.shape) < probability) & ~kept
    kind = rng.random(ids.shape)
    anything = rng.integers(tokenizer.vocab_size, size=ids.shape)
    masked = hidden & (kind < _SHARE_MASKED)
    random = hidden & ~masked & (kind < _SHARE_MASKED + _SHARE_RANDOM)
    read = np.where(masked, tokenizer.special_id("[MASK]"), np.where(random, anything, ids))
    return HiddenWords(tokens=from_numpy(read), words=from_numpy(np.where(hidden, ids, IGNORED)))


def word_loss(logits: Float[Tensor, "b l v"], words: Int[Tensor, "b l"]) -> Float[Tensor, ""]:
    """Return the mean cross-entropy over the hidden words; 0 where the batch has none."""
    total = F.cross_entropy(
        logits.float().flatten(0, 1), words.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return total / (words != IGNORED).sum().clamp(min=1)
