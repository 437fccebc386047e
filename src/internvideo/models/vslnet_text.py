"""What VSLNet reads a query with: a frozen BERT, word vectors with characters, or vectors as given.

    ids ──► BERT (frozen) ────────────────────────────┐
    vectors of another text tower, one a sentence ────┼──► linear ──► (b, l, d)
    word ids ──► word vectors ─┐                      │
    letters ──► convolutions ──┴──────────────────────┘

Letters: b batch, l words of a query, k letters of a word, w width of a word, d width.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from internvideo.models.bert import BertConfig, BertFusionEncoder

__all__ = [
    "MIN_LETTERS",
    "SPECIAL_IDS",
    "BertText",
    "BertTextConfig",
    "GivenTextConfig",
    "QueryTokens",
    "WordText",
    "WordTextConfig",
]

_LETTER_KERNELS = (1, 2, 3, 4)
_LETTER_CHANNELS = (10, 20, 30, 40)
SPECIAL_IDS = 2
"""Ids before those of words, or of letters: padding and unknown."""

MIN_LETTERS = _LETTER_KERNELS[-1]
"""Letters that every word is padded to at least: the longest kernel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BertTextConfig:
    """A frozen BERT, whose last layer is read.

    While training its dropout is on, as in the reference, unless `bert` has none; only then can
    what it says of a query be kept.

    Attributes:
        bert: shape of the encoder; none of its layers looks at a video.
        context_length: the longest query in word pieces.
        vocabulary: the pieces, `[PAD]` first; None where the model came without them.
    """

    bert: BertConfig = field(default_factory=lambda: BertConfig(fusion_layer=12, masked_lm=False))
    context_length: int = 128
    vocabulary: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.bert.fusion_layer != self.bert.depth or self.bert.masked_lm:
            raise ValueError("bert: a text encoder has fusion_layer = depth and no masked_lm")

    @property
    def width(self) -> int:
        """Width of a word."""
        return self.bert.width


@dataclass(frozen=True, kw_only=True, slots=True)
class WordTextConfig:
    """Word vectors, beside convolutions over the letters of each word.

    Attributes:
        num_words: ids, with 0 for padding and 1 for unknown words.
        num_letters: likewise of letters.
        word_width: of a word vector.
        letter_width: of a letter.
        pretrained: the word vectors are given and stay as they are, but for that of unknown words;
            else all are learnt.
        vocabulary: the words from id 2 on; None where the model came without them.
        letters: the letters from id 2 on, likewise.
    """

    num_words: int
    num_letters: int
    word_width: int = 300
    letter_width: int = 50
    pretrained: bool = True
    vocabulary: tuple[str, ...] | None = None
    letters: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name, known, count in (
            ("words", self.vocabulary, self.num_words),
            ("letters", self.letters, self.num_letters),
        ):
            if known is not None and len(known) + SPECIAL_IDS != count:
                raise ValueError(f"num_{name} {count} is not {len(known)} + padding and unknown")


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenTextConfig:
    """Vectors that another model makes of a query; it is no part of this one.

    Attributes:
        width: of a vector.
        model: what makes them: name or folder of a model with a text tower; empty where somebody
            else hands them in.
    """

    width: int
    model: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryTokens:
    """A batch of queries as a model reads them; which of the fields it reads depends on its text.

    Attributes:
        shown: False where a word is padding.
        ids: of words or of pieces of words.
        letters: their letters.
        vectors: what a frozen text encoder says of the words, in place of ids.
    """

    shown: Bool[Tensor, "b l"]
    ids: Int[Tensor, "b l"] | None = None
    letters: Int[Tensor, "b l k"] | None = None
    vectors: Float[Tensor, "b l w"] | None = None

    def inputs(self) -> tuple[Tensor, ...]:
        """Return what `VSLNet.forward` takes behind the video: the mask, the words, the letters."""
        words = self.ids if self.vectors is None else self.vectors
        return tuple(each for each in (self.shown, words, self.letters) if each is not None)

    def to(self, device: torch.device | str) -> QueryTokens:
        """Return the same on a device."""
        names = ("ids", "letters", "vectors")
        given = {name: each for name in names if (each := getattr(self, name)) is not None}
        return QueryTokens(
            shown=self.shown.to(device), **{name: each.to(device) for name, each in given.items()}
        )


class BertText(nn.Module):
    """A frozen BERT; names are those of VSLNet's files but for `bert.` and the pooler."""

    def __init__(self, config: BertTextConfig) -> None:
        super().__init__()
        self.embedder = BertFusionEncoder(config.bert)
        # COMPAT: nothing uses the pooler, but every released file holds it.
        self.pooler = nn.Linear(config.bert.width, config.bert.width)
        self.requires_grad_(False)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.embedder.reset_parameters()
        self.pooler.reset_parameters()

    @torch.no_grad()
    def forward(self, tokens: QueryTokens) -> Float[Tensor, "b l w"]:
        """Return the last layer of BERT."""
        assert tokens.ids is not None
        return self.embedder.encode(tokens.ids, tokens.shown)


class _WordVectors(nn.Module):
    def __init__(self, config: WordTextConfig, drop_rate: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(drop_rate)
        width = config.word_width
        if not config.pretrained:
            self.word_emb = nn.Embedding(config.num_words, width, padding_idx=0)
            return
        self.pad_vec = nn.Parameter(torch.zeros(1, width), requires_grad=False)
        self.unk_vec = nn.Parameter(torch.empty(1, width))
        known = torch.empty(config.num_words - SPECIAL_IDS, width)
        self.glove_vec = nn.Parameter(known, requires_grad=False)

    def forward(self, ids: Int[Tensor, "b l"]) -> Float[Tensor, "b l w"]:
        if hasattr(self, "word_emb"):
            return self.dropout(self.word_emb(ids))
        table = torch.cat([self.pad_vec, self.unk_vec, self.glove_vec])
        return self.dropout(F.embedding(ids, table, padding_idx=0))


class _LetterVectors(nn.Module):
    """Convolutions over the letters of each word, and the maximum over its places."""

    def __init__(self, config: WordTextConfig, drop_rate: float) -> None:
        super().__init__()
        self.char_emb = nn.Embedding(config.num_letters, config.letter_width, padding_idx=0)
        self.char_convs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(config.letter_width, channels, (1, kernel)), nn.ReLU())
            for kernel, channels in zip(_LETTER_KERNELS, _LETTER_CHANNELS, strict=True)
        )
        self.dropout = nn.Dropout(drop_rate)

    def forward(self, letters: Int[Tensor, "b l k"]) -> Float[Tensor, "b l c"]:
        x = rearrange(self.dropout(self.char_emb(letters)), "b l k w -> b w l k")
        found = [convolution(x).amax(dim=3) for convolution in self.char_convs]
        return rearrange(torch.cat(found, dim=1), "b c l -> b l c")


class WordText(nn.Module):
    """Word vectors and what their letters say, projected to the width of the model.

    Args:
        config: sizes.
        linear: from both to the width of the model.
        drop_rate: dropout of words and letters.
    """

    def __init__(self, config: WordTextConfig, linear: nn.Module, drop_rate: float) -> None:
        super().__init__()
        self.word_emb = _WordVectors(config, drop_rate)
        self.char_emb = _LetterVectors(config, drop_rate)
        self.linear = linear

    @staticmethod
    def width(config: WordTextConfig) -> int:
        """Return the width of what `linear` takes."""
        return config.word_width + sum(_LETTER_CHANNELS)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the tables anew; those of known words are to be given later."""
        if hasattr(self.word_emb, "unk_vec"):
            nn.init.xavier_uniform_(self.word_emb.unk_vec)
            nn.init.normal_(self.word_emb.glove_vec)
            nn.init.zeros_(self.word_emb.pad_vec)
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight)
                module.weight[0].zero_()

    def forward(self, tokens: QueryTokens) -> Float[Tensor, "b l d"]:
        """Return a vector for each word.

        Raises:
            ValueError: words are padded to less than the longest kernel.
        """
        assert tokens.ids is not None
        assert tokens.letters is not None
        if tokens.letters.shape[2] < MIN_LETTERS:
            raise ValueError(
                f"words of {tokens.letters.shape[2]} letters; pad them to {MIN_LETTERS}"
            )
        words = self.word_emb(tokens.ids)
        return self.linear(torch.cat([words, self.char_emb(tokens.letters)], dim=2))
