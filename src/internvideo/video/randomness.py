"""The random numbers of augmentation, over any of the usual generators.

Python's `random.Random` is a `RandomSource`; `random_source` wraps a `torch.Generator` or a numpy
generator as one.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

import numpy as np
import torch

__all__ = ["AnyGenerator", "RandomSource", "random_source"]


class RandomSource(Protocol):
    """The three draws that augmentation needs, named as in Python's `random.Random`."""

    def uniform(self, a: float, b: float, /) -> float:
        """Draw a number between `a` and `b`."""
        ...

    def randint(self, a: int, b: int, /) -> int:
        """Draw an integer from `a` to `b`, both included."""
        ...

    def gauss(self, mu: float, sigma: float, /) -> float:
        """Draw from the normal distribution."""
        ...


AnyGenerator: TypeAlias = (
    torch.Generator | np.random.Generator | np.random.RandomState | RandomSource
)


class _TorchRandom:
    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def uniform(self, a: float, b: float, /) -> float:
        device = self._generator.device
        draw = torch.rand((), generator=self._generator, dtype=torch.float64, device=device)
        return a + (b - a) * draw.item()

    def randint(self, a: int, b: int, /) -> int:
        device = self._generator.device
        draw = torch.randint(a, b + 1, (), generator=self._generator, device=device)
        return int(draw.item())

    def gauss(self, mu: float, sigma: float, /) -> float:
        device = self._generator.device
        draw = torch.randn((), generator=self._generator, dtype=torch.float64, device=device)
        return mu + sigma * draw.item()


class _NumpyRandom:
    def __init__(self, rng: np.random.Generator | np.random.RandomState) -> None:
        self._rng = rng

    def uniform(self, a: float, b: float, /) -> float:
        return float(self._rng.uniform(a, b))

    def randint(self, a: int, b: int, /) -> int:
        if isinstance(self._rng, np.random.RandomState):
            return int(self._rng.randint(a, b + 1))
        return int(self._rng.integers(a, b + 1))

    def gauss(self, mu: float, sigma: float, /) -> float:
        return float(self._rng.normal(mu, sigma))


def random_source(rng: AnyGenerator) -> RandomSource:
    """Return a source of draws over any of the usual generators; a source is returned unchanged."""
    if isinstance(rng, torch.Generator):
        return _TorchRandom(rng)
    if isinstance(rng, (np.random.Generator, np.random.RandomState)):
        return _NumpyRandom(rng)
    return rng
