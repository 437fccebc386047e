"""Which model answers where none is named: `--model auto`, `load("auto")`.

1. An official model of videos and texts that is on this disk, the best one in recognising the
   classes of Kinetics-400 by their names.
2. The offline model, where its packages are installed.
3. The embedded model of the procedural world, for sentences of its few words; for any others there
   is no answer, but an error that says which model to get.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from pathlib import PurePath

from internvideo.errors import ConfigError, VideoError
from internvideo.models.tokenizer import WordTokenizer
from internvideo.video import Video
from internvideo.video.opening import AnyVideo, open_video
from internvideo.zoo.card import Card
from internvideo.zoo.hub import LoadedModel
from internvideo.zoo.load import on_disk
from internvideo.zoo.registry import all_cards, find_card

__all__ = ["AUTO", "automatic_card", "refuse_unknown_words", "what_it_never_saw"]

AUTO = "auto"
_OFFLINE, _EMBEDDED, _ADVISED = "offline-objects", "viclip-nano", "viclip-b16"
# Two towers that bring the words of their tokenizer with them.
_ARCHITECTURES = ("viclip", "internvideo-mm", "openai-clip")
_SHOWN_WORDS = 4
_LARGEST_WORLD_CLIP = 256  # pixels; the world writes squares of 128, unless it is told otherwise
_LOOKED_AT = 50


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


def what_it_never_saw(model: LoadedModel, videos: Iterable[AnyVideo]) -> str:
    """Return a sentence about the first video that an embedded model can only guess at, or "".

    The embedded models know clips of the procedural world, which are small squares. Some videos are
    opened, none is decoded.
    """
    if model.card is None or not model.card.embedded:
        return ""
    for video in islice(videos, _LOOKED_AT):
        with suppress(VideoError), open_video(video) as (name, opened):
            if not isinstance(opened, Video):
                continue
            width, height = opened.width, opened.height
            if width != height or width > _LARGEST_WORLD_CLIP:
                return (
                    f"{PurePath(name).name} ({width}x{height}) is no clip of the procedural world, "
                    f"and {model.name} has never seen anything else: what it says is a guess; "
                    "--model names another"
                )
    return ""


def _zero_shot(card: Card) -> float:
    """Return the published accuracy in naming the videos of Kinetics-400, 0 where there is none."""
    values = [
        metric.value
        for metric in card.metrics
        if metric.dataset.startswith("K400") and metric.metric == "top-1"
    ]
    return max((value for value in values if not isinstance(value, str)), default=0.0)
