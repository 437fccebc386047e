from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from internvideo.video.masks import (
    progressive_keep_counts,
    progressive_mask,
    random_mask,
    running_cell_mask,
    tube_mask,
)

grids = st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6))
ratios = st.floats(0, 0.99)
seeds = st.integers(0, 2**31)


@given(grid=grids, ratio=ratios, seed=seeds)
def test_a_tube_hides_the_same_places_at_every_step(grid, ratio, seed):
    mask = tube_mask(grid, ratio, rng=np.random.default_rng(seed)).reshape(grid)
    assert mask.dtype == bool
    assert (mask == mask[:1]).all()
    assert mask[0].sum() == int(ratio * grid[1] * grid[2])


@given(grid=grids, ratio=ratios, seed=seeds)
def test_a_random_mask_hides_the_share_of_all_tubelets(grid, ratio, seed):
    mask = random_mask(grid, ratio, rng=np.random.default_rng(seed))
    assert mask.shape == (np.prod(grid),)
    assert mask.sum() == int(ratio * np.prod(grid))


@pytest.mark.parametrize("draw", [tube_mask, random_mask, progressive_mask])
def test_the_draw_is_the_generators(draw):
    first, again, other = (
        draw((4, 6, 6), 0.5, rng=np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_the_legacy_generator_draws_the_reference_numbers():
    rng = np.random.RandomState(0)
    expected = [0] * 4 + [1] * 12
    np.random.RandomState(0).shuffle(expected)
    assert tube_mask((1, 4, 4), 0.75, rng=rng).astype(int).tolist() == expected


@given(grid=grids, ratio=ratios, seed=seeds)
def test_a_place_hidden_by_a_progressive_mask_stays_hidden(grid, ratio, seed):
    mask = progressive_mask(grid, min(ratio, 0.95), rng=np.random.default_rng(seed)).reshape(grid)
    assert (mask[1:] >= mask[:-1]).all()
    kept = (~mask).sum(axis=(1, 2))
    assert (kept == progressive_keep_counts(grid, min(ratio, 0.95))).all()


def test_a_centred_progressive_mask_keeps_most_in_the_middle():
    counts = progressive_keep_counts((8, 14, 14), 0.75, centre=True)
    assert counts.tolist() == [9, 22, 35, 49, 49, 35, 22, 9]
    with pytest.raises(ValueError, match="even number of steps, not 3"):
        progressive_keep_counts((3, 4, 4), 0.5, centre=True)


@given(
    grid=st.tuples(st.integers(4, 9), st.sampled_from([2, 4, 6]), st.sampled_from([2, 4])),
    quarter=st.integers(0, 3),
    start=st.integers(0, 3),
)
def test_running_cells_visit_every_place_equally(grid, quarter, start):
    t, h, w = grid
    mask = running_cell_mask(grid, quarter / 4, start=start).reshape(grid)
    cells = mask.reshape(t, h // 2, 2, w // 2, 2)
    assert (cells.sum(axis=(2, 4)) == quarter).all()
    assert (mask[:4].sum(axis=0) == quarter).all()
    assert (mask[4:] == mask[: t - 4]).all()
    assert (
        mask[1:] == running_cell_mask(grid, quarter / 4, start=(start + 1) % 4).reshape(grid)[:-1]
    ).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rng: tube_mask((0, 2, 2), 0.5, rng=rng), "grid of 0x2x2 tubelets is empty"),
        (lambda rng: tube_mask((1, 2, 2), 1.0, rng=rng), r"ratio 1.0 is not in \[0, 1\)"),
        (lambda rng: random_mask((1, 2, 2), -0.1, rng=rng), "ratio -0.1"),
        (lambda rng: running_cell_mask((2, 3, 4), 0.5, start=0), "even rows and columns, not 3x4"),
        (lambda rng: running_cell_mask((2, 4, 4), 0.5, start=4), "start 4"),
    ],
)
def test_impossible_masks_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.random.default_rng(0))
