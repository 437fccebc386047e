"""What a name or a file means: its card, its configuration, its protocol, and whether it fits.

Nothing is built here; `load` turns the answers into models.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from internvideo.errors import CheckpointError, UnknownNameError
from internvideo.video.preprocessing import PRESETS, Preprocessing
from internvideo.zoo import environment
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.architectures import ARCHITECTURES, find_architecture
from internvideo.zoo.card import Card
from internvideo.zoo.checkpoint import CheckpointFile
from internvideo.zoo.foreign import ForeignConfig
from internvideo.zoo.identify import Fit, fit_to, recognise
from internvideo.zoo.labels import label_names
from internvideo.zoo.registry import all_cards, find_card
from internvideo.zoo.repository import fetch_repository
from internvideo.zoo.shapes import merge_fields, replace_fields
from internvideo.zoo.weight_files import is_saved_model

__all__ = [
    "candidates",
    "card_config",
    "card_labels",
    "card_preprocessing",
    "default_preprocessing",
    "fit_file",
    "look_up",
    "model_of_run",
]

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_RUNS = "runs"  # where `internvideo train` puts a run unless it is given another place
_WEIGHT_ENDINGS = {".pth", ".pt", ".pyth", ".ckpt", ".bin", ".safetensors"}


def look_up(source: str | Path) -> Card | Path:
    """Return the card, or the local file or folder, that a source means.

    A text is first a name of the zoo, then a path, then a hub id (whose two files are downloaded).
    The directory of a training run stands for its best model, or else for its last.

    Raises:
        UnknownNameError: none of these; the message suggests the nearest names.
        CheckpointError: a path to nothing, or a hub repository that cannot be had.
    """
    if not isinstance(source, str | os.PathLike) or not os.fspath(source):
        raise UnknownNameError(
            f"a model is the name of one (`internvideo models` lists them), a file, a folder or a"
            f" hub id, not {source!r}"
        )
    text = os.fspath(source)
    unknown: UnknownNameError | None = None
    if isinstance(source, str):
        try:
            return find_card(source)
        except UnknownNameError as error:
            unknown = error
    path = Path(text).expanduser()
    if path.exists():
        return model_of_run(path)
    is_path = path.is_absolute() or text.startswith(("./", "../", "~"))
    if path.parts[0] == _RUNS:
        run = Path(*path.parts[:2])
        raise CheckpointError(
            f"no such file or folder: {path}; a training run has to write it first:"
            f" `internvideo train RECIPE --out {run}`"
        )
    if unknown is None or is_path or path.suffix in _WEIGHT_ENDINGS:
        raise CheckpointError(f"no such file or folder: {path}")
    if _HUB_ID.fullmatch(text):
        return fetch_repository(text, local_files_only=environment.is_offline())
    if "/" in text:
        raise CheckpointError(f"no such file or folder, and no name of a model: {text}")
    raise unknown


def model_of_run(path: Path) -> Path:
    """Return the model folder in the directory of a training run; any other path as it is."""
    if path.is_dir() and not (path / "config.json").exists():
        for name in ("best", "model"):
            if is_saved_model(path / name):
                return path / name
        if (path / "last.ckpt").exists() and (path / "recipe.yaml").exists():
            raise CheckpointError(
                f"{path} is a run that has written no model yet; give the same"
                " `internvideo train` command again, which goes on with it"
            )
    return path


def candidates(fit: Fit) -> tuple[Card, ...]:
    """Return the cards of released models that a file of these names and shapes can be."""
    architecture = fit.architecture
    traits = architecture.traits(fit.config)
    return tuple(
        card
        for card in all_cards()
        if card.architecture == architecture.id
        and card.is_available
        and not card.embedded
        and architecture.traits(card_config(card, architectures=(architecture,))) == traits
    )


def card_config(card: Card, *, architectures: Sequence[Architecture] = ARCHITECTURES) -> Any:
    """Return the model configuration that a card stands for.

    Raises:
        CheckpointError: the architecture is planned, or the thing is not a model.
    """
    if not card.is_available or card.architecture is None:
        raise CheckpointError(
            f"{card.name} is known, but the library does not implement it yet ({card.description});"
            " `internvideo models` shows what is available"
        )
    architecture = find_architecture(card.architecture, architectures=architectures)
    if card.size is None or card.size not in architecture.sizes:
        raise CheckpointError(f"card {card.name}: {card.architecture} has no size {card.size!r}")
    return replace_fields(architecture.sizes[card.size], card.config)


def card_preprocessing(card: Card) -> Preprocessing | None:
    """Return the input protocol of a card, or None where none is declared."""
    if card.preprocessing is None:
        return None
    return dataclasses.replace(PRESETS[card.preprocessing], **card.preprocessing_options)


def card_labels(card: Card) -> tuple[str, ...] | None:
    """Return the class names of a card in the order of the outputs, or None if unknown."""
    return label_names(card.labels) if card.labels is not None else None


def default_preprocessing(fit: Fit, foreign: ForeignConfig | None = None) -> Preprocessing:
    """Return the protocol of a file without a card: the usual one at the model's own size.

    What another library's configuration says of pixels goes before the usual.
    """
    architecture, config = fit.architecture, fit.config
    preset = architecture.preset_of(config) if architecture.preset_of else architecture.preset
    usual = PRESETS[preset]
    for part in ("towers", "encoder", "vision"):
        config = getattr(config, part, config)
    if not hasattr(config, "image_size"):
        return usual  # it sees features; these are the frames that they are made of
    side = min(getattr(config, "frame_size", (config.image_size,)))
    return dataclasses.replace(
        usual,
        num_frames=getattr(config, "num_frames", usual.num_frames),  # an image tower has none
        **{
            "resize_size": side,
            "crop_size": side,
            **(foreign.pixels if foreign else {}),
        },
    )


def fit_file(
    file: CheckpointFile,
    card: Card | None,
    *,
    foreign: ForeignConfig | None = None,
    config: Mapping[str, Any] | None = None,
    architectures: Sequence[Architecture] = ARCHITECTURES,
    as_start: bool = False,
) -> tuple[Fit, Card | None]:
    """Compare a file with the card it should be, or find out what it is.

    Without a card, one is chosen when the file, or its folder, has the name of a released model.

    Args:
        file: what was read.
        card: the released model that it is.
        foreign: the `config.json` of another library beside it.
        config: as for `load_model`.
        architectures: those that it can be of.
        as_start: other tensors than those of the model may be there, or missing.

    Raises:
        CheckpointError: the file is not that model, or none that the library knows.
    """
    if card is not None:
        return _fit_card(file, card, architectures, config), card
    try:
        kind, layouts = recognise(file.shapes, architectures=architectures, as_start=as_start)
        said = foreign.fields_for(kind.id, layouts[0]) if foreign else {}
        said = merge_fields(said, config or {})
        fit = fit_to(file.shapes, kind, base=None, config=said, layouts=layouts)
    except CheckpointError as error:
        other = ""
        if foreign is not None and "model_type" in foreign.values:
            other = f". With transformers' own code: hf:{foreign.path.parent}"
        raise CheckpointError(f"{file.path}: {error}{other}") from error
    if as_start:
        return fit, None
    if not fit.ok:
        raise CheckpointError(
            f"{file.path} is nearest to {fit.architecture.id}, but does not fit: {fit.explain()}"
        )
    named = [
        each
        for each in candidates(fit)
        if file.path.name in {each.file_name, *(source.file_name for source in each.files)}
        or file.path.parent.name == each.name
    ]
    if len(named) != 1:
        return fit, None
    return _fit_card(file, named[0], architectures, config), named[0]


def _fit_card(
    file: CheckpointFile,
    card: Card,
    architectures: Sequence[Architecture],
    config: Mapping[str, Any] | None,
) -> Fit:
    expected = card_config(card, architectures=architectures)
    architecture = find_architecture(str(card.architecture), architectures=architectures)
    try:
        fit = fit_to(file.shapes, architecture, base=expected, config=config)
    except CheckpointError as error:
        raise CheckpointError(f"{file.path} is not {card.name}: {error}") from error
    wanted, found = architecture.traits(expected), architecture.traits(fit.config)
    # The file knows the depth of its decoder best: it differs between releases of one name.
    differing = [
        f"{name} {found[name]} instead of {wanted[name]}"
        for name in wanted
        if found[name] != wanted[name] and not name.startswith("decoder_")
    ]
    if differing or not fit.ok:
        problems = [*differing, *([] if fit.ok else [fit.explain()])]
        raise CheckpointError(f"{file.path} is not {card.name}: {'; '.join(problems)}")
    return fit
