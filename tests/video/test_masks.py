from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from internvideo.video.masks import (
    draw_visible_places,
    flat_places,
    num_visible_places,
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


def drawn(attention, count, rule="attention", seed=0):
    generator = torch.Generator().manual_seed(seed)
    return draw_visible_places(attention, count, rule=rule, generator=generator)


def test_places_are_drawn_without_replacement_by_their_weight():
    """Each pair has the chance that two successive draws give it, first one, then another."""
    weights = torch.tensor([0.4, 0.3, 0.2, 0.05, 0.0])
    expected = Counter()
    for first, second in permutations(range(4), 2):
        chance = weights[first] / weights.sum() * weights[second]
        expected[frozenset({first, second})] += chance / (weights.sum() - weights[first])
    draws = 40_000
    places = drawn(weights.expand(draws // 8, 8, -1), 2).flatten(0, 1)
    assert (places[:, 0] < places[:, 1]).all()
    found = Counter(map(frozenset, places.tolist()))
    assert found.keys() == expected.keys()  # never the place without weight
    for pair, chance in expected.items():
        deviation = (chance * (1 - chance) / draws) ** 0.5
        assert abs(found[pair] / draws - chance) < 5 * deviation, pair


def test_the_inclusion_is_that_of_multinomial_sampling():
    weights = torch.rand(20, generator=torch.Generator().manual_seed(3)) ** 3
    many = 20_000
    ours = drawn(weights.expand(1, many, -1), 6)
    torch.manual_seed(0)
    theirs = torch.multinomial(weights.expand(many, -1), 6)
    shares = [torch.bincount(each.flatten(), minlength=20) / many for each in (ours, theirs)]
    assert (shares[0] - shares[1]).abs().max() < 5 * (0.5 / many) ** 0.5
    assert shares[0][weights.argmax()] > 2 * shares[0][weights.argsort()[5]]


@given(
    frames=st.integers(1, 4),
    places=st.integers(2, 30),
    ratio=st.floats(0, 0.99),
    seed=seeds,
    rule=st.sampled_from(["attention", "tube", "random"]),
)
def test_every_frame_keeps_equally_many_places(frames, places, ratio, seed, rule):
    count = num_visible_places(places, ratio)
    assert count == places - int(places * ratio)
    attention = torch.rand(2, frames, places, generator=torch.Generator().manual_seed(seed))
    visible = drawn(attention, count, rule, seed)
    assert visible.shape == (2, frames, count)
    assert (visible.diff(dim=-1) > 0).all()
    assert visible.min() >= 0
    assert visible.max() < places
    if rule == "tube":
        assert (visible == visible[:, :1]).all()
    flat = flat_places(visible, places)
    assert torch.equal(flat // places, torch.arange(frames).repeat_interleave(count).expand(2, -1))
    assert torch.equal(flat % places, visible.flatten(1))


def test_only_attention_looks_at_the_weights():
    attention = torch.zeros(1, 3, 50)
    attention[..., 7:9] = 1.0
    for rule in ("tube", "random"):
        assert not set(drawn(attention, 10, rule).flatten().tolist()) <= {7, 8}
    assert drawn(attention, 2).tolist() == [[[7, 8]] * 3]
    random = drawn(attention, 10, "random")
    assert not torch.equal(random[0, 0], random[0, 1])


def test_impossible_draws_are_refused():
    with pytest.raises(ValueError, match=r"mask ratio 1.0 is not in \[0, 1\)"):
        num_visible_places(10, 1.0)
    with pytest.raises(ValueError, match="rule 'best' is not one of"):
        drawn(torch.ones(1, 1, 4), 2, "best")
