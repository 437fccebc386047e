"""How a `VSLNet` reads sentences: as pieces of words, as words and letters, or as given vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from internvideo.data.words import words_of
from internvideo.errors import ConfigError
from internvideo.evaluation.text import embed_sentences, prompt_rule
from internvideo.models.tokenizer import clean_caption
from internvideo.models.vslnet import VSLNet
from internvideo.models.vslnet_text import (
    MIN_LETTERS,
    BertText,
    BertTextConfig,
    GivenTextConfig,
    QueryTokens,
    WordTextConfig,
)
from internvideo.models.wordpiece import WordPieceTokenizer
from internvideo.tasks.language_queries.queries import check_words, question
from internvideo.zoo.hub import LoadedModel
from internvideo.zoo.load import load_model

__all__ = ["QueryReader", "Reading", "padded"]

Reading: TypeAlias = Mapping[str, Tensor]
"""Of one sentence: `ids` "l", `letters` "l k" or `vectors` "l w", as `QueryTokens` has them."""

_UNKNOWN = 1
_BATCH = 64


class QueryReader:
    """Turns sentences into what a model reads.

    Args:
        model: reads them.
        towers: makes the vectors of a model that is given them; None loads what the model names.

    Raises:
        ConfigError: the model came without the words that it knows, or without what makes its
            vectors.
    """

    def __init__(self, model: VSLNet, towers: LoadedModel | None = None) -> None:
        self.model = model
        self.config = model.config
        text = self.config.text
        self._towers = towers
        self._letters: dict[str, int] = {}
        self._words: dict[str, int] = {}
        if isinstance(text, BertTextConfig):
            length = min(text.context_length, self.config.max_length)
            self._pieces = WordPieceTokenizer(
                text.vocabulary, length, vocab_size=text.bert.vocab_size
            )
            if text.vocabulary is None:
                raise ConfigError(
                    "this model came without the words of its BERT; load it with "
                    "config={'text.vocabulary': (…)}, the lines of the vocab.txt of its BERT"
                )
        elif isinstance(text, WordTextConfig):
            if text.vocabulary is None or text.letters is None:
                raise ConfigError(
                    "this model came without the words and letters that it knows; load it with "
                    "config={'text.vocabulary': (…), 'text.letters': (…)}"
                )
            first = _UNKNOWN + 1
            self._words = {word: first + place for place, word in enumerate(text.vocabulary)}
            self._letters = {each: first + place for place, each in enumerate(text.letters)}
        elif self._towers is None:
            self._towers = _text_towers(text, next(model.parameters()).device)

    def read(self, texts: Sequence[str]) -> list[Reading]:
        """Return what the model reads of each sentence, on the CPU, without padding.

        Raises:
            ConfigError: a sentence has no words.
        """
        spoken = [self._wording(check_words(text)) for text in texts]
        match self.config.text:
            case BertTextConfig():
                rows = self._pieces(spoken)
                return [{"ids": row[row != 0]} for row in rows]
            case WordTextConfig():
                return [self._spelt(text) for text in spoken]
            case GivenTextConfig():
                assert self._towers is not None
                towers = self._towers
                if prompt_rule(towers.architecture).clean:
                    spoken = [clean_caption(text) for text in spoken]
                rows = embed_sentences(towers.two_towers, spoken).cpu()
                # Unit vectors are small beside features, and would be slow to be heard.
                return [{"vectors": row[None] * len(row) ** 0.5} for row in rows]

    @torch.no_grad()
    def read_vectors(self, texts: Sequence[str]) -> list[Reading]:
        """Return what a frozen text encoder says of sentences, which can be kept; else `read`."""
        readings = self.read(texts)
        encoder = self.model.embedding_net
        if not isinstance(encoder, BertText):
            return readings
        device = next(encoder.parameters()).device
        was_training = encoder.training
        encoder.eval()
        found: list[Reading] = []
        for start in range(0, len(readings), _BATCH):
            some = readings[start : start + _BATCH]
            tokens = self.padded(some).to(device)
            vectors, shown = encoder(tokens).cpu(), tokens.shown.cpu()
            found += [{"vectors": row[seen]} for row, seen in zip(vectors, shown, strict=True)]
        encoder.train(was_training)
        return found

    def padded(self, readings: Sequence[Reading]) -> QueryTokens:
        """Return sentences as one batch; on the CPU."""
        return padded(readings, letters_behind=self.letters_behind)

    @property
    def letters_behind(self) -> int:
        """Padding behind the longest word: so much that more would not change what is read."""
        return MIN_LETTERS if self.config.padding == "exact" else 0

    def _wording(self, text: str) -> str:
        return question(text) if self.config.wording == "question" else text.strip().lower()

    def _spelt(self, text: str) -> Reading:
        words = words_of(text)[: self.config.max_length]
        ids = torch.tensor([self._words.get(word, _UNKNOWN) for word in words])
        letters = torch.zeros(len(words), max(map(len, words)), dtype=torch.int64)
        for row, word in zip(letters, words, strict=True):
            row[: len(word)] = torch.tensor([self._letters.get(each, _UNKNOWN) for each in word])
        return {"ids": ids, "letters": letters}


def padded(readings: Sequence[Reading], *, letters_behind: int = 0) -> QueryTokens:
    """Return the readings of several sentences as one batch.

    Args:
        readings: at least one.
        letters_behind: padding behind the longest word, see `QueryReader.letters_behind`.
    """
    lengths = torch.tensor([len(next(iter(each.values()))) for each in readings])
    most = int(lengths.max())
    tensors: dict[str, Tensor] = {}
    for name in readings[0]:
        rows = [each[name] for each in readings]
        shape = [len(rows), most]
        if rows[0].ndim == 2:
            width = max(row.shape[1] for row in rows)
            shape.append(max(width + letters_behind, MIN_LETTERS) if name == "letters" else width)
        tensors[name] = rows[0].new_zeros(shape)
        for place, row in enumerate(rows):
            tensors[name][(place, *map(slice, row.shape))] = row
    return QueryTokens(shown=torch.arange(most) < lengths[:, None], **tensors)


def _text_towers(text: GivenTextConfig, device: torch.device) -> LoadedModel:
    if not text.model:
        raise ConfigError(
            "this model reads vectors of another text tower, and does not say of which; load it "
            "with config={'text.model': …}"
        )
    loaded = load_model(text.model, device=device)
    width = embed_sentences(loaded.two_towers, ["a"]).shape[1]
    if width != text.width:
        raise ConfigError(
            f"{text.model} makes vectors of {width} numbers, text.width is {text.width}; take the "
            "model that this one was trained with, or correct text.width"
        )
    return loaded
