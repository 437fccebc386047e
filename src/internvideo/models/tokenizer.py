"""Text to token ids: CLIP's byte-pair encoder, and a word-level tokenizer for small vocabularies.

Both put a start token in front and an end token behind, pad with 0, and keep this contract of the
CLIP text tower: **the end token has the largest id**, so the arg-max of a row is its position. A
text that is too long is cut to the context length and its last id becomes the end token.
"""

from __future__ import annotations

import gzip
import html
import re
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from internvideo.errors import ConfigError, DataError, did_you_mean

if TYPE_CHECKING:
    import tokenizers

__all__ = [
    "CLIPTokenizer",
    "Tokenizer",
    "WordTokenizer",
    "clean_caption",
    "padding_mask",
    "trim_padding",
]

_DELETED = str.maketrans("", "", ",.'!?\"()*#:;~")
_SPLIT = str.maketrans("-/", "  ")


def clean_caption(text: str) -> str:
    """Clean a caption as ViCLIP's training and evaluation do: lower case, no punctuation.

    Deletes `, . ' ! ? " ( ) * # : ; ~`, turns `-` and `/` into spaces and `<person>` into `person`,
    and collapses runs of two or more white-space characters. The official demo does NOT apply it.

    >>> clean_caption("A man (in a hat) walks; then runs!")
    'a man in a hat walks then runs'
    """
    text = text.lower().translate(_DELETED).translate(_SPLIT).replace("<person>", "person")
    return re.sub(r"\s{2,}", " ", text).rstrip("\n").strip(" ")


def padding_mask(ids: Int[Tensor, "b l"]) -> Bool[Tensor, "b l"]:
    """Return True behind the LAST end token of each row (a text may hold the literal end token)."""
    last = ids.shape[1] - 1 - ids.flip(1).argmax(dim=1, keepdim=True)
    return torch.arange(ids.shape[1], device=ids.device) > last


def trim_padding(ids: Int[Tensor, "b l"]) -> Int[Tensor, "b k"]:
    """Drop the columns that are padding in every row.

    The text towers are causal and read out the end token, so the embeddings stay the same and
    short texts cost less. Reads the ids on the host: call it on tokens that are still on the CPU.
    """
    filled = (ids != 0).any(dim=0).nonzero()
    return ids[:, : int(filled.max()) + 1] if len(filled) else ids


@runtime_checkable
class Tokenizer(Protocol):
    """What a text tower needs of a tokenizer.

    Attributes:
        context_length: length of a row in tokens, start and end included.
        start_id: the first token of every text.
        unwritten_ids: tokens that stand behind no other one in a text, so no text is written with
            them.
    """

    context_length: int
    start_id: int
    unwritten_ids: tuple[int, ...]

    @property
    def end_id(self) -> int:
        """The token behind every text, the largest id."""
        ...

    @property
    def vocab_size(self) -> int:
        """Number of ids; 0 is the padding."""
        ...

    def encode(self, text: str) -> list[int]:
        """Return the ids of one text without start and end token."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids without start and end token."""
        ...

    def __call__(self, texts: str | Sequence[str]) -> Int[Tensor, "b l"]:
        """Return padded int64 ids with start and end token, one row per text."""
        ...


class CLIPTokenizer:
    """OpenAI's byte-pair encoder: ids 0…49405, start 49406, end 49407; lower case, `ftfy` repair.

    Args:
        context_length: 77 for CLIP and InternVideo-MM, 32 for ViCLIP.
        truncate: cut texts that are too long; otherwise they are an error.
    """

    vocab_size = 49408
    start_id = 49406
    end_id = 49407
    unwritten_ids: tuple[int, ...] = (start_id,)

    def __init__(self, context_length: int = 77, *, truncate: bool = True):
        self.context_length = _checked_context(context_length)
        self.truncate = truncate

    def encode(self, text: str) -> list[int]:
        """Return the byte-pair ids of one text without start and end token.

        COMPAT: the literals `<|startoftext|>` and `<|endoftext|>` inside a text become the special
        ids, as in OpenAI's encoder but unlike open_clip's; pinned by golden `clip-tokenizer`.
        """
        engine, pattern = _clip_engine()
        pieces = pattern.findall(_clean_for_clip(text))
        return engine.encode(pieces, is_pretokenized=True).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of byte-pair ids; every word is followed by one space."""
        engine, _ = _clip_engine()
        return engine.decode(list(ids), skip_special_tokens=False)

    def __call__(self, texts: str | Sequence[str]) -> Int[Tensor, "b l"]:
        """Tokenize one text or several.

        Raises:
            DataError: a text is too long and `truncate` is off.
        """
        texts = [texts] if isinstance(texts, str) else texts
        rows = [[self.start_id, *self.encode(text), self.end_id] for text in texts]
        for text, row in zip(texts, rows, strict=True):
            if len(row) > self.context_length and not self.truncate:
                raise DataError(
                    f"text of {len(row)} tokens exceeds the context of {self.context_length}: "
                    f"{text[:60]!r}; shorten it or use truncate=True"
                )
        return _padded(rows, self.context_length, self.end_id)


class WordTokenizer:
    """One id per word of a small closed vocabulary.

    Ids: 0 padding, 1 unknown word, 2 start, then the vocabulary in its order, and last the end
    token. Texts are lower-cased; words are runs of letters and digits (an inner apostrophe belongs
    to its word), everything else separates.

    Args:
        vocabulary: the words, lower case, without repetition.
        context_length: length of a row in tokens, start and end included.

    Raises:
        ConfigError: a repeated entry, or one that is not a single lower-case word.
    """

    unknown_id = 1
    start_id = 2
    unwritten_ids: tuple[int, ...] = (0, start_id)

    def __init__(self, vocabulary: tuple[str, ...], context_length: int):
        self.context_length = _checked_context(context_length)
        self.vocabulary = tuple(vocabulary)
        for word in self.vocabulary:
            if _words(word) != [word]:
                raise ConfigError(f"vocabulary: {word!r} is not a single lower-case word")
        self._ids = {word: self.start_id + 1 + i for i, word in enumerate(self.vocabulary)}
        if len(self._ids) != len(self.vocabulary):
            repeated = sorted({w for w in self.vocabulary if self.vocabulary.count(w) > 1})
            raise ConfigError(f"vocabulary: repeated words {', '.join(repeated)}")

    @property
    def vocab_size(self) -> int:
        """Number of ids: the words and the four special tokens."""
        return len(self.vocabulary) + 4

    @property
    def end_id(self) -> int:
        """The largest id."""
        return self.vocab_size - 1

    def encode(self, text: str) -> list[int]:
        """Return the ids of the words of one text, `unknown_id` for words not in the vocabulary."""
        return [self._ids.get(word, self.unknown_id) for word in _words(text)]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the words of a row, leaving out padding, start and end."""
        names = {number: word for word, number in self._ids.items()} | {
            self.unknown_id: "<unknown>"
        }
        return " ".join(names[number] for number in ids if number in names)

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """Return the words of a text that are outside the vocabulary, each once, in order."""
        return tuple(dict.fromkeys(word for word in _words(text) if word not in self._ids))

    def suggestion(self, word: str) -> str:
        """Return `" Did you mean …?"` naming the nearest words of the vocabulary, or nothing."""
        return did_you_mean(word, self.vocabulary)

    def __call__(self, texts: str | Sequence[str]) -> Int[Tensor, "b l"]:
        """Tokenize one text or several."""
        texts = [texts] if isinstance(texts, str) else texts
        rows = [[self.start_id, *self.encode(text), self.end_id] for text in texts]
        return _padded(rows, self.context_length, self.end_id)


_SPECIAL = ("<|startoftext|>", "<|endoftext|>")
_MERGES = 49152 - 256 - 2  # that CLIP uses of the file


def _clean_for_clip(text: str) -> str:
    """Mend broken encodings, resolve HTML entities, collapse blanks and lower-case, as CLIP did."""
    import ftfy

    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()


@cache
def _clip_engine() -> tuple[tokenizers.Tokenizer, Any]:
    """Return CLIP's byte-pair encoder of words, and the pattern that finds them.

    The merges are a file of the installed open_clip, which is not imported: that takes seconds.
    """
    import regex
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    spec = find_spec("open_clip")
    assert spec is not None
    assert spec.origin is not None
    packed = Path(spec.origin).with_name("bpe_simple_vocab_16e6.txt.gz").read_bytes()
    lines = gzip.decompress(packed).decode("utf-8").split("\n")[1 : _MERGES + 1]
    merges = [(first, second) for first, second in (line.split() for line in lines)]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*letters, *(f"{each}</w>" for each in letters), *(a + b for a, b in merges)]
    vocabulary = {piece: number for number, piece in enumerate([*pieces, *_SPECIAL])}
    engine = tokenizers.Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>")
    )
    engine.add_special_tokens([tokenizers.AddedToken(each, normalized=False) for each in _SPECIAL])
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    engine.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace("</w>", " ")])
    special = "|".join(map(regex.escape, _SPECIAL))
    words = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
    return engine, regex.compile(f"{special}|{words}", regex.IGNORECASE)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower())


def _padded(rows: list[list[int]], context_length: int, end_id: int) -> Int[Tensor, "b l"]:
    ids = torch.zeros(len(rows), context_length, dtype=torch.int64)
    for i, row in enumerate(rows):
        if len(row) > context_length:
            row = [*row[: context_length - 1], end_id]
        ids[i, : len(row)] = torch.tensor(row)
    return ids


def _checked_context(context_length: int) -> int:
    if context_length < 2:
        raise ConfigError(
            f"context_length must be at least 2 (start and end), not {context_length}"
        )
    return context_length
