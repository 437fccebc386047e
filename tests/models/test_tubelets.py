from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from internvideo.models.tubelets import cut_tubelets, split_mask, take_tokens, tubelet_grid


def test_tubelets_are_the_pixels_in_the_order_time_row_column():
    video = torch.arange(2 * 3 * 4 * 6 * 4, dtype=torch.float32).reshape(2, 3, 4, 6, 4)
    tubelets = cut_tubelets(video, tubelet_size=2, patch_size=2)
    assert tubelets.shape == (2, 2 * 3 * 2, 3, 2, 2, 2)
    for t in range(2):
        for h in range(3):
            for w in range(2):
                expected = video[:, :, 2 * t : 2 * t + 2, 2 * h : 2 * h + 2, 2 * w : 2 * w + 2]
                assert torch.equal(tubelets[:, (t * 3 + h) * 2 + w], expected)


@settings(deadline=None, max_examples=25)
@given(
    grid=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4)),
    data=st.data(),
)
def test_cutting_some_is_cutting_all_and_taking(grid, data):
    t, h, w = grid
    video = torch.randn(2, 3, 2 * t, 4 * h, 4 * w)
    places = st.lists(st.integers(0, t * h * w - 1), min_size=2, max_size=2)
    index = torch.tensor(data.draw(st.lists(places, min_size=2, max_size=2)))
    every = cut_tubelets(video, tubelet_size=2, patch_size=4)
    some = cut_tubelets(video, tubelet_size=2, patch_size=4, index=index)
    assert torch.equal(some, take_tokens(every, index))


def test_one_table_serves_all_samples():
    table, index = torch.randn(1, 6, 3), torch.tensor([[0, 5], [2, 2]])
    taken = take_tokens(table, index)
    assert torch.equal(taken, table[0][index])


@settings(deadline=None, max_examples=25)
@given(batch=st.integers(1, 4), size=st.integers(1, 20), seed=st.integers(0, 99), data=st.data())
def test_a_split_orders_both_parts(batch, size, seed, data):
    hidden = data.draw(st.integers(0, size))
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(batch, size, generator=generator).argsort(dim=1)
    mask = order < hidden
    visible, masked = split_mask(mask)
    assert visible.shape == (batch, size - hidden)
    for row in range(batch):
        assert visible[row].tolist() == (~mask[row]).nonzero().flatten().tolist()
        assert masked[row].tolist() == mask[row].nonzero().flatten().tolist()


def test_unequal_masks_are_refused():
    mask = torch.tensor([[True, False, True], [True, False, False]])
    with pytest.raises(ValueError, match=r"same number of tokens, got \[2, 1\]"):
        split_mask(mask)


@pytest.mark.parametrize(
    "shape", [(1, 3, 5, 8, 8), (1, 3, 4, 9, 8), (1, 3, 4, 8, 6), (1, 3, 0, 8, 8)]
)
def test_a_clip_with_a_remainder_is_refused(shape):
    with pytest.raises(ValueError, match="cannot be cut into tubelets of 2 frames of 4x4"):
        tubelet_grid(torch.zeros(shape), tubelet_size=2, patch_size=4)
