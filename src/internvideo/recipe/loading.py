"""Reading a recipe: the file, the recipe it is based on, its data set, and overrides.

A file called `k400+k600_NAME.yaml` holds the recipes `k400_NAME` and `k600_NAME`, which differ by
their data set alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from internvideo.config import merged, validate
from internvideo.errors import ConfigError, UnknownNameError, did_you_mean
from internvideo.recipe.schema import Recipe

__all__ = ["find_recipe", "list_recipes", "load_recipe"]

_PACKAGED = Path(__file__).parents[1] / "recipes"
_CHECKOUT = Path(__file__).parents[3] / "recipes"


def list_recipes() -> dict[str, Path]:
    """Return the recipes that come with the library, name → file.

    A file whose name begins with an underscore is only the base of others.
    """
    found = [
        (path.parent, f"{dataset}_{rest}", path)
        for path in _root().rglob("[!_]*.yaml")
        for datasets, _, rest in [path.stem.partition("_")]
        for dataset in datasets.split("+")
    ]
    return {name: path for _, name, path in sorted(found, key=lambda f: (f[0], f"{f[1]}.yaml"))}


def _root() -> Path:
    return _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT


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
    data = _read(path, _dataset_of(name, path))
    parsed = []
    for keys, value, override in map(_parse, overrides):
        if keys == ["data", "dataset"]:
            data = merged(data, _expanded({"data": {"dataset": value}}, data, path))
        else:
            parsed.append((keys, value, override))
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


def _dataset_of(name: str | Path, path: Path) -> str | None:
    """Return the data set that a recipe's name chooses in a file of several; the first by default.

    >>> _dataset_of("k600_videomae-h", Path("k400+k600_videomae-h.yaml"))
    'k600'
    """
    held = path.stem.partition("_")[0].split("+")
    wanted = Path(name).stem.partition("_")[0]
    return (wanted if wanted in held else held[0]) if len(held) > 1 else None


def _read(path: Path, dataset: str | None, *, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    data = _mapping(path)
    if dataset is not None:
        data["name"] = f"{dataset}_{path.stem.partition('_')[2]}"
        data["data"] = {"dataset": dataset, **data.get("data", {})}
    base = data.pop("base", None)
    if base is None:
        return _expanded(data, {}, path)
    if not isinstance(base, str):
        raise ConfigError(f"{path}: 'base' names another recipe, {base!r} is no name")
    file, above = find_recipe(path.parent / base), (*above, path.resolve())
    if file.resolve() in above:
        raise ConfigError(f"{path}: a recipe cannot be based on itself, as by 'base: {base}'")
    below = _read(file, _dataset_of(base, file), above=above)
    return merged(below, _expanded(data, below, path))


def _mapping(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} is not a YAML file: {reason}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds no recipe (expected keys such as task, model, data)")
    return data


def _expanded(data: dict[str, Any], base: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a recipe with what the table says of its data set, below its own keys.

    Args:
        data: the recipe, with or without `data.dataset`.
        base: what it is based on.
        path: its file, for messages.
    """
    if not isinstance(data.get("data"), dict) or "dataset" not in data["data"]:
        return data
    own = {key: value for key, value in data["data"].items() if key != "dataset"}
    name, known = data["data"]["dataset"], _mapping(_root() / "_datasets.yaml")
    if name not in known:
        raise ConfigError(
            f"{path}: data.dataset {name!r} is not one of: {', '.join(known)}."
            f"{did_you_mean(str(name), known)}"
        )
    about, filled = known[name], {"data": known[name]["train"]}
    if merged(base, data).get("evaluation") is not None:
        filled["evaluation"] = {"data": about["val"]}
        if "num_classes" in about:
            filled["model"] = {"num_classes": about["num_classes"]}
    texts = {}
    for key, mark in (("description", "title"), ("init_labels", "label_map")):
        if isinstance(data.get(key), str):
            texts[key] = data[key].replace(f"{{{mark}}}", str(about.get(mark)))
    return merged(filled, {**data, **texts, "data": own})


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
