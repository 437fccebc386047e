"""Class names in the order of a classifier's outputs: `data/kinetics.json`, `data/classes.json`.

The authors numbered the Kinetics classes in an order of their own, which is not alphabetical; a
classifier evaluated with the wrong order scores 0.1 %. So an order is part of a label map's id:

| id                          | order                                                    |
|-----------------------------|----------------------------------------------------------|
| `kinetics-400/authors`      | UniFormerV2, UMT; rows 0 to 399 of a K710 head           |
| `kinetics-400/alphabetical` | most other code, and VideoMAE's K400 files               |
| `kinetics-600/authors`      | rows of a K710 head by the authors' index list           |
| `kinetics-600/alphabetical` | most other code                                          |
| `kinetics-700/authors`      | rows of a K710 head by the authors' index list           |
| `kinetics-700/alphabetical` | most other code                                          |
| `kinetics-710/authors`      | every released K710 classifier                           |
| `kinetics-710/mmaction2`    | UniFormerV2 as re-hosted by mmaction2: yet another order |

The other data sets number their classes themselves (`…/official`), but for Something-Something v1,
HMDB51 and ActivityNet, whose classifiers follow one list or another; `sources` of the data says
which. A card with `labels_assumed` takes the likely one.

K710 merges the classes of the three sets, and the names of its rows come from public lists that are
not beyond doubt: "throwing ball" (row 348) may stand for another class, and three alphabetical
classes ("chopping vegetables" and "picking fruit" of K600, "archaeological excavation" of K700)
have no certain row. A class without a counterpart maps to None.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from internvideo.errors import UnknownNameError, did_you_mean

__all__ = [
    "DetectedOrder",
    "detect_order",
    "index_map",
    "k710_rows",
    "label_maps",
    "label_names",
    "letters_of",
]

_DATA = Path(__file__).parent / "data"
_MIN_AGREEMENT = 0.9


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectedOrder:
    """The known order that a list of class names is in.

    Attributes:
        labels: id of the label map.
        agreement: share of the positions that hold the same name, 0 to 1.
        differing: (position, given name, known name) where they do not.
    """

    labels: str
    agreement: float
    differing: tuple[tuple[int, str, str], ...]


def label_maps() -> tuple[str, ...]:
    """Return the ids of all label maps."""
    return tuple(_data()["names"])


def label_names(labels: str) -> tuple[str, ...]:
    """Return the class names of a label map, in the order of the classifier's outputs.

    Raises:
        UnknownNameError: there is no such label map.
    """
    names = _data()["names"]
    if labels not in names:
        raise UnknownNameError(
            f"unknown label map {labels!r}.{did_you_mean(labels, names)} Known: {', '.join(names)}"
        )
    return tuple(names[labels])


def index_map(source: str, target: str) -> tuple[int | None, ...]:
    """Return for every class of `target` its index in `source`; None where it has none.

    The outputs of a classifier in the order `source` become outputs in the order `target` by
    `logits[..., list(index_map(source, target))]`, when no entry is None.

    Raises:
        UnknownNameError: one of the label maps does not exist.
    """
    data, (family, _, order) = _data(), target.partition("/")
    if source == "kinetics-710/authors" and family in data["k710_rows"]:
        rows = tuple(data["k710_rows"][family])
        if order == "authors":
            return rows
        onward = index_map(f"{family}/authors", target)
        return tuple(None if index is None else rows[index] for index in onward)
    if {source, target} == {f"{family}/authors", f"{family}/alphabetical"}:
        to_authors: list[int | None] = data["author_index_of_alphabetical"][family]
        if order == "alphabetical":
            return tuple(to_authors)
        back = {author: index for index, author in enumerate(to_authors) if author is not None}
        return tuple(back.get(index) for index in range(len(label_names(target))))
    where = {_plain(name): index for index, name in enumerate(label_names(source))}
    return tuple(where.get(_plain(name)) for name in label_names(target))


def k710_rows(target: str) -> tuple[int, ...]:
    """Return the rows of a K710 head (authors' order) that make a head for `target`.

    Row i of the new head is row `k710_rows(target)[i]` of the K710 head.

    Raises:
        UnknownNameError: there is no such label map, or not every class of it has a certain row.
    """
    rows = index_map("kinetics-710/authors", target)
    if not target.startswith(tuple(_data()["k710_rows"])) or None in rows:
        usable = [each for each in label_maps() if each.startswith(tuple(_data()["k710_rows"]))]
        raise UnknownNameError(
            f"a K710 head cannot become {target!r}: not every class has a certain row."
            f" Choose one of {', '.join(each for each in usable if _is_certain(each))}"
        )
    return tuple(row for row in rows if row is not None)


def detect_order(names: Sequence[str]) -> DetectedOrder | None:
    """Tell in which known order a list of class names is, or None when in none.

    Names are compared without regard to case, underscores and punctuation, and one in ten may
    differ (spellings vary between copies of Kinetics).
    """
    given = [_plain(name) for name in names]
    best: DetectedOrder | None = None
    for labels in label_maps():
        known = label_names(labels)
        if len(known) != len(given):
            continue
        differing = tuple(
            (index, names[index], name)
            for index, name in enumerate(known)
            if _plain(name) != given[index]
        )
        agreement = 1 - len(differing) / len(known)
        if agreement >= _MIN_AGREEMENT and (best is None or agreement > best.agreement):
            best = DetectedOrder(labels=labels, agreement=agreement, differing=differing)
    return best


@lru_cache(maxsize=1)
def _data() -> dict[str, Any]:
    kinetics, others = (
        json.loads((_DATA / name).read_text(encoding="utf-8"))
        for name in ("kinetics.json", "classes.json")
    )
    return {**kinetics, "names": {**kinetics["names"], **others["names"]}}


def _is_certain(target: str) -> bool:
    return None not in index_map("kinetics-710/authors", target)


def _plain(name: str) -> str:
    """Return a class name without case, underscores, punctuation and double spaces."""
    return " ".join(re.sub(r"[^a-z0-9]+", " ", name.lower()).split())


def letters_of(name: str) -> str:
    """Return the letters and digits of a name in lower case."""
    return "".join(letter for letter in name.lower() if letter.isalnum())
