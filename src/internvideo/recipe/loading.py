"""Reading a recipe: the file, the recipe it is based on, and the overrides of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from internvideo.config import validate
from internvideo.errors import ConfigError, UnknownNameError, did_you_mean
from internvideo.recipe.schema import Recipe

__all__ = ["find_recipe", "list_recipes", "load_recipe", "merged"]

_PACKAGED = Path(__file__).parents[1] / "recipes"
_CHECKOUT = Path(__file__).parents[3] / "recipes"


def list_recipes() -> dict[str, Path]:
    """Return the recipes that come with the library, name → file.

    A file whose name begins with an underscore is only the base of others.
    """
    root = _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT
    return {path.stem: path for path in sorted(root.rglob("[!_]*.yaml"))}


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
        "`internvideo recipes` lists ours"
    )


def load_recipe(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply `key.subkey=value` overrides (values are parsed as YAML).

    Raises:
        UnknownNameError: no such recipe.
        ConfigError: broken YAML, unknown key, or invalid value.
    """
    path = find_recipe(name)
    data = _read(path)
    parsed = [_parse(override) for override in overrides]
    # A new kind first: it takes away the keys of the old one.
    for keys, value, override in sorted(parsed, key=lambda each: each[0][-1] != "kind"):
        _set(data, keys, value, override)
    return validate(Recipe, data, source=str(path))


def _parse(override: str) -> tuple[list[str], Any, str]:
    """Return the keys and the value of `key.subkey=value`, and the text itself for messages."""
    key, separator, value = override.partition("=")
    if not separator:
        raise ConfigError(f"override '{override}' is not of the form key.subkey=value")
    try:
        return key.split("."), yaml.safe_load(value), override
    except yaml.YAMLError:
        raise ConfigError(f"override '{override}': the value is not valid YAML") from None


def _read(path: Path, *, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} is not a YAML file: {reason}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds no recipe (expected keys such as task, model, data)")
    base = data.pop("base", None)
    if base is None:
        return data
    if not isinstance(base, str):
        raise ConfigError(f"{path}: 'base' names another recipe, {base!r} is no name")
    file, above = find_recipe(path.parent / base), (*above, path.resolve())
    if file.resolve() in above:
        raise ConfigError(f"{path}: a recipe cannot be based on itself, as by 'base: {base}'")
    return merged(_read(file, above=above), data)


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes` on top, nested mappings merged key by key.

    A mapping of another `kind` replaces the old one: their keys have nothing in common.
    """
    if "kind" in changes and changes["kind"] != base.get("kind"):
        return dict(changes)
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def _set(data: dict[str, Any], keys: list[str], value: Any, override: str) -> None:
    for key in keys[:-1]:
        if data.get(key) is None:  # such as evaluation, in a resolved recipe without one
            data[key] = {}
        data = data[key]
        if not isinstance(data, dict):
            raise ConfigError(f"override '{override}': '{key}' is a value, not a group of keys")
    if keys[-1] == "kind" and data.get("kind") != value:
        data.clear()
    data[keys[-1]] = value
