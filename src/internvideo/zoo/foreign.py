"""`config.json` of other libraries: what it tells that shapes do not.

| library                 | told by                         | read                             |
|-------------------------|---------------------------------|----------------------------------|
| transformers' VideoMAE  | model_type "videomae"           | clip, heads, epsilons, labels    |
| transformers' CLIP      | model_type "clip"               | activation, heads                |
| VideoMAE V2 on the hub  | "model_config" in config.json   | clip, heads, positions           |
| open_clip               | open_clip_config.json           | activation, heads, mean and std  |

The labels are those of `id2label`; mean, std and size are those of `preprocessor_config.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from internvideo.errors import CheckpointError

__all__ = ["ACTIVATIONS", "PREPROCESSOR_FILE", "TORCH_EPS", "ForeignConfig", "read_foreign"]

_CONFIGS = ("config.json", "open_clip_config.json")
PREPROCESSOR_FILE = "preprocessor_config.json"
TORCH_EPS = 1e-5  # transformers leaves the LayerNorm before VideoMAE's classifier at it
ACTIVATIONS = {"quick_gelu": "quick-gelu", "gelu": "gelu"}
_INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}


@dataclass(frozen=True, kw_only=True)
class ForeignConfig:
    """What the folder of another library tells.

    Attributes:
        path: the file.
        values: its content.
        labels: class names in the order of the outputs.
        pixels: fields of the input protocol.
    """

    path: Path
    values: Mapping[str, Any]
    labels: tuple[str, ...] | None = None
    pixels: Mapping[str, Any] = field(default_factory=dict)

    def fields_for(self, architecture: str, layout: str) -> dict[str, Any]:
        """Return the fields of a configuration of ours.

        Raises:
            CheckpointError: the model has something that ours has not.
        """
        try:
            return _fields(self.values, architecture, layout)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{self.path}: {error}") from error


def read_foreign(folder: Path) -> ForeignConfig | None:
    """Return what the configuration in a folder tells, or None without one.

    Raises:
        CheckpointError: it is not readable.
    """
    path = next((folder / name for name in _CONFIGS if (folder / name).is_file()), None)
    if path is None:
        return None
    values = _read(path)
    return ForeignConfig(
        path=path,
        values=values,
        labels=_labels(path, values),
        pixels=_pixels(values.get("preprocess_cfg") or _preprocessor(folder)),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable JSON ({error})") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds a {type(values).__name__}, expected an object")
    return values


def _preprocessor(folder: Path) -> dict[str, Any]:
    path = folder / PREPROCESSOR_FILE
    return _read(path) if path.is_file() else {}


def _labels(path: Path, values: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the names in the order of their ids; None for the placeholders of transformers."""
    names = values.get("id2label")
    if not isinstance(names, Mapping) or not names:
        return None
    try:
        numbered = {int(number): str(name) for number, name in names.items()}
    except ValueError as error:
        raise CheckpointError(f"{path}: id2label has a key that is no number ({error})") from error
    if sorted(numbered) != list(range(len(numbered))):
        raise CheckpointError(f"{path}: id2label does not number {len(numbered)} classes from 0")
    labels = tuple(numbered[number] for number in range(len(numbered)))
    return None if labels == tuple(f"LABEL_{n}" for n in range(len(labels))) else labels


def _pixels(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a `Preprocessing` that an image processor tells."""
    found: dict[str, Any] = {}
    for ours, names in {"mean": ("image_mean", "mean"), "std": ("image_std", "std")}.items():
        numbers = next((values[name] for name in names if values.get(name)), None)
        if isinstance(numbers, list) and len(numbers) == 3 and values.get("do_normalize", True):
            found[ours] = tuple(float(number) for number in numbers)
    for ours, name in {"resize_size": "size", "crop_size": "crop_size"}.items():
        size = values.get(name)
        if isinstance(size, Mapping):
            size = size.get("shortest_edge", size.get("height"))
        if isinstance(size, int):
            found[ours] = size
    if values.get("resample") in _INTERPOLATIONS:
        found["interpolation"] = _INTERPOLATIONS[values["resample"]]
    return found


def _fields(values: Mapping[str, Any], architecture: str, layout: str) -> dict[str, Any]:
    if architecture.startswith("videomae/"):
        return _videomae_fields(values, architecture, layout)
    if architecture == "openai-clip":
        return _open_clip_fields(values) if "model_cfg" in values else _clip_fields(values)
    return {}


def _videomae_fields(values: Mapping[str, Any], architecture: str, layout: str) -> dict[str, Any]:
    hub = values.get("model_config")  # VideoMAE V2
    if values.get("model_type") != "videomae" and not isinstance(hub, Mapping):
        return {}
    said, names = (hub, _HUB_VIT) if isinstance(hub, Mapping) else (values, _TRANSFORMERS_VIT)
    found = {ours: _side(said[name]) for ours, name in names.items() if name in said}
    if not said.get("use_learnable_pos_emb"):
        found["positions"] = "direct"
    if (activation := said.get("hidden_act", "gelu")) != "gelu":
        raise ValueError(f"hidden_act {activation!r}, a VideoMAE of ours has 'gelu'")
    if architecture == "videomae/pretraining":
        fields: dict[str, Any] = {"encoder": found}
        for ours, name in _TRANSFORMERS_DECODER.items():
            fields |= {ours: said[name]} if name in said else {}
        if said.get("norm_pix_loss") is False:
            fields["target"] = "pixels"
        return fields
    if architecture == "videomae/classifier" and layout == "hf":
        found["head_norm_eps"] = TORCH_EPS
    return found


_HUB_VIT = {
    "width": "embed_dim",
    "image_size": "img_size",
    "num_frames": "num_frames",
    "num_heads": "num_heads",
}
_TRANSFORMERS_VIT = {
    "width": "hidden_size",
    "image_size": "image_size",
    "num_frames": "num_frames",
    "num_heads": "num_attention_heads",
    "norm_eps": "layer_norm_eps",
}


_TRANSFORMERS_DECODER = {
    "decoder_width": "decoder_hidden_size",
    "decoder_num_heads": "decoder_num_attention_heads",
}


def _side(value: Any) -> Any:
    """Return the side of a square that is given as two numbers; other sides stay a pair."""
    if not isinstance(value, list):
        return value
    return value[0] if len(set(value)) == 1 else tuple(value)


def _clip_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    if values.get("model_type") != "clip":
        return {}
    found: dict[str, Any] = {}
    for ours, name in {"vision": "vision_config", "text": "text_config"}.items():
        tower = values.get(name) or values.get(f"{name}_dict") or {}
        activation = tower.get("hidden_act", "quick_gelu")
        if activation not in ACTIVATIONS:
            raise ValueError(f"hidden_act {activation!r} is not one of {', '.join(ACTIVATIONS)}")
        found[ours] = {"activation": ACTIVATIONS[activation]}
        for field_name, key in {"width": "hidden_size", "num_heads": "num_attention_heads"}.items():
            found[ours] |= {field_name: tower[key]} if key in tower else {}
    return found


def _open_clip_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    model = values["model_cfg"]
    vision, text = model["vision_cfg"], model["text_cfg"]
    activation = "quick-gelu" if model.get("quick_gelu") else "gelu"
    return {
        "vision": {
            "activation": activation,
            "width": vision["width"],
            "num_heads": vision["width"] // vision.get("head_width", 64),
        },
        "text": {"activation": activation, "width": text["width"], "num_heads": text["heads"]},
    }
