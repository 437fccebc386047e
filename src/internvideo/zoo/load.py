"""From a name, a file, a folder or a hub id to a model that runs.

"videomae-b16-k400" ──► card ──► download ─┐
"vit_b_k400_ft.pth" ──► told by its shapes ┼─► read safely ──► our names ──► model, protocol, labels
"folder", "org/repo" ──► config.json ──────┘
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from internvideo.errors import CheckpointError
from internvideo.models.classifier import remap_head
from internvideo.models.contract import Classifier, has
from internvideo.models.positions import resample_positions
from internvideo.models.uniformerv2 import UniFormerV2
from internvideo.models.vit import VideoViT, VideoViTConfig
from internvideo.zoo.architectures import find_architecture, kind_of
from internvideo.zoo.card import Card
from internvideo.zoo.checkpoint import read_checkpoint
from internvideo.zoo.download import download
from internvideo.zoo.hub import (
    Pretrained,
    Record,
    assign_weights,
    is_saved_model,
    read_config,
    read_directory,
)
from internvideo.zoo.identify import Fit, convert
from internvideo.zoo.labels import detect_order, index_map, label_names
from internvideo.zoo.registry import find_card
from internvideo.zoo.resolve import (
    card_config,
    card_labels,
    card_preprocessing,
    default_preprocessing,
    fit_file,
    look_up,
)
from internvideo.zoo.uniformerv2_start import fit_to_encoder, new_to_clip, uniformerv2_part

__all__ = [
    "LoadedModel",
    "Transferred",
    "load_encoder_weights",
    "load_model",
    "official_state",
    "reorder_outputs",
]

_LOG = logging.getLogger(__name__)
_WEIGHTS = "model.safetensors"

LoadedModel: TypeAlias = Pretrained
HeadRule: TypeAlias = Literal["none", "kept", "remapped", "fresh"]


def load_model(
    source: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    card: str | None = None,
    labels: str | Sequence[str] | None = None,
) -> LoadedModel:
    """Load a model with what belongs to it.

    Args:
        source: a name of the zoo, a weight file of any official make, a folder with `config.json`
            and `model.safetensors`, or a hub id ("organisation/repository").
        device: where the weights go.
        dtype: of the floating-point weights; None is float32.
        card: for a weight file: the name of the released model that it is, which brings its
            protocol and labels. Without it the card is told by the file name, or left open.
        labels: the classes wanted, as the id of a label map or as a list of names; see
            `reorder_outputs`.

    Raises:
        UnknownNameError: no such name; the message suggests the nearest.
        CheckpointError: the file cannot be had, is unsafe or broken, or belongs to another model.
    """
    chosen = find_card(card) if card is not None else None
    found = look_up(source)
    if isinstance(found, Card):
        loaded = _load_card(found, device, dtype)
    else:
        loaded = _load_path(found, chosen, device, dtype)
    return loaded if labels is None else reorder_outputs(loaded, labels)


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
    known = detect_order(loaded.labels) if loaded.labels else None
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
    return Pretrained(loaded.model, dataclasses.replace(loaded.record, labels=names))


def official_state(network: nn.Module, *, layout: str = "official") -> dict[str, Tensor]:
    """Return the state dictionary of a model under the names of the official files.

    Raises:
        CheckpointError: the zoo does not know the model, or it has no such layout.
    """
    architecture = kind_of(network)
    if layout not in architecture.tables:
        raise CheckpointError(
            f"{architecture.id} has no layout {layout!r}; it has {', '.join(architecture.tables)}"
        )
    return architecture.tables[layout].to_official(network.state_dict())


@dataclass(frozen=True, kw_only=True, slots=True)
class Transferred:
    """What a model got from a file.

    Attributes:
        loaded: number of tensors taken.
        left: tensors of the file that the model has no place for (a decoder, a head, a final norm).
        fresh: tensors of the model that stay as they were initialised.
        head: what became of a classifier's head.
    """

    loaded: int
    left: tuple[str, ...]
    fresh: tuple[str, ...]
    head: HeadRule


def load_encoder_weights(
    model: nn.Module,
    source: str | Path,
    *,
    card: str | None = None,
    head_rows: Sequence[int] | None = None,
) -> Transferred:
    """Give the video encoder of a model the weights of a pretrained one.

    Every tensor of the encoder must be in the file, with its shape. A decoder, a head and a text
    tower of the file are left; a final norm that the model does not have is left too (a classifier
    with mean pooling starts its own). A learnt position table is fitted to another number of frames
    or pixels. The head of a classifier is kept when file and model have the same number of classes,
    taken by rows when `head_rows` is given, and left fresh otherwise. A UniFormerV2 may also start
    from an image CLIP, to which its global and local parts are new.

    Args:
        model: a `VideoMAE`, `VideoViT`, `VideoClassifier`, a `ViCLIP` on a `VideoViT`, a
            `UniFormerV2` or a classifier or two-tower model on it.
        source: as for `load_model`.
        card: as for `load_model`.
        head_rows: which outputs of the file's head become the outputs of the model's.

    Raises:
        CheckpointError: the model or the file has no such encoder, or they differ in shape.
    """
    encoder = _encoder_of(model)
    state, config, path = _read_state(source, card)
    own = encoder.state_dict()
    head: HeadRule = "none"
    fresh: tuple[str, ...] = ()
    if isinstance(encoder, UniFormerV2):
        given = uniformerv2_part(state, path)
        names = {id(tensor): name for name, tensor in given.items()}
        fresh = new_to_clip(given, encoder)
        fit_to_encoder(given, encoder)
    else:
        given = _encoder_part(state, path)
        names = {id(tensor): name for name, tensor in given.items()}
        _fit_positions(given, config, encoder)
        if encoder.config.positions == "umt":
            # Made for the clips of this model, whatever clips the file was made for.
            given.pop("pos_embed", None)
            fresh = ("pos_embed",) if "pos_embed" in own else ()
    if has(encoder, "classes"):
        head = _prepare_head(encoder, given, head_rows)
        parts = ("head.", "fc_norm.", "transformer.proj.")
        fresh += tuple(name for name in own if name.startswith(parts) and name not in given)
    taken = {name: tensor for name, tensor in given.items() if name in own}
    missing = tuple(name for name in own if name not in taken and name not in fresh)
    mismatched = {
        name: (tuple(tensor.shape), tuple(own[name].shape))
        for name, tensor in taken.items()
        if tensor.shape != own[name].shape
    }
    if missing or mismatched:
        fit = Fit(architecture="", layout="", config=None, missing=missing, mismatched=mismatched)
        raise CheckpointError(f"{path} does not fit the encoder: {fit.explain()}")
    encoder.load_state_dict(taken, strict=False)
    left = tuple(name for name, tensor in state.items() if names.get(id(tensor)) not in taken)
    _LOG.info("%s: %d tensors taken, %d left, head %s", path, len(taken), len(left), head)
    return Transferred(loaded=len(taken), left=left, fresh=fresh, head=head)


def _encoder_of(model: nn.Module) -> VideoViT | UniFormerV2:
    for module in model.modules():
        if isinstance(module, VideoViT | UniFormerV2):
            return module
    raise CheckpointError(f"a {type(model).__name__} like this has no VideoViT encoder")


def _encoder_part(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the tensors of the video transformer under its own names."""
    marker = "patch_embed.proj.weight"
    for prefix in ("", "encoder.", "vision_encoder.encoder."):
        if f"{prefix}{marker}" in state:
            return {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
    raise CheckpointError(f"{path} holds no VideoViT encoder (no {marker})")


def _fit_positions(given: dict[str, Tensor], config: Any, encoder: VideoViT) -> None:
    """Resample a learnt position table of the file for the clip size of the encoder."""
    table = given.get("pos_embed")
    if table is None or encoder.config.positions != "learnable":
        return
    for part in (config, getattr(config, "encoder", None), getattr(config, "vision", None)):
        if isinstance(part, VideoViTConfig) and part.grid != encoder.config.grid:
            given["pos_embed"] = resample_positions(table, part.grid, encoder.config.grid)


def _prepare_head(
    model: Classifier,
    given: dict[str, Tensor],
    rows: Sequence[int] | None,
) -> HeadRule:
    """Apply the rule for heads to the given tensors."""
    weight, bias = (f"{_head_name(model)}.{part}" for part in ("weight", "bias"))
    if weight not in given:
        return "fresh"
    if rows is not None:
        given[weight], given[bias] = remap_head(given[weight], given[bias], rows)
        return "remapped"
    if len(given[weight]) == model.config.num_classes:
        return "kept"
    del given[weight], given[bias]
    return "fresh"


def _head_name(model: Any) -> str:
    """Return the name of the linear layer whose outputs are the classes."""
    return next(name for name, module in model.named_modules() if module is model.head)


def _read_state(source: str | Path, card: str | None) -> tuple[dict[str, Tensor], Any, Path]:
    """Return the tensors of a source under our names, its configuration, and its place."""
    chosen = find_card(card) if card is not None else None
    found = look_up(source)
    if isinstance(found, Card):
        chosen = found
        found = found.directory if found.directory is not None else _download(found)
    if found.is_dir():
        found = found / _WEIGHTS
    file = read_checkpoint(found)
    if is_saved_model(found.parent) and found.name == _WEIGHTS:
        return file.state, read_config(found.parent)[1], found
    fit, _ = fit_file(file, chosen)
    return convert(file.state, fit), fit.config, found


def _download(card: Card) -> Path:
    card_config(card)  # a planned model is refused before anything is downloaded
    return download(card)


def _load_card(card: Card, device: Any, dtype: torch.dtype | None) -> LoadedModel:
    if card.directory is None:
        return _load_path(_download(card), card, device, dtype)
    network, record = read_directory(card.directory, device=device, dtype=dtype)
    return Pretrained(network, dataclasses.replace(record, card=card))


def _load_path(
    path: Path, card: Card | None, device: Any, dtype: torch.dtype | None
) -> LoadedModel:
    folder = path if path.is_dir() else path.parent
    weights = folder / _WEIGHTS if path.is_dir() else path
    if weights.name == _WEIGHTS and (is_saved_model(folder) or not weights.is_file()):
        return Pretrained(*read_directory(folder, device=device, dtype=dtype))
    file = read_checkpoint(weights)
    fit, card = fit_file(file, card)
    if fit.stripped or file.wrapper:
        taken_off = ", ".join(fit.stripped) or "none"
        _LOG.info("%s: wrapper %r, prefixes taken off: %s", weights, file.wrapper, taken_off)
    network = find_architecture(fit.architecture).build(fit.config)
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
    return Pretrained(network, record)


def _remap_head(network: Any, rows: Sequence[int]) -> None:
    weight, bias = remap_head(network.head.weight.detach(), network.head.bias.detach(), rows)
    head = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    head.load_state_dict({"weight": weight, "bias": bias}, assign=True)
    network.set_submodule(_head_name(network), head)
    network.config = dataclasses.replace(network.config, num_classes=len(rows))
