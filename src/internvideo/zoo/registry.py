"""The list of all cards: find one by name, list many by pattern."""

from __future__ import annotations

import fnmatch
import json
from collections import Counter
from functools import lru_cache
from pathlib import Path

from internvideo.errors import UnknownNameError, did_you_mean
from internvideo.zoo.card import Card

__all__ = [
    "all_cards",
    "bibtex",
    "families",
    "find_card",
    "find_cards",
    "is_unique_file_name",
    "list_models",
]

_HERE = Path(__file__).parent
_CARDS = _HERE / "cards"
_WEIGHTS = _HERE / "weights"
_CITATIONS = _HERE / "data" / "citations.json"


@lru_cache(maxsize=1)
def all_cards() -> tuple[Card, ...]:
    """Return every card: the embedded models first, then the families in the order of their files.

    Raises:
        ValueError: two cards share a name or an alias.
    """
    cards = (*_embedded_cards(_WEIGHTS), *_family_cards(_CARDS))
    names = Counter(name for card in cards for name in (card.name, *card.aliases))
    if twice := [name for name, count in names.items() if count > 1]:
        raise ValueError(f"names used by two cards: {twice}")
    return cards


def families() -> tuple[str, ...]:
    """Return the names of the model families."""
    return tuple(dict.fromkeys(card.family for card in all_cards()))


def list_models(
    pattern: str = "*", *, family: str | None = None, available: bool | None = None
) -> list[str]:
    """List the names of the models, as `load` and `find_card` take them; see `find_cards`."""
    return [card.name for card in find_cards(pattern, family=family, available=available)]


def find_cards(
    pattern: str = "*", *, family: str | None = None, available: bool | None = None
) -> list[Card]:
    """Return the cards whose name or alias matches a shell pattern.

    Args:
        pattern: e.g. "videomae-*" or "*k400*"; upper and lower case are equal.
        family: keep this family only.
        available: True keeps what the library can build, False what is planned.

    Raises:
        UnknownNameError: there is no such family.
    """
    if family is not None:
        by_lower = {each.lower(): each for each in families()}
        if family.lower() not in by_lower:
            raise UnknownNameError(
                f"unknown family {family!r}.{did_you_mean(family, families())}"
                f" Known: {', '.join(families())}"
            )
        family = by_lower[family.lower()]
    return [
        card
        for card in all_cards()
        if _matches(card, pattern.lower())
        and (family is None or card.family == family)
        and (available is None or card.is_available is available)
    ]


def find_card(name: str) -> Card:
    """Return the card with this name or alias; upper and lower case are equal.

    Raises:
        UnknownNameError: no card has the name; the message suggests the nearest ones.
    """
    index = _index()
    card = index.get(name.lower())
    if card is None:
        raise UnknownNameError(
            f"unknown model {name!r}.{did_you_mean(name, index)}"
            " `internvideo models` lists all names."
        )
    return card


def is_unique_file_name(file_name: str) -> bool:
    """Tell whether only one card keeps a file of this name ("ViT-H.pth" belongs to four)."""
    return _file_names()[file_name] <= 1


def bibtex(card: Card) -> str | None:
    """Return the BibTeX entry to cite when the card's weights are used."""
    if card.citation is None:
        return None
    return json.loads(_CITATIONS.read_text(encoding="utf-8"))[card.citation]


def _matches(card: Card, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(name.lower(), pattern) for name in (card.name, *card.aliases))


@lru_cache(maxsize=1)
def _index() -> dict[str, Card]:
    return {name.lower(): card for card in all_cards() for name in (card.name, *card.aliases)}


@lru_cache(maxsize=1)
def _file_names() -> Counter[str]:
    return Counter(
        name
        for card in all_cards()
        for name in {source.file_name for source in card.files} | {card.file_name}
        if name is not None
    )


def _family_cards(directory: Path) -> list[Card]:
    """Read `{"family", "defaults", "models"}` files; an entry overrides the defaults."""
    cards = []
    for path in sorted(directory.glob("*.json")):
        sheet = json.loads(path.read_text(encoding="utf-8"))
        shared = {"family": sheet["family"], **sheet.get("defaults", {})}
        cards += [Card.from_dict({**shared, **entry}) for entry in sheet["models"]]
    return cards


def _embedded_cards(directory: Path) -> list[Card]:
    """Read the card of every folder with weights inside the package."""
    return [
        Card.from_dict(json.loads(path.read_text(encoding="utf-8")), directory=path.parent)
        for path in sorted(directory.glob("*/card.json"))
        if (path.parent / "model.safetensors").is_file()
    ]
