"""What is known about one released weight file, as published: the model card.

Cards are data (`zoo/cards/*.json`, one file a family; `card.json` beside embedded weights). This
module holds their schema and nothing else: no file is opened and no model is built here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

__all__ = ["Card", "LinkStatus", "Metric", "Source"]

LinkStatus = Literal["live", "gone", "unchecked", "page"]
_LINK_STATUSES = ("live", "unchecked", "gone", "page")
_KINDS = ("checkpoint", "features", "initialiser", "group", "bundle")


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One published number, cited and not measured by us.

    Attributes:
        dataset: data set and split, in the publisher's words.
        metric: name of the metric, e.g. "top-1".
        value: the number in percent, or text where several were printed in one cell.
        views: test protocol as published, in the order that `Card.views_order` tells.
        source: where it is published.
    """

    dataset: str
    metric: str
    value: float | str
    views: str | None = None
    source: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One place where the file is, or was, published.

    Attributes:
        url: link to the file itself, or to the page that leads to it (status "page").
        status: "live" as far as known; "gone": users report it dead; "unchecked"; "page": needs a
            browser.
        host: who keeps it, e.g. "Hugging Face hub".
        sha256: checksum of the file, when it is known.
        size: bytes, when known.
        note: anything else.
    """

    url: str
    status: LinkStatus
    host: str | None = None
    sha256: str | None = None
    size: int | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        if self.status not in _LINK_STATUSES:
            raise ValueError(f"link status {self.status!r}: expected one of {_LINK_STATUSES}")

    @property
    def is_file(self) -> bool:
        """Whether the link can be fetched without a browser."""
        return self.status != "page"

    @property
    def file_name(self) -> str:
        """Last part of the path of the link."""
        return unquote(urlsplit(self.url).path.rstrip("/").rpartition("/")[2])


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Card:
    """One entry of the zoo.

    Attributes:
        name: the name that `load` takes.
        family: the model family, e.g. "VideoMAE".
        kind: "checkpoint", "features", "initialiser", "group" or "bundle".
        status: "available" when the library implements the architecture, else "planned".
        architecture: our architecture, e.g. "videomae/classifier"; None for things that are not a
            model.
        size: our size name, e.g. "b16".
        config: overrides of the configuration of that size (number of classes, frames ...).
        description: the architecture in the publisher's words.
        input: input in the publisher's words, e.g. "16x224".
        num_frames: frames of one clip.
        resolution: side of the square input, in pixels.
        patch_size: side of a patch, in pixels.
        training_data: what it was pretrained on.
        finetune_data: what it was fine-tuned on.
        num_classes: outputs of the classifier.
        labels: id of the class names in the order of the outputs (`internvideo.zoo.labels`).
        labels_note: why `labels` is missing, or how sure it is.
        labels_assumed: whether the order of `labels` is not certain; loading says so.
        metrics: published numbers.
        views_order: what the factors of a test protocol like 16x5x3 are in this family.
        preprocessing: name of the input protocol (`internvideo.video.preprocessing.PRESETS`).
        preprocessing_options: fields of that protocol that differ (frames, clips, crops,
            resolution).
        preprocessing_note: the published statistics, in words.
        sources: links, in the order in which they are tried.
        extra_urls: logs, optimiser states and the like, by what they are.
        file_name: name under which the file is kept.
        licence: licence as far as it is stated.
        citation: key into `data/citations.json`.
        listed_in: documents that list the file.
        in_chinese_zoo: whether the Chinese README of InternVideo lists it.
        aliases: other names that find this card.
        notes: known traps.
        embedded: whether the weights ship inside the package.
        provenance: how embedded weights were made (recipe, commit, numbers measured by us).
        directory: folder of embedded weights; set by the registry.
    """

    name: str
    family: str
    kind: str = "checkpoint"
    status: Literal["available", "planned"]
    architecture: str | None = None
    size: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    description: str
    input: str | None = None
    num_frames: int | None = None
    resolution: int | None = None
    patch_size: int | None = None
    training_data: str | None = None
    finetune_data: str | None = None
    num_classes: int | None = None
    labels: str | None = None
    labels_note: str | None = None
    labels_assumed: bool = False
    metrics: tuple[Metric, ...] = ()
    views_order: str | None = None
    preprocessing: str | None = None
    preprocessing_options: Mapping[str, Any] = field(default_factory=dict)
    preprocessing_note: str | None = None
    sources: tuple[Source, ...] = ()
    extra_urls: Mapping[str, str] = field(default_factory=dict)
    file_name: str | None = None
    licence: str | None = None
    citation: str | None = None
    listed_in: tuple[str, ...] = ()
    in_chinese_zoo: bool = False
    aliases: tuple[str, ...] = ()
    notes: str = ""
    embedded: bool = False
    provenance: Mapping[str, Any] = field(default_factory=dict)
    directory: Path | None = None

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"card {self.name!r}: kind {self.kind!r}, expected one of {_KINDS}")
        if self.status not in ("available", "planned"):
            raise ValueError(f"card {self.name!r}: status {self.status!r}")
        if self.is_available and self.architecture is None:
            raise ValueError(f"card {self.name!r} is available but names no architecture")

    def __repr__(self) -> str:
        kind = " ".join(each for each in (self.architecture, self.size) if each)
        parts = (repr(self.name), self.family, self.status, kind)
        return f"Card({', '.join(part for part in parts if part)})"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, directory: Path | None = None) -> Card:
        """Build a card from its JSON object.

        Raises:
            ValueError: an unknown field, or a missing one.
        """
        known = {each.name for each in fields(cls)} - {"directory"}
        if unknown := sorted(values.keys() - known):
            raise ValueError(f"card {values.get('name')!r}: unknown fields {unknown}")
        nested = {
            "metrics": tuple(Metric(**each) for each in values.get("metrics", ())),
            "sources": tuple(Source(**each) for each in values.get("sources", ())),
            "listed_in": tuple(values.get("listed_in", ())),
            "aliases": tuple(values.get("aliases", ())),
        }
        return cls(**{**values, **nested, "directory": directory})

    @property
    def is_available(self) -> bool:
        """Whether the library can build this model."""
        return self.status == "available"

    @property
    def files(self) -> tuple[Source, ...]:
        """The links that can be fetched without a browser; those reported dead come last."""
        order = {"live": 0, "unchecked": 1, "gone": 2}
        return tuple(sorted((s for s in self.sources if s.is_file), key=lambda s: order[s.status]))
