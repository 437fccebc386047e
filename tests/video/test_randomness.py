"""Random numbers of augmentation: the same draws over any generator."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from internvideo.video.randomness import random_source


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: torch.Generator().manual_seed(seed),
        np.random.default_rng,
        np.random.RandomState,
        random.Random,
    ],
    ids=["torch", "numpy", "numpy-legacy", "python"],
)
def test_every_generator_is_a_source(make):
    source = random_source(make(5))
    numbers = [source.uniform(-2.0, 3.0) for _ in range(200)]
    assert all(-2.0 <= number <= 3.0 for number in numbers)
    assert min(numbers) < -1.5
    assert max(numbers) > 2.5
    assert {source.randint(2, 5) for _ in range(200)} == {2, 3, 4, 5}
    assert source.randint(7, 7) == 7
    again = random_source(make(5))
    assert numbers == [again.uniform(-2.0, 3.0) for _ in range(200)]
    normal = [source.gauss(4.0, 0.5) for _ in range(500)]
    assert abs(np.mean(normal) - 4.0) < 0.1
    assert 0.4 < np.std(normal) < 0.6
