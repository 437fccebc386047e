from __future__ import annotations

import numpy as np
import pytest

from internvideo.errors import ConfigError
from internvideo.tasks.masked.masking import draw_decoder_mask, draw_mask

GRID = (4, 6, 6)


def test_a_tube_hides_the_same_places_at_every_step():
    mask = draw_mask(GRID, 0.75, kind="tube", rng=np.random.default_rng(0)).reshape(GRID)
    assert (mask == mask[:1]).all()
    assert mask[0].sum() == 27


def test_a_random_mask_does_not_and_hides_the_share_of_all_tokens():
    mask = draw_mask(GRID, 0.75, kind="random", rng=np.random.default_rng(0)).reshape(GRID)
    assert mask.sum() == 108
    assert not (mask == mask[:1]).all()


def test_running_cells_begin_at_any_of_their_four_places():
    masks = {
        draw_decoder_mask(GRID, 0.5, rng=np.random.default_rng(seed)).tobytes()
        for seed in range(40)
    }
    assert len(masks) == 4
    for raw in masks:
        cells = np.frombuffer(raw, bool).reshape(4, 3, 2, 3, 2)
        assert (cells.sum(axis=(2, 4)) == 2).all()


@pytest.mark.parametrize(
    ("grid", "ratio", "kind", "message"),
    [
        (GRID, 0.01, "tube", "mask_ratio 0.01 .*4x6x6"),
        ((8, 1, 1), 0.6, "tube", "8x1x1 .*random"),
        (GRID, 1.0, "tube", "mask_ratio.* 1"),
        (GRID, 0.0, "random", "mask_ratio.* 0"),
        (GRID, 0.5, "cube", "'cube'.*'tube'.*'random'"),
    ],
)
def test_masks_that_leave_nothing_are_refused(grid, ratio, kind, message):
    with pytest.raises(ConfigError, match=message):
        draw_mask(grid, ratio, kind=kind, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("grid", "ratio", "message"),
    [
        ((4, 7, 7), 0.5, "running-cell.* 7x7"),
        (GRID, 0.2, "decoder_mask_ratio 0.2 .*0.25, 0.5 or 0.75"),
        (GRID, 1.0, "decoder_mask_ratio.* 1"),
    ],
)
def test_impossible_decoder_masks_are_refused(grid, ratio, message):
    with pytest.raises(ConfigError, match=message):
        draw_decoder_mask(grid, ratio, rng=np.random.default_rng(0))
