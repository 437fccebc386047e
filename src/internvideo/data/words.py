"""Word vectors such as GloVe's: a text file with a word and its numbers on each line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from internvideo.errors import DataError
from internvideo.files import replacing

__all__ = ["Words", "read_words", "restrict_words", "words_of"]

_MOST = 200_000  # words that a model carries with it
_WORD = re.compile(r"\w+?(?=n't\b)|n't\b|'\w+|\w+|[^\w\s]")


@dataclass(frozen=True, kw_only=True)
class Words:
    """The words of a file, in its order.

    Attributes:
        words: each once.
        vectors: theirs; None where the file has words alone.
    """

    words: tuple[str, ...]
    vectors: Float[Tensor, "n w"] | None = None


def words_of(text: str) -> list[str]:
    """Return the words of a sentence as tables of word vectors have them.

    >>> words_of("where's the cup i didn't use?")
    ['where', "'s", 'the', 'cup', 'i', 'did', "n't", 'use', '?']
    """
    return _WORD.findall(text)


def read_words(path: Path) -> Words:
    """Read words, with their vectors where each line has one.

    Raises:
        DataError: no such file, no words, vectors of several lengths, or more words than a model
            should carry.
    """
    words: dict[str, list[float]] = {}
    for number, (word, vector) in enumerate(_lines(path), start=1):
        if len(words) >= _MOST:
            raise DataError(
                f"{path} has more than {_MOST} words; keep those of your queries: "
                "internvideo data words"
            )
        if words and len(vector) != len(next(iter(words.values()))):
            raise DataError(
                f"{path}: word {number} ({word!r}) has {len(vector)} numbers, the first has "
                f"{len(next(iter(words.values())))}"
            )
        words.setdefault(word, vector)
    if not words:
        raise DataError(f"{path} is empty; expected a word a line, with its vector or without")
    vectors = torch.tensor(list(words.values())) if next(iter(words.values())) else None
    return Words(words=tuple(words), vectors=vectors)


def restrict_words(vectors: Path, wanted: Iterable[str], out: Path) -> int:
    """Copy those lines of a file of word vectors whose words are wanted; return how many.

    Raises:
        DataError: the file cannot be read, or has none of the words.
    """
    words, count = set(wanted), 0
    with replacing(out) as draft, draft.open("w", encoding="utf-8") as file:
        for word, numbers in _lines(vectors):
            if word in words:
                file.write(f"{word} {' '.join(f'{each:g}' for each in numbers)}\n")
                count += 1
        if not count:
            raise DataError(f"{vectors} has none of the {len(words)} words that are wanted")
    return count


def _lines(path: Path) -> Iterable[tuple[str, list[float]]]:
    """Yield the word and the numbers of each line; a first line of two numbers is no word."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                word, *rest = line.rstrip().split(" ")
                if not word or (number == 1 and len(rest) == 1 and word.isdigit()):
                    continue
                try:
                    yield word, [float(each) for each in rest]
                except ValueError:
                    raise DataError(
                        f"{path}:{number}: expected a word and numbers, got {line[:60]!r}"
                    ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no readable text ({error})") from None
