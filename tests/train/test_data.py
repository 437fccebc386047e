from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from internvideo.data.samples import Sample
from internvideo.train.data import ClipDataset, EpochBatchSampler


def batches(**changes):
    settings = {"batch_size": 4, "epochs": 3, "seed": 5, **changes}
    return list(EpochBatchSampler(21, **settings))


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
    assert len(EpochBatchSampler(21, batch_size=4, epochs=3, seed=0, start_step=4)) == 11


class CountingSource:
    def __len__(self):
        return 10

    def read(self, index, rng):
        return Sample(frames=rng.integers(0, 255, (2, 2, 2, 3), dtype=np.uint8), label=index)


@pytest.mark.parametrize("other", [(1, 3), (0, 4)])
def test_random_numbers_depend_on_epoch_and_index_only(other):
    def prepare(sample, rng):
        return {"frames": sample.frames.tolist(), "draw": rng.random()}

    dataset = ClipDataset(CountingSource(), prepare, seed=1)
    assert dataset[0, 3] == dataset[0, 3]
    assert dataset[0, 3] != dataset[other]
