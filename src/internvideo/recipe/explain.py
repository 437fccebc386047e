"""A recipe resolved: every key with its value, where the value comes from, and what it means."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from internvideo.config import config_to_dict, merged
from internvideo.recipe.building import build_augmentation, build_preprocessing
from internvideo.recipe.loading import list_recipes, load_recipe, read_layers
from internvideo.recipe.reference import keys_of
from internvideo.recipe.schema import Recipe
from internvideo.tasks.registry import all_architectures, find_objective

__all__ = ["Setting", "explain", "explained_yaml"]

_DEFAULT = "default"


class Setting(NamedTuple):
    """One key of a resolved recipe.

    Attributes:
        key: dotted, as an override names it.
        value: plain data.
        source: the file, preset or override that the value comes from, or "default".
        description: what the key means; "" where its name says it.
    """

    key: str
    value: Any
    source: str
    description: str


def explain(name: str | Path, overrides: Sequence[str] = ()) -> list[Setting]:
    """Return every key of a recipe, its presets spelled out.

    Raises:
        UnknownNameError: no such recipe.
        ConfigError: see `load_recipe`.
    """
    recipe = load_recipe(name, overrides)
    origin = _origins(name, overrides)
    data = recipe.model_dump(mode="json")
    for section, built in (
        ("preprocessing", build_preprocessing(recipe)),
        ("augmentation", build_augmentation(recipe)),
    ):
        value = getattr(recipe, section)
        preset = value if isinstance(value, str) else (value or {}).get("preset")
        if preset is not None:
            spelled = {f"{section}.{key}": f"preset {preset}" for key in config_to_dict(built)}
            origin = {**spelled, **origin}
        data[section] = None if built is None else config_to_dict(built)
    classes = _classes(recipe)
    return [
        Setting(key, value, origin.get(key, _DEFAULT), _description(key, classes))
        for key, value in _leaves(data)
    ]


def explained_yaml(settings: Sequence[Setting], *, width: int = 100) -> Iterator[tuple[str, str]]:
    """Yield the lines of a recipe as YAML, each with a comment behind or above it.

    Args:
        settings: of `explain`.
        width: of a comment line.

    Yields:
        The YAML of a line, and its comment, which begins with "#"; either may be empty.
    """
    open_groups: list[str] = []
    for key, value, source, description in settings:
        *groups, last = key.split(".")
        shared = 0
        while shared < min(len(groups), len(open_groups)) and groups[shared] == open_groups[shared]:
            shared += 1
        for depth in range(shared, len(groups)):
            yield f"{'  ' * depth}{groups[depth]}:", ""
        open_groups, indent = groups, "  " * len(groups)
        for line in textwrap.wrap(description, max(width - len(indent) - 2, 20)):
            yield indent, f"# {line}"
        written = yaml.safe_dump(
            value, default_flow_style=True, width=float("inf"), allow_unicode=True
        )
        text = written.removesuffix("\n...\n").strip()
        yield f"{indent}{last}: {text}", "" if source == _DEFAULT else f"  # {source}"


def _origins(name: str | Path, overrides: Sequence[str]) -> dict[str, str]:
    """Return where the value of each key that is given comes from."""
    data: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for layer in read_layers(name, overrides)[1]:
        data = merged(data, layer.data)
        own = dict(_leaves(layer.data))
        source = _shown(layer.source)
        origin = {key: source if key in own else origin[key] for key, _ in _leaves(data)}
    for override in overrides:
        key, _, value = override.partition("=")
        given = yaml.safe_load(value)
        origin |= {k: "command line" for k, _ in _leaves({key: given})}
    return origin


def _shown(source: str) -> str:
    ours = {str(path) for path in list_recipes().values()}
    folders = {Path(path).parent for path in ours}
    return Path(source).name if Path(source).parent in folders else source


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _classes(recipe: Recipe) -> dict[str, type]:
    """Return the class behind each section."""
    found: dict[str, Any] = {name: getattr(recipe, name) for name in type(recipe).model_fields}
    found["evaluation.data"] = recipe.evaluation and recipe.evaluation.data
    found["preprocessing"] = build_preprocessing(recipe)
    found["augmentation"] = build_augmentation(recipe)
    classes = {name: type(value) for name, value in found.items()}
    models = find_objective(recipe.task).models
    wanted = recipe.model.get("architecture", models[0])
    model = next((each.config for each in all_architectures() if each.id == wanted), Recipe)
    return {"": Recipe, **classes, "model": model}


def _description(key: str, classes: Mapping[str, type]) -> str:
    parts = key.split(".")
    for depth in reversed(range(len(parts))):
        cls: Any = classes.get(".".join(parts[:depth]))
        if hasattr(cls, "__dataclass_fields__") or hasattr(cls, "model_fields"):
            key_of = keys_of(cls)
            return key_of[parts[depth]].description if parts[depth] in key_of else ""
    return ""
