"""One golden case: what the reference implementation computed (`NAME.json`, `NAME.safetensors`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor


@dataclass(frozen=True)
class Case:
    """A fixture file pair; everything an adapter needs is in `meta` and `tensors`."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    @cached_property
    def meta(self) -> dict[str, Any]:
        return json.loads(self.path.read_text(encoding="utf-8"))

    @property
    def family(self) -> str:
        return self.meta["family"]

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        weights = self.path.with_suffix(".safetensors")
        return load_file(weights) if weights.exists() else {}

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors below `prefix` ("state.", "grad.", "input.x."), without the prefix."""
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}

    def tolerance(self, *, rtol: float = 1e-4, atol: float = 2e-5) -> dict[str, float]:
        """Return the tolerance that the fixture states, or the given one where it names none."""
        stated = self.meta.get("tolerance")
        if not isinstance(stated, dict):
            return {"rtol": rtol, "atol": atol}
        return {"rtol": stated.get("rtol", rtol), "atol": stated.get("atol", atol)}

    def assert_close(self, actual: Tensor, name: str, **tolerance: float) -> None:
        """Assert that `actual` equals the stored tensor `name` within the tolerance of the case."""
        expected = self.tensors[name]
        torch.testing.assert_close(
            actual.detach().to(expected.dtype).reshape(expected.shape)
            if actual.numel() == expected.numel() == 1
            else actual.detach().to(expected.dtype),
            expected,
            **{**self.tolerance(), **tolerance},
            msg=lambda message: f"{self.name}: {name}: {message}",
        )


def find_cases(directory: Path) -> list[Case]:
    """Return the cases of a directory, sorted by name; data files beside a case are not cases."""
    cases = []
    for path in sorted(directory.glob("*.json")):
        meta = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(meta, dict) and "family" in meta:
            cases.append(Case(path))
    return cases
