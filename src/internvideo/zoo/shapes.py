"""Reading the size of a model off the names and shapes of its tensors.

A damaged list of tensors must not break what follows, so the most common value counts.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter

from internvideo.errors import CheckpointError, ConfigError, did_you_mean

__all__ = [
    "AmbiguousShapesError",
    "Shapes",
    "below",
    "depth_of",
    "field_of",
    "heads_of",
    "merge_fields",
    "mlp_ratio",
    "most_common",
    "replace_fields",
    "required",
    "with_fields",
]

Shapes = Mapping[str, tuple[int, ...]]

_Value = TypeVar("_Value")

_MAX_DEPTH = 512


class AmbiguousShapesError(CheckpointError):
    """Shapes that are those of several models alike.

    Attributes:
        readings: a configuration for each; one of them, as the base, settles it.
    """

    def __init__(self, message: str, readings: Sequence[Any]) -> None:
        super().__init__(message)
        self.readings = tuple(readings)


def below(values: Mapping[str, _Value], prefix: str) -> dict[str, _Value]:
    """Return what lies below a prefix, without it."""
    return {n.removeprefix(prefix): v for n, v in values.items() if n.startswith(prefix)}


def most_common(shapes: Shapes, pattern: str, axis: int) -> int | None:
    """Return the most common extent, along an axis, of the tensors whose name fits a pattern."""
    matcher = re.compile(pattern)
    votes = Counter(
        shape[axis]
        for name, shape in shapes.items()
        if len(shape) > axis and matcher.fullmatch(name)
    )
    return votes.most_common(1)[0][0] if votes else None


def required(shapes: Shapes, pattern: str, axis: int, what: str) -> int:
    """Return `most_common`, which must be there.

    Raises:
        CheckpointError: no tensor tells `what`.
    """
    value = most_common(shapes, pattern, axis)
    if not value:
        raise CheckpointError(f"the {what} cannot be told from the names and shapes of the tensors")
    return value


def depth_of(shapes: Shapes, prefix: str) -> int:
    """Return the number of blocks; one with less than half of the usual tensors does not count."""
    matcher = re.compile(rf"{prefix}\.(\d{{1,4}})\..+")
    counts = Counter(int(m[1]) for name in shapes if (m := matcher.fullmatch(name)))
    if not counts:
        raise CheckpointError("the number of blocks cannot be told from the names of the tensors")
    usual = max(counts.values())
    depth = 1 + max(index for index, count in counts.items() if 2 * count >= usual)
    if depth > _MAX_DEPTH:
        raise CheckpointError(f"{depth} blocks: no model of this library is that deep")
    return depth


def heads_of(width: int, sizes: Mapping[int, int]) -> int:
    """Return the number of heads: that of the published size, else one per 64 channels."""
    if width in sizes:
        return sizes[width]
    if width % 64:
        raise CheckpointError(
            f"width {width} is no published size, and shapes do not tell the number of attention"
            f" heads; say --set width={width} --set num_heads=…, or"
            " give a folder with model.safetensors and config.json"
        )
    return width // 64


def mlp_ratio(width: int, hidden: int, published: float) -> float:
    """Return an MLP ratio whose integer part of `width * ratio` is `hidden`."""
    if int(width * published) == hidden:
        return published
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width


def with_fields(base: Any, fields: Mapping[str, Any]) -> Any:
    """Return the base with the fields read off the shapes."""
    try:
        return dataclasses.replace(base, **fields)
    except ValueError as error:
        raise CheckpointError(f"the shapes make no sense together: {error}") from error


def replace_fields(config: Any, values: Mapping[str, Any]) -> Any:
    """Return a configuration with some fields replaced; nested mappings go into nested ones.

    Raises:
        ConfigError: there is no such field, or the value makes no sense.
    """
    known = [each.name for each in dataclasses.fields(config)]
    for name in values:
        if name not in known:
            raise ConfigError(
                f"{type(config).__name__} has no {name!r}.{did_you_mean(name, known)}"
                f" It has {', '.join(known)}"
            )

    def field(name: str, value: Any) -> Any:
        held = getattr(config, name)
        if not isinstance(value, Mapping):
            return value
        if dataclasses.is_dataclass(held):
            return replace_fields(held, value)
        return TypeAdapter(get_type_hints(type(config))[name]).validate_python(value)

    try:
        fields = {name: field(name, value) for name, value in values.items()}
        return dataclasses.replace(config, **fields)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{type(config).__name__}: {error}") from error


def merge_fields(*tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of a configuration, those of later tables first.

    "vision.width" becomes a field of the part "vision".
    """
    merged: dict[str, Any] = {}
    for table in tables:
        for name, value in table.items():
            first, _, rest = name.partition(".")
            inner = {rest: value} if rest else value
            if isinstance(inner, Mapping):
                merged[first] = merge_fields(merged.get(first) or {}, inner)
            else:
                merged[first] = inner
    return merged


def field_of(config: Any, name: str) -> Any:
    """Return a field of a configuration, or of such a mapping; None where there is none."""
    for part in name.split("."):
        config = config.get(part) if isinstance(config, Mapping) else getattr(config, part, None)
    return config
