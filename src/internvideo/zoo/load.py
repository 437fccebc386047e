"""From a name, a file, a folder or a hub id to a model that runs.

"videomae-b16-k400" ──► card ──► download ─┐
"vit_b_k400_ft.pth" ──► known by shapes ───┼─► read safely ──► our names ──► model, protocol, labels
"folder", "org/repo" ──► config.json ──────┘

A folder of transformers or open_clip is known by shapes like a file; its `config.json` tells what
these do not.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from internvideo.errors import CheckpointError
from internvideo.models.classifier import remap_head
from internvideo.models.contract import has
from internvideo.models.interaction import InternVideo
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.architectures import ARCHITECTURES, kind_of
from internvideo.zoo.card import Card
from internvideo.zoo.checkpoint import CheckpointFile, read_checkpoint
from internvideo.zoo.download import download, local_copy
from internvideo.zoo.external import is_external, load_external
from internvideo.zoo.foreign import ForeignConfig, read_foreign
from internvideo.zoo.hub import (
    LoadedModel,
    Record,
    assign_weights,
    read_config,
    read_record,
    read_state,
)
from internvideo.zoo.identify import Fit, convert
from internvideo.zoo.image_vit import is_image_transformer
from internvideo.zoo.labels import detect_order, index_map, label_names
from internvideo.zoo.offline import assemble, installed_path
from internvideo.zoo.registry import find_card
from internvideo.zoo.resolve import (
    card_config,
    card_labels,
    card_preprocessing,
    default_preprocessing,
    fit_file,
    look_up,
)
from internvideo.zoo.shapes import merge_fields, replace_fields
from internvideo.zoo.weight_files import WEIGHT_FILES, holds_weights, is_saved_model, weight_files

__all__ = [
    "Weights",
    "fetch",
    "head_name",
    "load_model",
    "official_state",
    "on_disk",
    "read_weights",
    "reorder_outputs",
]

_LOG = logging.getLogger(__name__)


def load_model(
    source: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    card: str | None = None,
    labels: str | Sequence[str] | None = None,
    config: Mapping[str, Any] | None = None,
    architectures: Sequence[Architecture] = ARCHITECTURES,
) -> LoadedModel:
    """Load a model with what belongs to it.

    Args:
        source: a name of the zoo, a weight file of any known layout, a folder of ours or of
            transformers or open_clip, a hub id ("organisation/repository"), or a model of another
            library ("hf:organisation/repository", "open-clip:ViT-B-32/openai"), see `external`.
        device: where the weights go.
        dtype: of the floating-point weights; None is float32.
        card: for a weight file: the name of the released model that it is, which brings its
            protocol and labels. Without it the name of the file decides, or the card stays open.
        labels: the classes wanted, as the id of a label map or as a list of names; see
            `reorder_outputs`.
        config: for a weight file: fields of the model's configuration that its shapes do not tell,
            such as {"num_frames": 32} or {"vision.activation": "gelu"}.
        architectures: those that the model can be of, the most specific first; the zoo's and, in
            front of or behind them, your own.

    Raises:
        UnknownNameError: no such name; the message suggests the nearest.
        CheckpointError: the file cannot be had, is unsafe or broken, or belongs to another model.
    """
    if is_external(source):
        loaded = load_external(str(source), device=device, dtype=dtype)
        return loaded if labels is None else reorder_outputs(loaded, labels)
    weights = read_weights(source, card=card, config=config, architectures=architectures)
    loaded = _build(weights, device, dtype, architectures)
    if labels is not None:
        return reorder_outputs(loaded, labels)
    if (card_of := _assumes_labels(loaded)) is not None:
        _LOG.warning(
            "%s: the order of its class names is not certain. %s", loaded.name, card_of.labels_note
        )
    return loaded


def on_disk(card: Card) -> Path | None:
    """Return where the weights of a card lie on this machine, or None where they are not."""
    if card.packages:
        return installed_path(card)
    return card.directory or local_copy(card)


def fetch(card: Card, *, architectures: Sequence[Architecture] = ARCHITECTURES) -> Path:
    """Return where the weights of a card lie, getting them when they are not on this machine.

    Raises:
        CheckpointError: the model is planned, or no place delivers it.
        MissingExtraError: it is made of packages that are not installed.
    """
    if card.directory is not None:
        return card.directory
    card_config(card, architectures=architectures)  # refuses a planned model before the transfer
    return assemble(card) if card.packages else download(card)


def reorder_outputs(loaded: LoadedModel, labels: str | Sequence[str]) -> LoadedModel:
    """Put the outputs of a classifier into the order of other labels, in place.

    Where the order of the outputs is known, rows of the head are moved; so a Kinetics-710 head also
    becomes a Kinetics-400 one. Where it is not known, the labels are taken as they are.

    Args:
        loaded: a classifier.
        labels: id of a label map, or the names.

    Returns:
        The same model with a record that holds the labels.

    Raises:
        CheckpointError: not a classifier, or the classes are not those of the model.
        UnknownNameError: no such label map.
    """
    network = loaded.model
    if not has(network, "classes"):
        raise CheckpointError(f"{loaded.name} is not a classifier, it takes no labels")
    names = label_names(labels) if isinstance(labels, str) else tuple(labels)
    is_known = loaded.labels and _assumes_labels(loaded) is None
    known = detect_order(loaded.labels or ()) if is_known else None
    wanted = detect_order(names)
    if known is not None and wanted is None:
        raise CheckpointError(
            f"{loaded.name} has the outputs of {known.labels}; the {len(names)} given names are in"
            " no known order, so they cannot be put on its outputs"
        )
    if known is not None and wanted is not None and known.labels != wanted.labels:
        rows = index_map(known.labels, wanted.labels)
        certain = [row for row in rows if row is not None]
        if len(certain) < len(rows):
            raise CheckpointError(
                f"{loaded.name} has the outputs of {known.labels};"
                f" {len(rows) - len(certain)} classes of {wanted.labels} have no counterpart there"
            )
        _remap_head(network, certain)
    if len(names) != network.config.num_classes:
        raise CheckpointError(
            f"{loaded.name} has {network.config.num_classes} outputs, {len(names)} labels given"
        )
    return loaded.with_record(labels=names)


def _assumes_labels(loaded: LoadedModel) -> Card | None:
    """Return the card of a model whose class names are only the likely ones."""
    card = loaded.record.card
    assumed = card is not None and card.labels_assumed and loaded.labels == card_labels(card)
    return card if assumed else None


def official_state(
    network: nn.Module,
    *,
    layout: str = "official",
    architectures: Sequence[Architecture] = ARCHITECTURES,
) -> dict[str, Tensor]:
    """Return the tensors of a model in the form of the official files, or of another layout.

    Raises:
        CheckpointError: the zoo does not know the model, it has no such layout, or that layout has
            no place for one of its tensors.
    """
    architecture = kind_of(network, architectures=architectures)
    # an image CLIP is a ViCLIP here, and has the layouts of both
    known = dict(architecture.tables)
    for each in architectures:
        if each.model is architecture.model:
            known = {**each.tables, **known}
    if layout not in known:
        names = ", ".join({**architecture.tables, **known})
        raise CheckpointError(f"{architecture.id} has no layout {layout!r}; it has {names}")
    return known[layout].to_official(network.state_dict(), network.config)


def head_name(model: Any) -> str:
    """Return the name of the linear layer whose outputs are the classes."""
    return next(name for name, module in model.named_modules() if module is model.head)


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The tensors of a model under our names, and what belongs to them.

    Attributes:
        path: where they come from.
        architecture: the kind of model; None is an image transformer, whose names are its own.
        config: configuration of the model.
        state: the tensors, with the names that the model has no place for as the file has them.
        record: protocol, labels, provenance, card.
    """

    path: Path
    architecture: Architecture | None
    config: Any
    state: Mapping[str, Tensor]
    record: Record


def read_weights(
    source: str | Path,
    *,
    card: str | None = None,
    config: Mapping[str, Any] | None = None,
    architectures: Sequence[Architecture] = ARCHITECTURES,
    as_start: bool = False,
) -> Weights:
    """Read the weights of a model without building it.

    Args:
        source: as for `load_model`.
        card: likewise.
        config: likewise.
        architectures: likewise.
        as_start: take the file also where it holds more or less than a model, or an image
            transformer.

    Raises:
        UnknownNameError: no such name; the message suggests the nearest.
        CheckpointError: as for `load_model`.
    """
    chosen = find_card(card) if card is not None else None
    path = look_up(source)
    if isinstance(path, Card):
        chosen = path
        path = fetch(chosen, architectures=architectures)
    folder = path if path.is_dir() else path.parent
    is_ours = is_saved_model(folder) and (path.is_dir() or path.name == WEIGHT_FILES[0])
    if is_ours or (path.is_dir() and not holds_weights(path)):
        record = read_record(folder)
        architecture, stored = read_config(folder, architectures=architectures)
        if chosen and (chosen.packages or chosen.directory == folder):
            record = dataclasses.replace(record, card=chosen)
        if chosen and chosen.packages:
            record = dataclasses.replace(record, preprocessing=card_preprocessing(chosen))
        return Weights(
            path=folder / WEIGHT_FILES[0],
            architecture=architecture,
            config=replace_fields(stored, merge_fields(config or {})),
            state=read_state(folder),
            record=record,
        )
    file = read_checkpoint(path)
    if as_start and is_image_transformer(file.shapes):
        return Weights(path=path, architecture=None, config=None, state=file.state, record=Record())
    is_named = path.is_dir() or len(weight_files(path)) > 1 or path.name in WEIGHT_FILES
    foreign = read_foreign(folder) if is_named else None
    fit, chosen = fit_file(
        file,
        chosen,
        foreign=foreign,
        config=config,
        architectures=architectures,
        as_start=as_start,
    )
    found, state = convert(file.state, fit)
    return Weights(
        path=path,
        architecture=fit.architecture,
        config=found,
        state=state,
        record=_record_of(file, fit, chosen, foreign),
    )


def _record_of(
    file: CheckpointFile, fit: Fit, card: Card | None, foreign: ForeignConfig | None
) -> Record:
    labels = card_labels(card) if card else foreign.labels if foreign else None
    classes = getattr(fit.config, "num_classes", None)
    if labels is not None and foreign is not None and len(labels) != classes:
        raise CheckpointError(f"{foreign.path} names {len(labels)} classes, the head has {classes}")
    provenance = {
        "file": file.path.name,
        "format": file.format,
        "layout": fit.layout,
        "wrapper": file.wrapper,
        "stripped": list(fit.stripped),
    }
    if fit.stripped or file.wrapper:
        taken_off = ", ".join(fit.stripped) or "none"
        _LOG.info("%s: wrapper %r, prefixes taken off: %s", file.path, file.wrapper, taken_off)
    if fit.assumed and card is None:
        provenance["assumed"] = dict(fit.assumed)
        _LOG.info("%s: %s", file.path, fit.assumptions)
    return Record(
        preprocessing=(card_preprocessing(card) if card else None)
        or default_preprocessing(fit, foreign),
        labels=labels,
        provenance=provenance,
        card=card,
    )


def _build(
    weights: Weights, device: Any, dtype: torch.dtype | None, architectures: Sequence[Architecture]
) -> LoadedModel:
    assert weights.architecture is not None
    network = weights.architecture.build(weights.config)
    assign_weights(network, weights.state, source=weights.path, device=device, dtype=dtype)
    return LoadedModel(network, weights.record, architectures=architectures)


def _remap_head(network: Any, rows: Sequence[int]) -> None:
    """Put the rows of the head, or of an `InternVideo`'s two, into another order."""
    together = isinstance(network, InternVideo)
    names = {module: name for name, module in network.named_modules()}
    for old in network.heads if together else (network.head,):
        weight, bias = remap_head(old.weight.detach(), old.bias.detach(), rows)
        head = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
        head.load_state_dict({"weight": weight, "bias": bias}, assign=True)
        network.set_submodule(names[old], head)
    config = network.config
    network.config = (
        config.with_classes(len(rows))
        if together
        else dataclasses.replace(config, num_classes=len(rows))
    )
