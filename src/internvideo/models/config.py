"""Model configurations as plain data: frozen dataclasses to JSON and back, checked on the way in.

Works on any tree of dataclasses whose fields are numbers, strings, `None`, tuples, literals or
other dataclasses. Where a field allows several dataclasses, its data carry the class under `"kind"`
(the class name without `Config`), so that `{"vision": {"kind": "ViCLIPVision", …}}` reads back.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from internvideo.errors import ConfigError, did_you_mean

__all__ = ["config_from_dict", "config_kind", "config_to_dict"]

_Config = TypeVar("_Config")


def config_kind(cls: type) -> str:
    """Return the name that marks a configuration class in data: `VideoViTConfig` → `VideoViT`."""
    return cls.__name__.removesuffix("Config")


def config_to_dict(config: Any) -> dict[str, Any]:
    """Return the fields of a configuration as plain JSON-ready data (tuples become lists)."""
    hints = get_type_hints(type(config))
    return {
        field.name: _to_plain(getattr(config, field.name), hints[field.name])
        for field in dataclasses.fields(config)
    }


def config_from_dict(cls: type[_Config], data: Mapping[str, Any]) -> _Config:
    """Build the configuration `cls` from plain data; the inverse of `config_to_dict`.

    Raises:
        ConfigError: an unknown key (the nearest known ones are named), a missing key, a value of
            another type, or a value that the class itself refuses; the message names the path.
    """
    return _build(cls, data, path="")


def _to_plain(value: Any, hint: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain = config_to_dict(value)
        several = len(_dataclasses_of(hint)) > 1
        return {"kind": config_kind(type(value)), **plain} if several else plain
    if isinstance(value, tuple):
        items = _items_hint(hint)
        return [_to_plain(item, items) for item in value]
    return value


def _build(cls: type, data: Any, *, path: str) -> Any:
    where = path or config_kind(cls)
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: expected keys of {cls.__name__}, got {data!r}")
    hints = get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in data:
        if key not in fields:
            raise ConfigError(f"{where}: unknown key {key!r}.{did_you_mean(str(key), fields)}")
    missing = [
        name
        for name, field in fields.items()
        if name not in data
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"{where}: missing {', '.join(missing)}")
    values = {
        key: _parse(value, hints[key], path=f"{path}.{key}" if path else key)
        for key, value in data.items()
    }
    try:
        return cls(**values)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def _parse(value: Any, hint: Any, *, path: str) -> Any:
    """Return `value` as `hint` wants it, or raise with the path of the value."""
    if classes := _dataclasses_of(hint):
        if value is None and type(None) in get_args(hint):
            return None
        return _parse_dataclass(value, classes, path=path)
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        for choice in get_args(hint):
            try:
                return _parse(value, choice, path=path)
            except ConfigError:
                continue
        names = " or ".join(_name(choice) for choice in get_args(hint))
        raise ConfigError(f"{path}: expected {names}, got {value!r}")
    if origin is Literal:
        if value not in get_args(hint):
            allowed = ", ".join(repr(choice) for choice in get_args(hint))
            raise ConfigError(f"{path}: {value!r} is not one of {allowed}")
        return value
    if origin is tuple:
        return _parse_tuple(value, hint, path=path)
    return _parse_scalar(value, hint, path=path)


def _parse_dataclass(value: Any, classes: tuple[type, ...], *, path: str) -> Any:
    if isinstance(value, classes):
        return value
    if len(classes) == 1:
        return _build(classes[0], value, path=path)
    kinds = {config_kind(cls): cls for cls in classes}
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if kind not in kinds:
        near = did_you_mean(kind, kinds) if isinstance(kind, str) else ""
        raise ConfigError(f"{path}: kind {kind!r} is not one of {', '.join(kinds)}.{near}")
    return _build(kinds[kind], {k: v for k, v in value.items() if k != "kind"}, path=path)


def _parse_tuple(value: Any, hint: Any, *, path: str) -> tuple:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{path}: expected a list, got {value!r}")
    hints = get_args(hint)
    if len(hints) == 2 and hints[1] is Ellipsis:
        hints = (hints[0],) * len(value)
    if len(hints) != len(value):
        raise ConfigError(f"{path}: expected {len(hints)} values, got {len(value)}: {value!r}")
    return tuple(
        _parse(item, item_hint, path=f"{path}[{i}]")
        for i, (item, item_hint) in enumerate(zip(value, hints, strict=True))
    )


def _parse_scalar(value: Any, hint: Any, *, path: str) -> Any:
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = type(None) if hint is None else hint
    is_bool_for_number = isinstance(value, bool) and expected in (int, float)
    if not isinstance(value, expected) or is_bool_for_number:
        raise ConfigError(f"{path}: expected {_name(expected)}, got {value!r}")
    return value


def _dataclasses_of(hint: Any) -> tuple[type, ...]:
    """Return the dataclasses that a type hint allows, itself or as members of a union."""
    choices = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return tuple(c for c in choices if isinstance(c, type) and dataclasses.is_dataclass(c))


def _items_hint(hint: Any) -> Any:
    """Return the hint of the items of a tuple field (their union where they differ)."""
    choices = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for choice in choices:
        if get_origin(choice) is tuple:
            items = tuple(item for item in get_args(choice) if item is not Ellipsis)
            return Union[items] if items else Any  # noqa: UP007 - built from run-time values
    return Any


def _name(hint: Any) -> str:
    if hint is type(None):
        return "null"
    return getattr(hint, "__name__", str(hint))
