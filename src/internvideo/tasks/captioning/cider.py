"""How near written captions are to those that people, or the world, gave.

Captions are compared word by word, words being what white space separates; lower-case them and take
the punctuation off first (`models.tokenizer.clean_caption`) where they have any.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

__all__ = ["cider", "exact_match"]

_ORDERS = (1, 2, 3, 4)
_SIGMA = 6.0
_SCALE = 10.0

_Gram = tuple[str, ...]
_Grams = Counter[_Gram]
_Vector = dict[_Gram, float]


def exact_match(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return the percentage of captions that equal one of their references.

    Raises:
        ValueError: no captions, or not one list of references each.
    """
    _check(captions, references)
    hits = sum(caption in wanted for caption, wanted in zip(captions, references, strict=True))
    return 100 * hits / len(captions)


def cider(
    captions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[float, list[float]]:
    """Return the CIDEr-D of a set of captions, and that of each (arXiv 1411.5726, section 5).

    Counts of 1- to 4-grams, weighted by how few videos' references have them, are compared by a
    cosine that is clipped at the reference's count and shrinks with the difference in length
    (sigma 6). The mean over the four orders and the references times 10: 10 is a perfect caption of
    rare words. The weights come from the references of the whole set, so values of different sets
    do not compare; a set of one video has none, and scores 0.

    Args:
        captions: one a video.
        references: the true captions of each video, at least one.

    Raises:
        ValueError: no captions, or not one list of references each.
    """
    _check(captions, references)
    wanted = [[_grams(text) for text in texts] for texts in references]
    videos_with = Counter(gram for texts in wanted for gram in set[_Gram]().union(*texts))
    log_videos = math.log(len(captions))

    def weighted(grams: _Grams) -> list[_Vector]:
        vectors: list[_Vector] = [{} for _ in _ORDERS]
        for gram, count in grams.items():
            rarity = log_videos - math.log(max(1, videos_with[gram]))
            vectors[len(gram) - 1][gram] = count * rarity
        return vectors

    scores: list[float] = []
    for caption, texts in zip(captions, wanted, strict=True):
        grams = _grams(caption)
        vectors = weighted(grams)
        each = [
            _similarity(vectors, weighted(text)) * _length_penalty(grams, text) for text in texts
        ]
        scores.append(_SCALE * sum(each) / len(each))
    return sum(scores) / len(scores), scores


def _check(captions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if not captions or len(captions) != len(references) or not all(references):
        raise ValueError(
            f"{len(captions)} captions need as many lists of at least one reference, got "
            f"{len(references)} lists"
        )


def _grams(text: str) -> _Grams:
    words = text.split()
    return Counter(
        tuple(words[start : start + order])
        for order in _ORDERS
        for start in range(len(words) - order + 1)
    )


def _similarity(caption: list[_Vector], reference: list[_Vector]) -> float:
    """Return the mean clipped cosine over the orders."""
    total = 0.0
    for ours, theirs in zip(caption, reference, strict=True):
        norms = _norm(ours) * _norm(theirs)
        if norms:
            # in the order of the caption, so that every run rounds alike
            shared = (gram for gram in ours if gram in theirs)
            total += sum(min(ours[gram], theirs[gram]) * theirs[gram] for gram in shared) / norms
    return total / len(_ORDERS)


def _norm(vector: _Vector) -> float:
    return math.sqrt(sum(value * value for value in vector.values()))


def _length_penalty(caption: _Grams, reference: _Grams) -> float:
    # The official scorer takes the number of pairs of words for the length.
    pairs = [
        sum(n for gram, n in grams.items() if len(gram) == 2) for grams in (caption, reference)
    ]
    return math.exp(-((pairs[0] - pairs[1]) ** 2) / (2 * _SIGMA**2))
