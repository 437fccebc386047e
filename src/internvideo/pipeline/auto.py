"""Which model answers where none is named: `--model auto`, `load("auto")`.

1. An official model of videos and texts that is on this disk, the best one in recognising the
   classes of Kinetics-400 by their names.
2. The offline model, where its packages are installed.
3. The embedded model of the procedural world, for sentences of its few words; for any others there
   is no answer, but an error that says which model to get.
"""

from __future__ import annotations

from collections.abc import Iterable

from internvideo.errors import ConfigError
from internvideo.models.tokenizer import WordTokenizer
from internvideo.zoo.card import Card
from internvideo.zoo.hub import LoadedModel
from internvideo.zoo.load import on_disk
from internvideo.zoo.registry import all_cards, find_card

__all__ = ["AUTO", "automatic_card", "refuse_unknown_words"]

AUTO = "auto"
_OFFLINE, _EMBEDDED, _ADVISED = "offline-objects", "viclip-nano", "viclip-b16"
# Two towers that bring the words of their tokenizer with them.
_ARCHITECTURES = ("viclip", "internvideo-mm", "openai-clip")
_SHOWN_WORDS = 4


def automatic_card() -> Card:
    """Return the card of the model that is taken where none is named.

    Raises:
        UnknownNameError: this installation has not even an embedded model.
    """
    known = [card for card in all_cards() if card.architecture in _ARCHITECTURES]
    here = [card for card in known if not card.embedded and on_disk(card) is not None]
    if here:
        return max(here, key=_zero_shot)
    offline = find_card(_OFFLINE)
    return find_card(_EMBEDDED) if on_disk(offline) is None else offline


def refuse_unknown_words(model: LoadedModel, texts: Iterable[str]) -> None:
    """Refuse texts that the chosen model cannot read.

    Raises:
        ConfigError: a word is outside the vocabulary of a model that knows few words; the message
            says which model to get.
    """
    tokenizer = model.tokenizer
    if not isinstance(tokenizer, WordTokenizer):
        return
    unknown = tokenizer.unknown_words(" ".join(texts))
    if not unknown:
        return
    words = ", ".join(repr(word) for word in unknown[:_SHOWN_WORDS])
    words += f" and {len(unknown) - _SHOWN_WORDS} more" if len(unknown) > _SHOWN_WORDS else ""
    card = find_card(_ADVISED)
    facts = [source.note for source in card.files if source.status == "live" and source.note]
    facts += [card.licence] if card.licence else []
    raise ConfigError(
        f"no model on this machine knows {words}. For real videos: `internvideo models download "
        f"{_ADVISED}` ({'; '.join(facts)}), or `pip install 'internvideo[offline]'` (objects and "
        f"scenes). {model.name} knows the {len(tokenizer.vocabulary)} words of a world of moving "
        f"shapes; --model {model.name} asks it all the same"
    )


def _zero_shot(card: Card) -> float:
    """Return the published accuracy in naming the videos of Kinetics-400, 0 where there is none."""
    values = [
        metric.value
        for metric in card.metrics
        if metric.dataset.startswith("K400") and metric.metric == "top-1"
    ]
    return max((value for value in values if not isinstance(value, str)), default=0.0)
