"""A model with its record, and the folder in which both are stored and shared.

The folder holds `model.safetensors`, `config.json` and `README.md`.

`config.json` holds all that is needed to use the weights: the kind of model and its configuration,
the input protocol, the class names in the order of the outputs, the tokenizer, and how the weights
were made.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelHubMixin
from torch import Tensor, nn

from internvideo.config import config_from_dict, config_to_dict
from internvideo.errors import CheckpointError, ConfigError, UnknownNameError
from internvideo.models.contract import DualEncoder, has, num_classes_of
from internvideo.video.preprocessing import PRESETS, Preprocessing
from internvideo.zoo import environment
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.architectures import ARCHITECTURES, find_architecture, kind_of
from internvideo.zoo.card import Card
from internvideo.zoo.checkpoint import read_checkpoint
from internvideo.zoo.identify import compare
from internvideo.zoo.repository import fetch_repository

__all__ = [
    "LoadedModel",
    "Record",
    "assign_weights",
    "read_config",
    "read_directory",
    "read_record",
    "read_state",
    "save_pretrained",
    "weights_sha256",
]

_FORMAT = "internvideo/1"
_CONFIG, _WEIGHTS, _README = "config.json", "model.safetensors", "README.md"


@dataclass(frozen=True, kw_only=True)
class Record:
    """What belongs to a set of weights besides the weights.

    Attributes:
        preprocessing: the input protocol that the model was made for.
        labels: class names in the order of the outputs.
        provenance: how the weights came about: recipe, or file, link and checksum.
        card: the card of a released model.
    """

    preprocessing: Preprocessing | None = None
    labels: tuple[str, ...] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    card: Card | None = None


class LoadedModel(ModelHubMixin, library_name="internvideo", tags=["video", "internvideo"]):
    """A model with its record; `save_pretrained`, `push_to_hub` and `from_pretrained` keep both.

    Args:
        network: a model of one of the architectures.
        record: what belongs to the weights.
        architectures: those that it can be of.

    Raises:
        CheckpointError: it is of none of them.
    """

    def __init__(
        self,
        network: nn.Module,
        record: Record | None = None,
        *,
        architectures: Sequence[Architecture] = ARCHITECTURES,
    ) -> None:
        self.model = network
        self.record = record or Record()
        self._kind = kind_of(network, architectures=architectures)

    def with_record(self, **fields: Any) -> LoadedModel:
        """Return the same weights with other values of some fields of their record."""
        record = replace(self.record, **fields)
        return LoadedModel(self.model, record, architectures=(self._kind,))

    @property
    def architecture(self) -> str:
        """Id of the kind of model, e.g. "videomae/classifier"."""
        return self._kind.id

    @property
    def card(self) -> Card | None:
        """The card of a released model."""
        return self.record.card

    @property
    def preprocessing(self) -> Preprocessing | None:
        """The input protocol that the model was made for."""
        return self.record.preprocessing

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Class names in the order of the outputs."""
        return self.record.labels

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The classes of the model in the order of its outputs, numbered where unnamed."""
        if (count := num_classes_of(self.model)) is None:
            return None
        return self.labels or tuple(f"class {n}" for n in range(count))

    @property
    def protocol(self) -> Preprocessing:
        """The input protocol.

        Raises:
            ConfigError: the weights came without one.
        """
        if self.preprocessing is None:
            raise ConfigError(
                f"{self.name} came without an input protocol; use model.with_preprocessing(…), or "
                f"--protocol, with one of: {', '.join(PRESETS)}"
            )
        return self.preprocessing

    @property
    def two_towers(self) -> DualEncoder:
        """The network, as one that embeds videos and texts into one space.

        Raises:
            ConfigError: it has no text tower.
        """
        if not has(self.model, "text"):
            raise ConfigError(f"{self.name} has no text tower; load a ViCLIP or an InternVideo-MM")
        return self.model

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of a model with a text tower, else None."""
        return self.model.tokenizer if has(self.model, "text") else None

    @property
    def name(self) -> str:
        """Name of the card, else of the recipe or the source of the weights, else the kind."""
        if self.record.card:
            return self.record.card.name
        made = self.record.provenance
        name = made.get("recipe") or made.get("source")
        return name if isinstance(name, str) and name else self.architecture

    def to_config(self) -> dict[str, Any]:
        """Return the content of `config.json`."""
        return {
            "format": _FORMAT,
            "kind": self.architecture,
            "config": config_to_dict(self.model.config),
            "preprocessing": self.preprocessing and self.preprocessing.to_dict(),
            "labels": self.labels and list(self.labels),
            "tokenizer": type(self.tokenizer).__name__ if self.tokenizer is not None else None,
            "provenance": dict(self.record.provenance),
            "card": _card_to_dict(self.card) if self.card else None,
        }

    def _save_pretrained(self, save_directory: Path) -> None:
        from safetensors.torch import save_file

        state = {n: t.detach().cpu().contiguous() for n, t in self.model.state_dict().items()}
        metadata = {"format": "pt", "kind": self.architecture}
        _write(save_directory / _WEIGHTS, lambda path: save_file(state, path, metadata=metadata))
        text = json.dumps(self.to_config(), indent=2, ensure_ascii=False) + "\n"
        _write(save_directory / _CONFIG, lambda path: path.write_text(text, encoding="utf-8"))
        readme = self._readme()
        _write(save_directory / _README, lambda path: path.write_text(readme, encoding="utf-8"))

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        architectures: Sequence[Architecture] = ARCHITECTURES,
    ) -> LoadedModel:
        directory = Path(model_id)
        if not directory.is_dir():
            directory = fetch_repository(
                model_id,
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only or environment.is_offline(),
                token=token,
            )
        return read_directory(directory, device=device, dtype=dtype, architectures=architectures)

    def _readme(self) -> str:
        card = self.card
        lines = [
            "---",
            "library_name: internvideo",
            "tags: [video, internvideo]",
            "---",
            "",
            f"# {self.name}",
            "",
            f"A `{self.architecture}` model of the `internvideo` library.",
        ]
        if self.preprocessing is not None:
            lines += ["", f"Input: {self.preprocessing.describe()}"]
        if card is not None:
            lines += ["", f"Licence: {card.licence}", "", card.notes]
        if self.record.provenance:
            lines += ["", "## How the weights were made", ""]
            lines += [f"- {name}: {value}" for name, value in self.record.provenance.items()]
        usage = [
            "",
            "```python",
            "import internvideo as iv",
            "",
            'model = iv.load("path or hub id")',
        ]
        return "\n".join([*lines, *usage, "```", ""])


def save_pretrained(
    model: nn.Module,
    directory: str | Path,
    *,
    preprocessing: Preprocessing | None = None,
    labels: tuple[str, ...] | None = None,
    provenance: Mapping[str, Any] | None = None,
    architectures: Sequence[Architecture] = ARCHITECTURES,
) -> Path:
    """Write a model to a folder that `load` and `from_pretrained` read.

    Raises:
        CheckpointError: the model is of none of the architectures.
    """
    record = Record(preprocessing=preprocessing, labels=labels, provenance=provenance or {})
    LoadedModel(model, record, architectures=architectures).save_pretrained(directory)
    return Path(directory)


def read_directory(
    directory: Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    architectures: Sequence[Architecture] = ARCHITECTURES,
) -> LoadedModel:
    """Read a folder written by `save_pretrained`.

    Args:
        directory: holds `config.json` and `model.safetensors`.
        device: where the weights go.
        dtype: of the floating-point weights; None is float32.
        architectures: those that the model can be of.

    Raises:
        CheckpointError: a file is missing, of another library, or does not fit the configuration.
    """
    record = read_record(directory)
    architecture, config = read_config(directory, architectures=architectures)
    network = architecture.build(config)
    state = read_state(directory)
    assign_weights(network, state, source=directory / _WEIGHTS, device=device, dtype=dtype)
    return LoadedModel(network, record, architectures=architectures)


def read_state(directory: Path) -> dict[str, Tensor]:
    """Return the tensors of a folder written by this library.

    Raises:
        CheckpointError: they are missing or broken.
    """
    weights = directory / _WEIGHTS
    if not weights.is_file():
        raise CheckpointError(f"{directory} has no {_WEIGHTS}")
    return read_checkpoint(weights).state


def read_record(directory: Path) -> Record:
    """Return what a folder written by this library holds besides the weights.

    Raises:
        CheckpointError: `config.json` is missing, of another library, or makes no sense.
    """
    values = _read_json(directory / _CONFIG)
    try:
        preprocessing = values.get("preprocessing")
        return Record(
            preprocessing=Preprocessing.from_dict(preprocessing) if preprocessing else None,
            labels=tuple(values["labels"]) if values.get("labels") else None,
            provenance=values.get("provenance") or {},
            card=Card.from_dict(values["card"]) if values.get("card") else None,
        )
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{directory / _CONFIG}: {error}") from error


def assign_weights(
    network: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> None:
    """Give a model on the meta device its weights; every tensor is copied once, out of the file.

    Floating-point tensors become float32 unless `dtype` says otherwise, whatever the file holds
    (DeepSpeed files are float16).

    Raises:
        CheckpointError: names or shapes differ, or a weight is not a finite number.
    """
    own = network.state_dict()
    fit = compare(
        {name: tuple(tensor.shape) for name, tensor in state.items()},
        {name: tuple(tensor.shape) for name, tensor in own.items()},
    )
    if not fit.ok:
        raise CheckpointError(f"{source} does not fit {type(network).__name__}: {fit.explain()}")
    copied = {}
    for name, tensor in state.items():
        target = (dtype or torch.float32) if tensor.is_floating_point() else tensor.dtype
        copied[name] = tensor.detach().to(device=device, dtype=target, copy=True).contiguous()
        if tensor.is_floating_point() and not bool(torch.isfinite(copied[name]).all()):
            raise CheckpointError(f"{source}: {name} holds values that are not finite numbers")
    network.load_state_dict(copied, strict=True, assign=True)
    reset_buffers: Callable[[], None] | None = getattr(network, "reset_buffers", None)
    if reset_buffers is not None:
        reset_buffers()
    left = [name for name, tensor in _tensors(network) if tensor.is_meta]
    assert not left, f"{type(network).__name__}.reset_buffers() leaves {left} on the meta device"
    network.to(device).eval()


def _tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from network.named_parameters()
    yield from network.named_buffers()


def weights_sha256(network: nn.Module) -> str:
    """Return a checksum of all tensors of a model under their names: which numbers gave a result?

    It does not depend on the device.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def read_config(
    directory: Path, *, architectures: Sequence[Architecture] = ARCHITECTURES
) -> tuple[Architecture, Any]:
    """Return the architecture and the model configuration of a folder written by this library.

    Raises:
        CheckpointError: `config.json` is missing, of another library, or makes no sense.
    """
    values = _read_json(directory / _CONFIG)
    try:
        architecture = find_architecture(values["kind"], architectures=architectures)
        return architecture, config_from_dict(architecture.config, values["config"])
    except (ConfigError, KeyError, UnknownNameError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise CheckpointError(f"{directory / _CONFIG}: {reason}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path.parent} has no {path.name}: not the folder of a model that"
            " `internvideo train` or `save_pretrained` wrote"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable JSON ({error})") from error
    if not isinstance(values, dict) or "kind" not in values:
        raise CheckpointError(
            f"{path} was not written by this library (no 'kind'); of another library's folder load"
            " the weight file itself"
        )
    if values.get("format") != _FORMAT:
        raise CheckpointError(
            f"{path} has format {values.get('format')!r}, this version reads {_FORMAT!r}; update"
            " internvideo"
        )
    return values


def _card_to_dict(card: Card) -> dict[str, Any]:
    """Return a card as JSON values, without what is empty and without the local folder."""
    values = asdict(card)
    del values["directory"]
    return {name: value for name, value in values.items() if value not in (None, "", (), {}, False)}


def _write(path: Path, write: Callable[[Path], Any]) -> None:
    """Write beside the file and rename, so that an interrupted save leaves the old file."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
