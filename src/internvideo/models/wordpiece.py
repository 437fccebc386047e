"""BERT's tokenizer: basic tokenisation, then the longest known pieces of each word, greedily.

    "Unwanted naïvety!" ──► un ##want ##ed naive ##ty !

Source: Devlin et al. 2018; WordPiece is from Schuster and Nakajima 2012. The vocabulary is a text
file with one piece a line, whose line number is the id (`vocab.txt` of "bert-base-uncased"); `##`
marks a piece that continues a word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from internvideo.errors import ConfigError, DataError

if TYPE_CHECKING:
    import tokenizers

__all__ = ["SPECIAL_TOKENS", "WordPieceTokenizer", "read_vocabulary"]

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Padding, unknown word, start, end, hidden word; a vocabulary must have all of them."""

_MAX_WORD = 100  # characters; a longer word is unknown, as in BERT
_SPLIT_SPECIAL = re.compile(r"(\[(?:PAD|UNK|CLS|SEP|MASK)\])")
_RARE_IDEOGRAPHS = re.compile("[\U0002b820-\U0002b91f]")


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
        self.vocab_size = vocab_size if self.vocabulary is None else len(self.vocabulary)
        self._engine = None if self.vocabulary is None else _engine(self.vocabulary)

    @classmethod
    def from_file(cls, path: Path | str, context_length: int) -> WordPieceTokenizer:
        """Return the tokenizer of a vocabulary file, see `read_vocabulary`."""
        return cls(read_vocabulary(path), context_length)

    def special_id(self, token: str) -> int:
        """Return the id of one of `SPECIAL_TOKENS`."""
        return self._known()[0].index(token)

    def encode(self, text: str) -> list[int]:
        """Return the ids of one text without start and end token.

        COMPAT: the name of a special token inside a text becomes that token, as in the reference.
        """
        return self._known()[1].encode(_prepared(text)).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the words of a row, the pieces put together, without special tokens."""
        vocabulary, _ = self._known()
        pieces = [vocabulary[number] for number in ids]
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

    def _known(self) -> tuple[tuple[str, ...], tokenizers.Tokenizer]:
        if self.vocabulary is None or self._engine is None:
            raise ConfigError(
                "this model came without the words of its BERT; give it the vocab.txt of "
                'bert-base-uncased: model.use_vocabulary("vocab.txt")'
            )
        return self.vocabulary, self._engine


def _prepared(text: str) -> str:
    """Clean and lower-case a text where BERT does it in another way than the engine.

    BERT deletes what its Unicode does not know, knows the final sigma, and takes a few more
    ideographs for words. Marks that Unicode has had since version 9 stay letters here.
    """
    if text.isascii():
        return text
    parts = _SPLIT_SPECIAL.split(text)
    return "".join(part if part in SPECIAL_TOKENS else _folded(part) for part in parts)


def _folded(text: str) -> str:
    spaced = _RARE_IDEOGRAPHS.sub(r" \g<0> ", text)
    return "".join(c for c in spaced if c in "\t\n\r" or _is_shown(c)).lower()


def _is_shown(character: str) -> bool:
    return character != "\ufffd" and not unicodedata.category(character).startswith("C")


def _engine(vocabulary: tuple[str, ...]) -> tokenizers.Tokenizer:
    import tokenizers
    from tokenizers import models, normalizers, pre_tokenizers

    if missing := [token for token in SPECIAL_TOKENS if token not in vocabulary]:
        raise ConfigError(f"vocabulary: the special tokens {', '.join(missing)} are missing")
    if vocabulary[0] != "[PAD]":
        raise ConfigError(f"vocabulary: the first piece must be [PAD], not {vocabulary[0]!r}")
    ids = {piece: number for number, piece in enumerate(vocabulary)}
    if len(ids) != len(vocabulary):
        repeated = sorted({piece for piece in vocabulary if vocabulary.count(piece) > 1})
        raise ConfigError(f"vocabulary: repeated pieces {', '.join(repeated[:5])}")
    engine = tokenizers.Tokenizer(
        models.WordPiece(vocab=ids, unk_token="[UNK]", max_input_chars_per_word=_MAX_WORD)
    )
    engine.add_special_tokens(
        [tokenizers.AddedToken(each, normalized=False) for each in SPECIAL_TOKENS]
    )
    engine.normalizer = normalizers.BertNormalizer(lowercase=True)
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return engine
