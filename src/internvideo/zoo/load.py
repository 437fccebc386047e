"""From a name, a file, a folder or a hub id to a model that runs.

"videomae-b16-k400" ──► card ──► download ─┐
"vit_b_k400_ft.pth" ──► known by shapes ───┼─► read safely ──► our names ──► model, protocol, labels
"folder", "org/repo" ──► config.json ──────┘
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from internvideo.errors import CheckpointError
from internvideo.models.classifier import remap_head
from internvideo.models.contract import has
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.architectures import ARCHITECTURES, kind_of
from internvideo.zoo.card import Card
from internvideo.zoo.checkpoint import read_checkpoint
from internvideo.zoo.download import download, local_copy
from internvideo.zoo.external import is_external, load_external
from internvideo.zoo.hub import (
    LoadedModel,
    Record,
    assign_weights,
    is_saved_model,
    read_directory,
)
from internvideo.zoo.identify import convert
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

__all__ = ["fetch", "head_name", "load_model", "official_state", "on_disk", "reorder_outputs"]

_LOG = logging.getLogger(__name__)
_WEIGHTS = "model.safetensors"


def load_model(
    source: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    card: str | None = None,
    labels: str | Sequence[str] | None = None,
    architectures: Sequence[Architecture] = ARCHITECTURES,
) -> LoadedModel:
    """Load a model with what belongs to it.

    Args:
        source: a name of the zoo, a weight file of any official make, a folder with `config.json`
            and `model.safetensors`, a hub id ("organisation/repository"), or a model of another
            library ("hf:organisation/repository", "open-clip:ViT-B-32/openai"), see `external`.
        device: where the weights go.
        dtype: of the floating-point weights; None is float32.
        card: for a weight file: the name of the released model that it is, which brings its
            protocol and labels. Without it the name of the file decides, or the card stays open.
        labels: the classes wanted, as the id of a label map or as a list of names; see
            `reorder_outputs`.
        architectures: those that the model can be of, the most specific first; the zoo's and, in
            front of or behind them, your own.

    Raises:
        UnknownNameError: no such name; the message suggests the nearest.
        CheckpointError: the file cannot be had, is unsafe or broken, or belongs to another model.
    """
    if is_external(source):
        loaded = load_external(str(source), device=device, dtype=dtype)
        return loaded if labels is None else reorder_outputs(loaded, labels)
    chosen = find_card(card) if card is not None else None
    found = look_up(source)
    if isinstance(found, Card):
        chosen = found
        found = fetch(chosen, architectures=architectures)
    loaded = _load_path(found, chosen, device, dtype, architectures)
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
    """Return the state dictionary of a model under the names of the official files.

    Raises:
        CheckpointError: the zoo does not know the model, or it has no such layout.
    """
    architecture = kind_of(network, architectures=architectures)
    if layout not in architecture.tables:
        raise CheckpointError(
            f"{architecture.id} has no layout {layout!r}; it has {', '.join(architecture.tables)}"
        )
    return architecture.tables[layout].to_official(network.state_dict())


def head_name(model: Any) -> str:
    """Return the name of the linear layer whose outputs are the classes."""
    return next(name for name, module in model.named_modules() if module is model.head)


def _load_path(
    path: Path,
    card: Card | None,
    device: Any,
    dtype: torch.dtype | None,
    architectures: Sequence[Architecture],
) -> LoadedModel:
    """Load a weight file, or a folder of ours; a card of the folder's own weights is its record."""
    folder = path if path.is_dir() else path.parent
    weights = folder / _WEIGHTS if path.is_dir() else path
    if weights.name == _WEIGHTS and (is_saved_model(folder) or not weights.is_file()):
        loaded = read_directory(folder, device=device, dtype=dtype, architectures=architectures)
        if card is not None and card.packages:
            loaded = loaded.with_record(preprocessing=card_preprocessing(card))
        own = card is not None and (card.packages or card.directory == folder)
        return loaded.with_record(card=card) if own else loaded
    file = read_checkpoint(weights)
    fit, card = fit_file(file, card, architectures=architectures)
    if fit.stripped or file.wrapper:
        taken_off = ", ".join(fit.stripped) or "none"
        _LOG.info("%s: wrapper %r, prefixes taken off: %s", weights, file.wrapper, taken_off)
    network = fit.architecture.build(fit.config)
    state = convert(file.state, fit)
    assign_weights(network, state, source=weights, device=device, dtype=dtype)
    record = Record(
        preprocessing=(card_preprocessing(card) if card else None) or default_preprocessing(fit),
        labels=card_labels(card) if card else None,
        provenance={
            "file": weights.name,
            "format": file.format,
            "wrapper": file.wrapper,
            "stripped": list(fit.stripped),
        },
        card=card,
    )
    return LoadedModel(network, record, architectures=architectures)


def _remap_head(network: Any, rows: Sequence[int]) -> None:
    weight, bias = remap_head(network.head.weight.detach(), network.head.bias.detach(), rows)
    head = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    head.load_state_dict({"weight": weight, "bias": bias}, assign=True)
    network.set_submodule(head_name(network), head)
    network.config = dataclasses.replace(network.config, num_classes=len(rows))  # type: ignore[assignment]
