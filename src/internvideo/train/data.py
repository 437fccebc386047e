"""Deterministic data: which samples a step sees, and which random numbers each sample gets.

A sample is identified by (epoch, index). Its random generator is seeded by (seed, epoch, index),
never by the state of a worker, so that any step of any epoch can be produced again: that is what
makes an interrupted run continue exactly where it stopped. A video that cannot be read is replaced
by another, which (seed, epoch, index) determine as well; the failure travels with the batch.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import math
import multiprocessing
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from types import MethodType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    Sampler,
    default_collate,  # type: ignore[no-untyped-def]  # of torch
)

from internvideo.data.samples import ClipSource, Sample
from internvideo.errors import DataError, InternVideoError, VideoError

__all__ = [
    "HOST",
    "Batch",
    "ClipDataset",
    "EpochBatchSampler",
    "Example",
    "SkippedVideo",
    "build_loader",
    "collate",
    "fetch",
    "workers_end_on_error",
]

Prepare = Callable[[Sample, np.random.Generator], list[dict[str, Tensor]]]

HOST = "host_"
"""Prefix of the names of tensors that stay on the CPU, where a step can read them at once."""

_TRIM_EVERY = 64  # samples of one worker
_MAX_ATTEMPTS = 10
_REASONS_SHOWN = 3
_WORKER_ENDED = ("DataLoader worker", "DataLoader timed out")


class SkippedVideo(NamedTuple):
    """A video that could not be read in training, and why."""

    epoch: int
    key: str
    reason: str


class Example(NamedTuple):
    """What a worker makes of one place in the epoch's order.

    Attributes:
        rows: what the task prepared, one entry a repeat.
        key: the sample that was read.
        skipped: the videos that stood here before and could not be read.
        error: why there are no rows; the training process raises it.
    """

    rows: list[dict[str, Tensor]]
    key: str = ""
    skipped: tuple[SkippedVideo, ...] = ()
    error: str = ""


class Batch(NamedTuple):
    """One micro-step of one process: tensors, and what is known about them.

    Attributes:
        tensors: what the task's `training_loss` takes; the repeats of a sample are adjacent.
        keys: the sample of each row.
        skipped: the videos that could not be read and were replaced.
        error: why there is no batch.
    """

    tensors: dict[str, Tensor]
    keys: list[str]
    skipped: list[SkippedVideo]
    error: str = ""


class ClipDataset(Dataset[Example]):
    """Reads samples by (epoch, index) and lets the task turn each into tensors (in the worker)."""

    def __init__(self, source: ClipSource, prepare: Prepare, *, seed: int) -> None:
        self.source = source
        self.prepare = prepare
        self.seed = seed
        self._reads = 0

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the weights, which a worker that is not forked does not need."""
        return {**self.__dict__, "prepare": _without_weights(self.prepare)}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, place: tuple[int, int]) -> Example:
        self._reads += 1
        if self._reads % _TRIM_EVERY == 0:
            _trim_heap()
        epoch, index = place
        skipped: list[SkippedVideo] = []
        for attempt in range(_MAX_ATTEMPTS):
            seeds = [self.seed, epoch, index, *([attempt] if attempt else [])]
            rng = np.random.default_rng(seeds)
            number = self._replacement(index, rng) if attempt else index
            try:
                sample = self.source.read(number, rng)
                return Example(self.prepare(sample, rng), sample.key, tuple(skipped))
            except VideoError as error:
                skipped.append(SkippedVideo(epoch, self.source.key(number), str(error)))
            except InternVideoError as error:
                # A DataLoader would wrap it into a page of traceback.
                return Example([], error=str(error))
        reasons = list(dict.fromkeys(video.reason for video in skipped))
        shown = "; ".join(reasons[:_REASONS_SHOWN]) + ("; …" if reasons[_REASONS_SHOWN:] else "")
        return Example(
            [],
            error=f"{_MAX_ATTEMPTS} videos in a row could not be read, giving up (`internvideo "
            f"data check` looks at a whole list): {shown}",
        )

    def _replacement(self, index: int, rng: np.random.Generator) -> int:
        special = getattr(self.source, "replacement", None)
        return int(rng.integers(len(self.source))) if special is None else special(index, rng)


def _without_weights(prepare: Prepare) -> Prepare:
    """Return a method of a task and its model as one of bare copies; they may be sharded."""
    task = getattr(prepare, "__self__", None)
    if not isinstance(prepare, MethodType) or not isinstance(task, nn.Module):
        return prepare
    children: dict[str, nn.Module | None] = vars(task)["_modules"]
    bare = _bare(task, {name: child and _bare(child, {}) for name, child in children.items()})
    return MethodType(prepare.__func__, bare)


def _bare(module: nn.Module, children: dict[str, nn.Module | None]) -> nn.Module:
    bare = copy(module)
    vars(bare).update(_parameters={}, _buffers={}, _modules=children)
    return bare


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    """Return the function of glibc; other C libraries have none, and need none."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None


def _trim_heap() -> None:
    """Give freed memory back to the system; it takes milliseconds.

    A decoder frees what it took, but glibc keeps freed pages and, with frames of all sizes coming
    and going in several threads, ever more of them. Over a run of days that is gigabytes.
    """
    if (trim := _malloc_trim()) is not None:
        trim(0)


def collate(examples: Sequence[Example]) -> Batch:
    """Stack the rows of all examples; the repeats of one stay adjacent."""
    error = next((example.error for example in examples if example.error), "")
    return Batch(
        tensors={} if error else default_collate([row for e in examples for row in e.rows]),
        keys=[example.key for example in examples for _ in example.rows],
        skipped=[video for example in examples for video in example.skipped],
        error=error,
    )


class EpochBatchSampler(Sampler[list[tuple[int, int]]]):
    """Yields the micro-batches of (epoch, index) of one rank, from any step of the run on.

    Every epoch is a fresh permutation that depends on (seed, epoch) only. Step `b` takes the
    `b`-th global batch of it, which is dealt to the ranks in turn; what does not fill a global
    batch is left out. So the same global batch gives the same steps on any number of processes.

    Args:
        source: the samples; its `order(rng)`, if it has one, draws the permutation, or its
            `batches(rng, size)` the global batches.
        batch_size: samples per rank and micro-step.
        accumulate: micro-steps of a step.
        epochs: number of passes; of a fractional last one, the first batches of its order.
        seed: run seed.
        rank: this process.
        world_size: number of processes.
        start_step: optimiser steps already taken.
    """

    def __init__(
        self,
        source: ClipSource,
        *,
        batch_size: int,
        epochs: float,
        seed: int,
        accumulate: int = 1,
        rank: int = 0,
        world_size: int = 1,
        start_step: int = 0,
    ) -> None:
        self.source = source
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.start_step = start_step
        self.total_steps = round(self.steps_per_epoch * epochs)

    @property
    def global_batch_size(self) -> int:
        """Return the samples of one optimiser step, over all processes."""
        return self.batch_size * self.accumulate * self.world_size

    @property
    def steps_per_epoch(self) -> int:
        """Return the optimiser steps of one pass over the data."""
        special = getattr(self.source, "num_batches", None)
        if special is not None:
            return special(self.global_batch_size)
        return len(self.source) // self.global_batch_size

    def __len__(self) -> int:
        return (self.total_steps - self.start_step) * self.accumulate

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        size, steps, total = self.global_batch_size, self.steps_per_epoch, self.total_steps
        for epoch in range(self.start_step // max(steps, 1), math.ceil(total / max(steps, 1))):
            order = self._order(epoch)
            done = max(self.start_step - epoch * steps, 0)
            for step in range(done, min(steps, total - epoch * steps)):
                dealt = order[step * size : (step + 1) * size][self.rank :: self.world_size]
                for first in range(0, len(dealt), self.batch_size):
                    part = dealt[first : first + self.batch_size]
                    yield [(epoch, int(index)) for index in part]

    def _order(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, epoch])
        batches = getattr(self.source, "batches", None)
        if batches is not None:
            return batches(rng, self.global_batch_size)
        special = getattr(self.source, "order", None)
        return rng.permutation(len(self.source)) if special is None else special(rng)


def build_loader(
    dataset: ClipDataset,
    sampler: EpochBatchSampler,
    *,
    num_workers: int,
    timeout: float = 0.0,
    pin_memory: bool = False,
) -> DataLoader[Example]:
    """Return the loader of `Batch`es; workers run single-threaded beside the training process.

    Args:
        dataset: the samples.
        sampler: their order.
        num_workers: worker processes; 0 reads in the training process.
        timeout: seconds to wait for a worker; 0 waits for ever.
        pin_memory: copy batches into memory from which the accelerator can fetch them.
    """
    if num_workers:
        # PyTorch's farewell to a worker can be lost on a busy machine; the worker, which ignores
        # SIGTERM, would then be waited for when the process ends.
        atexit.unregister(_kill_workers)
        atexit.register(_kill_workers)
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=num_workers,
        pin_memory=pin_memory,
        timeout=timeout if num_workers else 0,
        persistent_workers=num_workers > 0,
        prefetch_factor=4 if num_workers else None,
        worker_init_fn=_start_worker if num_workers else None,
        generator=torch.Generator(),  # so that it draws no number from that of the run
    )


def fetch(batches: Iterator[Batch], device: torch.device | None = None) -> Batch:
    """Return the next batch, on `device` except what has the prefix `host_`.

    Raises:
        DataError: a sample that cannot be used.
    """
    batch = next(batches)
    if batch.error:
        raise DataError(batch.error)
    if device is None:
        return batch
    at_once = device.type == "cuda"  # elsewhere it is not safe to read before the copy ends
    tensors = {
        name: tensor if name.startswith(HOST) else tensor.to(device, non_blocking=at_once)
        for name, tensor in batch.tensors.items()
    }
    return batch._replace(tensors=tensors)


@contextmanager
def workers_end_on_error() -> Generator[None]:
    """End the data workers when the block raises: they ignore signals, and would be waited for.

    Raises:
        DataError: a data worker died or hangs; PyTorch raises that anywhere in the block.
    """
    try:
        yield
    except BaseException as error:
        _kill_workers()
        message = str(error).partition("\n")[0].rstrip(". ")
        if isinstance(error, RuntimeError) and message.startswith(_WORKER_ENDED):
            raise DataError(
                f"{message}; a worker out of memory, or one that hangs on a video: try fewer "
                "runtime.num_workers, or a longer runtime.data_timeout_s for slow storage"
            ) from None
        raise


def _kill_workers() -> None:
    """End the daemons of this process, which itself could not end while one of them hangs."""
    for worker in multiprocessing.active_children():
        if worker.daemon:
            worker.kill()
            for _ in range(2):  # PyTorch raises in whatever runs when a worker's end is noticed
                with suppress(RuntimeError):
                    worker.join(timeout=5)


def _start_worker(_worker: int) -> None:
    torch.set_num_threads(1)
    # Ctrl-C and SIGTERM often reach the whole process group. The training process answers them: it
    # ends its step, which may still need this worker.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
