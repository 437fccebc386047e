"""A recipe: everything a training run is, in one YAML file.

A recipe names a task, a model, the data, and the numbers; `base: other.yaml` takes another recipe
and replaces what differs; `key.subkey=value` on the command line replaces single values. Unknown
keys are an error that names the nearest valid one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, PositiveInt

from internvideo.errors import ConfigError, UnknownNameError, did_you_mean
from internvideo.train.config import (
    Fraction,
    OptimConfig,
    RuntimeConfig,
    ScheduleConfig,
    StrictModel,
    validate,
)

__all__ = ["Recipe", "find_recipe", "list_recipes", "load_recipe"]

_PACKAGED = Path(__file__).parent / "recipes"
_CHECKOUT = Path(__file__).parents[2] / "recipes"


class MaskedTask(StrictModel):
    """Masked video modelling with a `VideoMAE`."""

    kind: Literal["masked"]
    mask: Literal["tube", "random"] = "tube"
    mask_ratio: Fraction = 0.9


class ContrastiveTask(StrictModel):
    """Video-language contrast with a `ViCLIP`."""

    kind: Literal["contrastive"]
    mask_ratio: Fraction = 0.0


class WorldData(StrictModel):
    """Procedural clips, rendered when they are needed; the same for the same seed."""

    kind: Literal["world"]
    num_clips: PositiveInt
    seed: int = 0
    captions: dict[str, float] = Field(
        default_factory=dict, description="shares of caption kinds, see world.CaptionMix"
    )


class KineticsData(StrictModel):
    """A Kinetics list: one `path label` a line, space-separated; labels are optional here."""

    kind: Literal["kinetics"]
    annotations: Path
    root: Path | None = Field(default=None, description="videos are relative to this folder")


class MSRVTTData(StrictModel):
    """An MSR-VTT json with its folder of videos; one caption is drawn per visit."""

    kind: Literal["msrvtt"]
    annotations: Path
    videos: Path
    split: str = "train"


class Recipe(StrictModel):
    """One training run."""

    name: str
    description: str = ""
    task: Annotated[MaskedTask | ContrastiveTask, Field(discriminator="kind")]
    model: dict[str, Any] = Field(description="the configuration of the task's model class")
    init: str | None = Field(
        default=None, description="a model name or directory whose encoder the run starts from"
    )
    preprocessing: dict[str, Any] | str = Field(
        default="nano", description="the name of a preset, or its fields"
    )
    data: Annotated[WorldData | KineticsData | MSRVTTData, Field(discriminator="kind")]
    optim: OptimConfig = OptimConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    runtime: RuntimeConfig = RuntimeConfig()

    def fingerprint(self) -> str:
        """Return a hash of all that changes what is learned (not of logging or workers).

        Values at their defaults do not enter: an option added later leaves old fingerprints alone.
        """
        content = self.model_dump(mode="json", exclude_defaults=True)
        for key in ("num_workers", "threads", "log_every", "save_every", "compile", "accelerator"):
            content.get("runtime", {}).pop(key, None)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def to_yaml(self) -> str:
        """Return the resolved recipe as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def list_recipes() -> dict[str, Path]:
    """Return the recipes that come with the library, name → file."""
    root = _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT
    return {path.stem: path for path in sorted(root.rglob("*.yaml"))}


def find_recipe(name: str | Path) -> Path:
    """Return the file of a recipe given by path or by name.

    Raises:
        UnknownNameError: neither a file nor the name of a recipe of the library.
    """
    path = Path(name)
    if path.is_file():
        return path
    known = list_recipes()
    if path.stem in known and path.suffix in ("", ".yaml"):
        return known[path.stem]
    raise UnknownNameError(
        f"no recipe '{name}': neither a file nor one of ours.{did_you_mean(path.stem, known)} "
        f"Ours: {', '.join(known)}"
    )


def load_recipe(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply `key.subkey=value` overrides (values are parsed as YAML).

    Raises:
        UnknownNameError: no such recipe.
        ConfigError: broken YAML, unknown key, or invalid value.
    """
    path = find_recipe(name)
    data = _read(path)
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise ConfigError(f"override '{override}' is not of the form key.subkey=value")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"override '{override}': the value is not valid YAML") from None
        _set(data, key.split("."), parsed, override)
    return validate(Recipe, data, source=str(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = str(error).replace("\n", " ")
        raise ConfigError(f"{path} is not a YAML file: {reason}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds no recipe (expected keys such as task, model, data)")
    base = data.pop("base", None)
    return data if base is None else _merge(_read(path.parent / base), data)


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes` on top, nested mappings merged key by key."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _set(data: dict[str, Any], keys: list[str], value: Any, override: str) -> None:
    for key in keys[:-1]:
        data = data.setdefault(key, {})
        if not isinstance(data, dict):
            raise ConfigError(f"override '{override}': '{key}' is a value, not a group of keys")
    data[keys[-1]] = value
