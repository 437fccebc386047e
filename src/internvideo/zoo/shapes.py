"""Reading the size of a model off the names and shapes of its tensors.

A damaged list of tensors must not break what follows, so the most common value counts.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeVar

from internvideo.errors import CheckpointError

__all__ = [
    "Shapes",
    "below",
    "depth_of",
    "heads_of",
    "mlp_ratio",
    "most_common",
    "required",
    "with_fields",
]

Shapes = Mapping[str, tuple[int, ...]]

_Value = TypeVar("_Value")

_MAX_DEPTH = 512


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
            " heads; give a folder with model.safetensors and config.json"
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
