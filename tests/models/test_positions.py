from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from internvideo.models.positions import resample_positions, sinusoid_table

grids = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))


def test_sinusoid_is_the_formula():
    table = sinusoid_table(300, 10)
    assert table.shape == (1, 300, 10)
    assert table.dtype == torch.float32
    for position in (0, 1, 17, 299):
        for channel in range(10):
            angle = position / 10000 ** (2 * (channel // 2) / 10)
            expected = math.sin(angle) if channel % 2 == 0 else math.cos(angle)
            assert table[0, position, channel].item() == pytest.approx(expected, abs=1e-7)


def test_sinusoid_of_an_odd_width():
    assert sinusoid_table(3, 5)[0, 2, 4].item() == pytest.approx(math.sin(2 / 10000 ** (4 / 5)))


@settings(deadline=None, max_examples=30)
@given(old=grids, new=grids)
def test_resampling_keeps_a_constant_table(old, new):
    table = torch.full((1, math.prod(old), 3), 0.7)
    resampled = resample_positions(table, old, new)
    torch.testing.assert_close(resampled, torch.full((1, math.prod(new), 3), 0.7))


@settings(deadline=None, max_examples=20)
@given(grid=grids)
def test_resampling_to_the_same_grid_is_the_identity(grid):
    table = torch.randn(1, math.prod(grid), 3)
    assert torch.equal(resample_positions(table, grid, grid), table)


def test_time_is_linear():
    table = torch.tensor([0.0, 1.0, 2.0, 3.0]).reshape(1, 4, 1)
    resampled = resample_positions(table, (4, 1, 1), (8, 1, 1))
    expected = [0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]
    torch.testing.assert_close(resampled.flatten(), torch.tensor(expected))


def test_each_time_step_is_resized_alone_with_bicubic():
    table = torch.randn(1, 2 * 3 * 4, 5)
    resampled = resample_positions(table, (2, 3, 4), (2, 6, 5))
    for step in range(2):
        image = table[0].reshape(2, 3, 4, 5)[step].permute(2, 0, 1)[None]
        expected = F.interpolate(image, size=(6, 5), mode="bicubic", align_corners=False)
        actual = resampled[0].reshape(2, 6, 5, 5)[step].permute(2, 0, 1)[None]
        torch.testing.assert_close(actual, expected)


def test_half_precision_tables_are_resampled_in_float32():
    table = sinusoid_table(8, 6)
    exact = resample_positions(table, (2, 2, 2), (4, 3, 3))
    rough = resample_positions(table.bfloat16(), (2, 2, 2), (4, 3, 3))
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, atol=0.02, rtol=0)


def test_a_table_of_the_wrong_size_is_refused():
    with pytest.raises(ValueError, match=r"9 rows does not fit a grid of 2x2x2"):
        resample_positions(torch.zeros(1, 9, 4), (2, 2, 2), (1, 1, 1))
