"""Tensors from arrays and to lists, with the types that torch leaves open."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

__all__ = ["as_list", "from_numpy"]


def as_list(values: Tensor) -> list[Any]:
    """Return the numbers of a tensor."""
    return cast("list[Any]", values.tolist())  # pyright: ignore[reportUnknownMemberType]


def from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    """Return a tensor on the CPU that shares the memory of an array."""
    return torch.from_numpy(array)  # pyright: ignore[reportUnknownMemberType]
