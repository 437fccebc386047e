from __future__ import annotations

import os
import pickle
import platform
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from internvideo.data.samples import Sample
from internvideo.errors import DataError, VideoError
from internvideo.train import data
from internvideo.train.data import (
    Batch,
    ClipDataset,
    EpochBatchSampler,
    SkippedVideo,
    build_loader,
    collate,
    fetch,
    workers_end_on_error,
)
from train.toy import ToySource, ToyTask


def batches(**changes):
    settings = {"batch_size": 4, "epochs": 3, "seed": 5, **changes}
    return list(EpochBatchSampler(range(21), **settings))


@given(start=st.integers(0, 15))
def test_a_resumed_sampler_yields_what_the_uninterrupted_one_would_have(start):
    assert batches(start_step=start) == batches()[start:]


@given(world_size=st.integers(1, 5))
def test_ranks_share_each_global_batch_without_overlap(world_size):
    ranks = [batches(batch_size=2, rank=r, world_size=world_size) for r in range(world_size)]
    for parts in zip(*ranks, strict=True):
        keys = [key for part in parts for key in part]
        assert len(set(keys)) == len(keys) == 2 * world_size
    seen = [key for rank in ranks for batch in rank for key in batch]
    assert len(set(seen)) == len(seen)


def test_epochs_are_different_permutations_and_the_seed_decides():
    first, second = batches()[:5], batches()[5:10]
    assert [i for b in first for _, i in b] != [i for b in second for _, i in b]
    assert {e for b in second for e, _ in b} == {1}
    assert batches() != batches(seed=6)


def test_length_counts_the_remaining_steps():
    assert len(EpochBatchSampler(range(21), batch_size=4, epochs=3, seed=0, start_step=4)) == 11


@pytest.mark.parametrize(("accumulate", "world_size"), [(1, 2), (2, 1), (3, 1), (3, 2)])
def test_a_step_has_the_same_samples_however_it_is_split(accumulate, world_size):
    size = 6 // (accumulate * world_size)
    ranks = [
        batches(batch_size=size, accumulate=accumulate, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    steps = []
    for first in range(0, len(ranks[0]), accumulate):
        parts = [part for rank in ranks for part in rank[first : first + accumulate]]
        steps.append(sorted(key for part in parts for key in part))
    assert steps == [sorted(batch) for batch in batches(batch_size=6)]


def test_a_resumed_sampler_begins_at_a_whole_step():
    sampler = {"batch_size": 2, "accumulate": 2}
    assert batches(**sampler, start_step=7) == batches(**sampler)[14:]


def test_a_source_may_draw_its_own_order():
    class Sorted:
        def __len__(self):
            return 6

        def order(self, rng):
            return np.arange(6)

    drawn = list(EpochBatchSampler(Sorted(), batch_size=3, epochs=2, seed=0))
    assert drawn == [[(e, i) for i in part] for e in (0, 1) for part in ((0, 1, 2), (3, 4, 5))]


class CountingSource:
    def __init__(self, broken=()):
        self.broken = broken

    def __len__(self):
        return 10

    def key(self, index):
        return f"clip{index}"

    def read(self, index, rng):
        if index in self.broken:
            raise VideoError(f"clip{index} is cut off")
        frames = rng.integers(0, 255, (2, 2, 2, 3), dtype=np.uint8)
        return Sample(frames=frames, label=index, key=self.key(index))


def prepare(sample, rng):
    rows = [torch.tensor([sample.label, rng.integers(1000)]) for _ in range(2)]
    return [{"row": row, "frames": torch.from_numpy(sample.frames)} for row in rows]


@pytest.mark.parametrize("other", [(1, 3), (0, 4)])
def test_random_numbers_depend_on_epoch_and_index_only(other):
    dataset = ClipDataset(CountingSource(), prepare, seed=1)
    rows = [collate([dataset[place]]).tensors["frames"] for place in ((0, 3), (0, 3), other)]
    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[0], rows[2])


def test_the_repeats_of_a_sample_are_adjacent_and_named():
    dataset = ClipDataset(CountingSource(), prepare, seed=1)
    batch = collate([dataset[0, 7], dataset[0, 2]])
    assert batch.tensors["row"][:, 0].tolist() == [7, 7, 2, 2]
    assert batch.keys == ["clip7", "clip7", "clip2", "clip2"]
    assert batch.skipped == []
    assert batch.tensors["row"][0, 1] != batch.tensors["row"][1, 1]


def test_a_broken_video_is_replaced_by_the_same_other_one_each_time():
    dataset = ClipDataset(CountingSource(broken=(3,)), prepare, seed=1)
    example = dataset[2, 3]
    assert example.skipped == (SkippedVideo(2, "clip3", "clip3 is cut off"),)
    assert example.key == dataset[2, 3].key != "clip3"
    keys = {dataset[epoch, 3].key for epoch in range(20)}
    assert len(keys) > 3, "each epoch draws its own replacement"


def test_a_replacement_that_is_broken_too_is_listed_as_well():
    dataset = ClipDataset(CountingSource(broken=range(1, 10)), prepare, seed=1)
    example = next(e for e in (dataset[epoch, 4] for epoch in range(50)) if len(e.skipped) > 1)
    assert example.error or example.key == "clip0"
    assert example.skipped[0].key == "clip4"


def refuse(sample, rng):
    raise DataError("clip has no label")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_sample_that_cannot_be_used_is_one_line_from_any_process(num_workers):
    dataset = ClipDataset(CountingSource(), refuse, seed=1)
    sampler = EpochBatchSampler(dataset.source, batch_size=2, epochs=1, seed=0)
    loader = build_loader(dataset, sampler, num_workers=num_workers)
    with pytest.raises(DataError, match=r"^clip has no label$"):
        fetch(iter(loader))


class Deadly(CountingSource):
    def read(self, index, rng):
        os.kill(os.getpid(), signal.SIGKILL)


class Hanging(CountingSource):
    def read(self, index, rng):
        time.sleep(100)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Deadly(), r"worker .* (killed|exited).*runtime.num_workers"),
        (Hanging(), r"timed out after 1 s"),
    ],
)
def test_a_worker_that_dies_or_hangs_is_a_clear_error(source, message):
    sampler = EpochBatchSampler(source, batch_size=2, epochs=1, seed=0)
    dataset = ClipDataset(source, prepare, seed=1)
    batches = iter(build_loader(dataset, sampler, num_workers=1, timeout=1))
    with pytest.raises(DataError, match=message) as caught, workers_end_on_error():
        fetch(batches)
    assert "\n" not in str(caught.value)


def test_starting_a_loader_draws_no_random_number_of_the_run():
    dataset = ClipDataset(CountingSource(), prepare, seed=1)
    sampler = EpochBatchSampler(dataset.source, batch_size=2, epochs=1, seed=0)
    before = torch.get_rng_state()
    next(iter(build_loader(dataset, sampler, num_workers=0)))
    assert torch.equal(torch.get_rng_state(), before)


def test_what_the_host_reads_stays_there():
    tensors = {"video": torch.ones(2, 3), "host_length": torch.tensor([4, 7])}
    batch = Batch(tensors, ["a", "b"], [])
    moved = fetch(iter([batch]), torch.device("meta"))
    assert moved.tensors["video"].device.type == "meta"
    assert moved.tensors["host_length"].tolist() == [4, 7]
    assert fetch(iter([batch])) is batch


def test_a_worker_that_is_not_forked_gets_a_task_without_weights():
    task = ToyTask()
    task.model.blocks[0].hook = lambda: None  # as FSDP2 does: it cannot be pickled
    source = ToySource()
    dataset = ClipDataset(source, task.prepare, seed=3)
    content = pickle.dumps(dataset)
    (expected,), (row,) = dataset[0, 1].rows, pickle.loads(content)[0, 1].rows
    assert all(torch.equal(row[name], tensor) for name, tensor in expected.items())
    assert list(pickle.loads(content).prepare.__self__.parameters()) == []
    assert len(list(task.parameters())) == 6


def test_of_many_reasons_the_first_are_given():
    source = ToySource(broken=frozenset(range(24)))
    error = ClipDataset(source, ToyTask().prepare, seed=0)[0, 0].error
    assert error.count("no video stream") == 3
    assert error.endswith("; …")
    assert "internvideo data check" in error


def test_memory_is_given_back_every_few_samples(monkeypatch):
    reads = []
    monkeypatch.setattr(data, "_trim_heap", lambda: reads.append(dataset._reads))
    dataset = ClipDataset(CountingSource(), prepare, seed=1)
    for _ in range(130):
        dataset[0, 3]
    assert reads == [64, 128]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc_trim is glibc's")
def test_glibc_can_give_memory_back():
    assert data._malloc_trim() is not None
    data._trim_heap()


STUBBORN = """
import multiprocessing, signal, time
from internvideo.train.data import ClipDataset, EpochBatchSampler, build_loader

def wait():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(120)

clips = [None] * 4
build_loader(
    ClipDataset(clips, None, seed=0),
    EpochBatchSampler(clips, batch_size=1, epochs=1, seed=0),
    num_workers=1,
)
worker = multiprocessing.get_context("fork").Process(target=wait, daemon=True)
worker.start()
time.sleep(0.3)
print("done")
"""


@pytest.mark.slow
def test_a_worker_that_does_not_end_is_not_waited_for():
    done = subprocess.run(
        [sys.executable, "-c", STUBBORN], capture_output=True, text=True, timeout=90, check=True
    )
    assert done.stdout.strip() == "done"
