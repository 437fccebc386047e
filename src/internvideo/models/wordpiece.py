"""BERT's tokenizer: basic tokenisation, then the longest known pieces of each word, greedily.

    "Unwanted naïvety!" ──► un ##want ##ed naive ##ty !

Source: Devlin et al. 2018; WordPiece is from Schuster and Nakajima 2012. The vocabulary is a text
file with one piece a line, whose line number is the id (`vocab.txt` of "bert-base-uncased"); `##`
marks a piece that continues a word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from internvideo.errors import ConfigError, DataError

__all__ = ["SPECIAL_TOKENS", "WordPieceTokenizer", "basic_tokens", "read_vocabulary"]

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Padding, unknown word, start, end, hidden word; a vocabulary must have all of them."""

_SPLIT_SPECIAL = re.compile(r"(\[(?:PAD|UNK|CLS|SEP|MASK)\])")
_MAX_WORD = 100  # characters; a longer word is unknown, as in BERT
_WHITE = " \t\n\r"
# Chinese characters are words of their own: the blocks of CJK ideographs, as BERT lists them.
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


def read_vocabulary(path: Path | str) -> tuple[str, ...]:
    """Read the pieces of a `vocab.txt`, one a line.

    Raises:
        DataError: no such file, not UTF-8, or nothing in it.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a readable vocabulary ({error})") from error
    pieces = tuple(line.rstrip("\r") for line in lines)
    while pieces and not pieces[-1]:
        pieces = pieces[:-1]
    if not pieces:
        raise DataError(f"{path} is empty; expected one piece of a word a line")
    return pieces


class WordPieceTokenizer:
    """Texts to ids `[CLS] pieces [SEP]`, padded with `[PAD]`; too long ones are cut.

    Unlike with CLIP the end token is NOT the largest id. The ids stop where the padding, id 0,
    begins.

    Args:
        vocabulary: the pieces in the order of their ids, `[PAD]` first; None where the model came
            without one: the tokenizer then tells what to do when it is used.
        context_length: length of a row in tokens, `[CLS]` and `[SEP]` included.
        vocab_size: of the model, where there is no vocabulary.

    Raises:
        ConfigError: a special token is missing, `[PAD]` is not the first, or a piece is repeated.
    """

    def __init__(
        self, vocabulary: Sequence[str] | None, context_length: int, *, vocab_size: int = 30522
    ) -> None:
        if context_length < 2:
            raise ConfigError(
                f"context_length must be at least 2 ([CLS] and [SEP]), not {context_length}"
            )
        self.context_length = context_length
        self.vocabulary = None if vocabulary is None else tuple(vocabulary)
        self._ids: dict[str, int] = {}
        self._vocab_size = vocab_size
        if self.vocabulary is not None:
            self._ids = _numbered(self.vocabulary)
            self._vocab_size = len(self.vocabulary)

    @classmethod
    def from_file(cls, path: Path | str, context_length: int) -> WordPieceTokenizer:
        """Return the tokenizer of a vocabulary file, see `read_vocabulary`."""
        return cls(read_vocabulary(path), context_length)

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return self._vocab_size

    def special_id(self, token: str) -> int:
        """Return the id of one of `SPECIAL_TOKENS`."""
        return self._known()[token]

    def encode(self, text: str) -> list[int]:
        """Return the ids of one text without start and end token.

        COMPAT: the name of a special token inside a text becomes that token, as in the reference.
        """
        ids = self._known()
        found: list[int] = []
        for part in _SPLIT_SPECIAL.split(text):
            if part in SPECIAL_TOKENS:
                found.append(ids[part])
                continue
            for word in basic_tokens(part):
                found.extend(ids[piece] for piece in self._pieces(word))
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """Return the words of a row, the pieces put together, without special tokens."""
        self._known()
        assert self.vocabulary is not None
        pieces = [self.vocabulary[number] for number in ids]
        words = " ".join(piece for piece in pieces if piece not in SPECIAL_TOKENS)
        return words.replace(" ##", "").removeprefix("##")

    def __call__(self, texts: str | Sequence[str]) -> Int[Tensor, "b l"]:
        """Tokenize one text or several.

        Raises:
            ConfigError: the model came without a vocabulary.
        """
        texts = [texts] if isinstance(texts, str) else texts
        start, end = self.special_id("[CLS]"), self.special_id("[SEP]")
        rows = torch.zeros(len(texts), self.context_length, dtype=torch.int64)
        for row, text in zip(rows, texts, strict=True):
            ids = [start, *self.encode(text)[: self.context_length - 2], end]
            row[: len(ids)] = torch.tensor(ids)
        return rows

    def _known(self) -> dict[str, int]:
        if self.vocabulary is None:
            raise ConfigError(
                "this model came without the words of its BERT; give it the vocab.txt of "
                'bert-base-uncased: model.use_vocabulary("vocab.txt")'
            )
        return self._ids

    def _pieces(self, word: str) -> Iterator[str]:
        """Cut a word into the longest known pieces from the left; all or `[UNK]`."""
        if len(word) > _MAX_WORD:
            yield "[UNK]"
            return
        pieces: list[str] = []
        start = 0
        while start < len(word):
            mark = "##" if start else ""
            end = next(
                (e for e in range(len(word), start, -1) if mark + word[start:e] in self._ids), None
            )
            if end is None:
                yield "[UNK]"
                return
            pieces.append(mark + word[start:end])
            start = end
        yield from pieces


def basic_tokens(text: str) -> list[str]:
    """Return the words, punctuation marks and Chinese characters of a text, in lower case.

    Control characters are deleted and accents taken off.

    >>> basic_tokens("A naïve dog's 狗 walk")
    ['a', 'naive', 'dog', "'", 's', '狗', 'walk']
    """
    spaced = "".join(_replacement(character) for character in text)
    folded = unicodedata.normalize("NFD", spaced.lower())
    parts = (_separated(c) for c in folded if unicodedata.category(c) != "Mn")
    return "".join(parts).split()


@lru_cache(maxsize=1 << 14)
def _replacement(character: str) -> str:
    """Return a character as it enters the splitting: blank, spaced, itself, or nothing."""
    if character in _WHITE or unicodedata.category(character) == "Zs":
        return " "
    if character in "\0\ufffd" or unicodedata.category(character).startswith("C"):
        return ""
    code = ord(character)
    if any(first <= code <= last for first, last in _IDEOGRAPHS):
        return f" {character} "
    return character


@lru_cache(maxsize=1 << 14)
def _separated(character: str) -> str:
    """Return punctuation with blanks around it, anything else as it is.

    All of ASCII that is neither letter, digit nor blank counts as punctuation, also `$` and `^`.
    """
    symbol = "!" <= character <= "~" and not character.isalnum()
    if symbol or unicodedata.category(character).startswith("P"):
        return f" {character} "
    return character


def _numbered(vocabulary: tuple[str, ...]) -> dict[str, int]:
    if missing := [token for token in SPECIAL_TOKENS if token not in vocabulary]:
        raise ConfigError(f"vocabulary: the special tokens {', '.join(missing)} are missing")
    if vocabulary[0] != "[PAD]":
        raise ConfigError(f"vocabulary: the first piece must be [PAD], not {vocabulary[0]!r}")
    ids = {piece: number for number, piece in enumerate(vocabulary)}
    if len(ids) != len(vocabulary):
        repeated = sorted({piece for piece in vocabulary if vocabulary.count(piece) > 1})
        raise ConfigError(f"vocabulary: repeated pieces {', '.join(repeated[:5])}")
    return ids
