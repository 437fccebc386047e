"""Sentences for models with a text tower, and the rules by which families of models read them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from internvideo.models.contract import DualEncoder
from internvideo.models.tokenizer import Tokenizer, WordTokenizer, trim_padding

__all__ = [
    "PROMPT_RULES",
    "Ensemble",
    "PromptRule",
    "embed_sentences",
    "prompt_rule",
    "warn_of_unknown_words",
]

Ensemble: TypeAlias = Literal["cosine", "probability"]
"""How the sentences of a class are combined, see `PromptRule`."""

_LOG = logging.getLogger(__name__)
_TEXT_BATCH = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptRule:
    """How classes are put into words for the models of a family, and sentences are combined.

    Attributes:
        ensemble: "cosine": a class scores the mean of its cosines; "probability": softmax over the
            classes for each template, then the mean over the templates.
        clean: whether sentences are lower-cased and lose their punctuation (`clean_caption`).
    """

    ensemble: Ensemble = "cosine"
    clean: bool = True


PROMPT_RULES: dict[str, PromptRule] = {
    "viclip": PromptRule(),
    "openai-clip": PromptRule(),
    "internvideo-mm": PromptRule(ensemble="probability", clean=False),
    "retrieval": PromptRule(clean=False),
}
"""The rules that made the published numbers, by the architecture of the model."""


def prompt_rule(architecture: str) -> PromptRule:
    """Return the rule of an architecture of the zoo ("internvideo-mm", "viclip").

    Two-tower models without a published rule get ViCLIP's.
    """
    return PROMPT_RULES.get(architecture.partition("/")[0], PROMPT_RULES["viclip"])


@torch.no_grad()
def embed_sentences(model: DualEncoder, texts: Sequence[str]) -> Float[Tensor, "p e"]:
    """Return the unit-norm embedding of each text, at least one, on the device of the model."""
    device = model.temperature().device
    return torch.cat(
        [
            model.encode_text(
                trim_padding(model.tokenizer(texts[start : start + _TEXT_BATCH])).to(device)
            ).float()
            for start in range(0, len(texts), _TEXT_BATCH)
        ]
    )


def warn_of_unknown_words(
    tokenizer: Tokenizer, texts: Iterable[str], *, name: str, warned: set[str]
) -> None:
    """Warn about words that a word-level tokenizer does not know, once for each word.

    Args:
        tokenizer: reads the texts.
        texts: any number of them.
        name: of the model.
        warned: the words of earlier warnings; the new ones are added.
    """
    if not isinstance(tokenizer, WordTokenizer):
        return
    unknown = [word for word in tokenizer.unknown_words(" ".join(texts)) if word not in warned]
    if not unknown:
        return
    warned.update(unknown)
    _LOG.warning(
        "%s knows %d words; not among them, and read as one unknown word: %s "
        "(a full-size ViCLIP knows all words)",
        name or "the model",
        len(tokenizer.vocabulary),
        ", ".join(unknown),
    )
