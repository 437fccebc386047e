"""Deterministic data: which samples a step sees, and which random numbers each sample gets.

A sample is identified by (epoch, index). Its random generator is seeded by (seed, epoch, index),
never by the state of a worker, so that any step of any epoch can be produced again: that is what
makes an interrupted run continue exactly where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from internvideo.data.samples import ClipSource, Sample

__all__ = [
    "ClipDataset",
    "EpochBatchSampler",
    "build_loader",
]


Prepare = Callable[[Sample, np.random.Generator], dict[str, Any]]


class ClipDataset(Dataset):
    """Reads samples by (epoch, index) and lets the task turn each into tensors (in the worker)."""

    def __init__(self, source: ClipSource, prepare: Prepare, *, seed: int) -> None:
        self.source = source
        self.prepare = prepare
        self.seed = seed

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        rng = np.random.default_rng([self.seed, epoch, index])
        return self.prepare(self.source.read(index, rng), rng)


class EpochBatchSampler(Sampler[list[tuple[int, int]]]):
    """Yields batches of (epoch, index) for one rank, from any step of the run on.

    Every epoch is a fresh permutation that depends on (seed, epoch) only. Batch `b` of the global
    permutation is dealt to the ranks in turn; what does not fill a global batch is left out.

    Args:
        num_samples: length of the dataset.
        batch_size: samples per rank and step.
        epochs: number of passes.
        seed: run seed.
        rank: this process.
        world_size: number of processes.
        start_step: optimiser steps already taken.
    """

    def __init__(
        self,
        num_samples: int,
        *,
        batch_size: int,
        epochs: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        start_step: int = 0,
    ) -> None:
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.epochs = epochs
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.start_step = start_step

    @property
    def steps_per_epoch(self) -> int:
        """Return the optimiser steps of one pass over the data."""
        return self.num_samples // (self.batch_size * self.world_size)

    def __len__(self) -> int:
        return self.steps_per_epoch * self.epochs - self.start_step

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        global_batch = self.batch_size * self.world_size
        for epoch in range(self.start_step // max(self.steps_per_epoch, 1), self.epochs):
            order = np.random.default_rng([self.seed, epoch]).permutation(self.num_samples)
            done = self.start_step - epoch * self.steps_per_epoch
            for batch in range(max(done, 0), self.steps_per_epoch):
                chunk = order[batch * global_batch : (batch + 1) * global_batch]
                yield [(epoch, int(index)) for index in chunk[self.rank :: self.world_size]]


def build_loader(
    dataset: ClipDataset, sampler: EpochBatchSampler, *, num_workers: int, pin_memory: bool
) -> DataLoader:
    """Return the loader; workers run single-threaded beside the training process."""
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
        prefetch_factor=4 if num_workers else None,
        worker_init_fn=_single_thread if num_workers else None,
    )


def _single_thread(_worker: int) -> None:
    torch.set_num_threads(1)
