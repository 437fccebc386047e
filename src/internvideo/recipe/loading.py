"""Reading a recipe: the file, the recipe it is based on, its data set, and overrides.

A file called `k400+k600_NAME.yaml` holds the recipes `k400_NAME` and `k600_NAME`, which differ by
their data set alone. A relative path in a recipe is one beside its file where something is there,
else one below the current directory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cache, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from internvideo.config import merged, validate
from internvideo.errors import ConfigError, UnknownNameError, did_you_mean

if TYPE_CHECKING:
    from internvideo.recipe.schema import Recipe

__all__ = ["Layer", "find_recipe", "list_recipes", "load_recipe", "read_layers"]

_PACKAGED = Path(__file__).parents[1] / "recipes"
_CHECKOUT = Path(__file__).parents[3] / "recipes"
# That of libyaml is nearly ten times as fast; PyYAML comes without it on some platforms.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DATASETS = "_datasets.yaml"
_PATHS = frozenset(  # keys of `data` whose values are files, folders or addresses
    {
        "annotations",
        "root",
        "labels",
        "videos",
        "shards",
        "persons",
        "excluded",
        "folders",
        "answers",
    }
)


class Layer(NamedTuple):
    """What one place says of a recipe.

    Attributes:
        source: a file, a data set of the table, or an override.
        data: nested keys; those of a later layer count.
    """

    source: str
    data: dict[str, Any]


def list_recipes() -> dict[str, Path]:
    """Return the recipes that come with the library, name → file.

    A file whose name begins with an underscore is only the base of others.
    """
    return dict(_listed(_root()))


@cache
def _listed(root: Path) -> dict[str, Path]:
    found = [
        (path.parent, f"{dataset}_{rest}", path)
        for path in root.rglob("[!_]*.yaml")
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
    from internvideo.recipe.schema import Recipe  # which knows all tasks, and with them torch

    path, layers = read_layers(name, overrides)
    data = reduce(merged, (layer.data for layer in layers), {})
    # A new kind first: it takes away the keys of the old one.
    parsed = [each for each in map(_parse, overrides) if not _is_dataset(each[0])]
    for keys, value, override in sorted(parsed, key=lambda each: each[0][-1] != "kind"):
        _set(data, keys, value, override)
    return validate(Recipe, data, source=str(path))


def read_layers(name: str | Path, overrides: Sequence[str] = ()) -> tuple[Path, list[Layer]]:
    """Return the file of a recipe, and what it is made of, the lowest base first.

    Of the overrides only `data.dataset=NAME` makes a layer.
    """
    path = find_recipe(name)
    layers = _read(path, _dataset_of(name, path))
    for keys, value, override in map(_parse, overrides):
        if _is_dataset(keys):
            below = reduce(merged, (layer.data for layer in layers), {})
            chosen = Layer(override, {"data": {"dataset": value}})
            layers += _expanded(chosen, below, path)
    return path, layers


def _is_dataset(keys: list[str]) -> bool:
    return keys == ["data", "dataset"]


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


def _read(path: Path, dataset: str | None, *, above: tuple[Path, ...] = ()) -> list[Layer]:
    data = _beside(_mapping(path), path.parent)
    if dataset is not None:
        data["name"] = f"{dataset}_{path.stem.partition('_')[2]}"
        data["data"] = {"dataset": dataset, **data.get("data", {})}
    base, layer = data.pop("base", None), Layer(str(path), data)
    if base is None:
        return _expanded(layer, {}, path)
    if not isinstance(base, str):
        raise ConfigError(f"{path}: 'base' names another recipe, {base!r} is no name")
    file, above = find_recipe(path.parent / base), (*above, path.resolve())
    if file.resolve() in above:
        raise ConfigError(f"{path}: a recipe cannot be based on itself, as by 'base: {base}'")
    lower = _read(file, _dataset_of(base, file), above=above)
    for each in lower:  # what is said of another recipe is not true of this one
        each.data.pop("description", None)
    return lower + _expanded(layer, reduce(merged, (each.data for each in lower), {}), path)


def _beside(tree: dict[str, Any], folder: Path, *, inside: str = "") -> dict[str, Any]:
    """Return a file's keys with the paths of what lies beside it."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            value = _beside(value, folder, inside=inside or key)
        elif isinstance(value, list):
            parts = (_beside(v, folder, inside=inside) if isinstance(v, dict) else v for v in value)
            value = list(parts)
            if key in _PATHS and inside:
                value = [_placed(each, folder) for each in value]
        elif (inside in ("data", "evaluation") and key in _PATHS) or (key == "init" and not inside):
            value = _placed(value, folder)
        found[key] = value
    return found


def _placed(value: Any, folder: Path) -> Any:
    """Return a relative path as one beside the recipe, if something is there."""
    if not isinstance(value, str) or not value or folder == Path():
        return value
    beside = folder / value
    return str(beside) if not Path(value).is_absolute() and beside.exists() else value


def _mapping(path: Path) -> dict[str, Any]:
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _LOADER)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} is not a YAML file: {reason}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds no recipe (expected keys such as task, model, data)")
    return data


@cache
def _datasets(path: Path) -> dict[str, Any]:
    return _mapping(path)


def _expanded(layer: Layer, base: Mapping[str, Any], path: Path) -> list[Layer]:
    """Return a layer above what the table says of its data set.

    Args:
        layer: of a recipe, with or without `data.dataset`.
        base: what it is based on.
        path: its file, for messages.
    """
    data = layer.data
    if not isinstance(data.get("data"), dict) or "dataset" not in data["data"]:
        return [layer]
    own = {key: value for key, value in data["data"].items() if key != "dataset"}
    name, known = data["data"]["dataset"], _datasets(_root() / _DATASETS)
    if name not in known:
        raise ConfigError(
            f"{path}: data.dataset {name!r} is not one of: {', '.join(known)}."
            f"{did_you_mean(str(name), known)}"
        )
    about = deepcopy(known[name])
    filled = {"data": about["train"]}
    if merged(dict(base), data).get("evaluation") is not None:
        filled["evaluation"] = {"data": about["val"]}
        if "num_classes" in about:
            filled["model"] = {"num_classes": about["num_classes"]}
    texts = {}
    for key, mark in (("description", "title"), ("init_labels", "label_map")):
        if isinstance(data.get(key), str):
            texts[key] = data[key].replace(f"{{{mark}}}", str(about.get(mark)))
    own_layer = Layer(layer.source, {**data, **texts, "data": own})
    return [Layer(f"{_DATASETS}: {name}", filled), own_layer]


def _set(data: dict[str, Any], keys: list[str], value: Any, override: str) -> None:
    for key in keys[:-1]:
        if data.get(key) is None:  # such as evaluation, in a resolved recipe without one
            data[key] = {}
        if key in ("preprocessing", "augmentation") and isinstance(data[key], str):
            data[key] = {"preset": data[key]}
        data = data[key]
        if not isinstance(data, dict):
            raise ConfigError(f"override '{override}': '{key}' is a value, not a group of keys")
    if keys[-1] == "kind" and data.get("kind") != value:
        data.clear()
    data[keys[-1]] = value
