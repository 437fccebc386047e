"""Random erasing: where the box lies, and what it is filled with."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from internvideo.video import erasing
from internvideo.video.erasing import draw_erasing


@settings(deadline=None, max_examples=100)
@given(height=st.integers(1, 300), width=st.integers(1, 300), seed=st.integers(0, 2**31))
def test_boxes_lie_inside_and_keep_area_and_aspect(height, width, seed):
    box = draw_erasing(height, width, probability=1.0, rng=random.Random(seed))
    if box is None:
        assert not 0.3 < height / width < 3.3 or min(height, width) < 30
        return
    assert 0 <= box.top <= height - box.height
    assert 0 <= box.left <= width - box.width
    if min(height, width) > 60:
        assert 0.015 < box.height * box.width / (height * width) < 0.35
        assert 0.25 < box.height / box.width < 4


def test_the_probability_is_kept():
    rng = random.Random(0)
    share = [draw_erasing(64, 64, probability=0.25, rng=rng) is not None for _ in range(2000)]
    assert 0.22 < sum(share) / 2000 < 0.28
    assert draw_erasing(64, 64, probability=0.0, rng=rng) is None


@pytest.mark.parametrize("erase", [erasing.erase_clips_, erasing._fill_by_mask_])
def test_boxes_are_filled_with_fresh_noise(erase):
    clips = torch.full((3, 3, 4, 40, 40), 7.0)
    boxes = torch.tensor([[5, 10, 20, 25], [0, 0, 0, 0], [0, 0, 40, 1]])
    result = erase(clips, boxes, generator=torch.Generator().manual_seed(0))
    assert result is clips
    noise = clips[0, :, :, 5:25, 10:35]
    assert abs(noise.mean()) < 0.05
    assert abs(noise.std() - 1) < 0.05
    assert noise.unique().numel() > 0.99 * noise.numel()  # every frame and channel of its own
    outside = torch.ones(40, 40, dtype=torch.bool)
    outside[5:25, 10:35] = False
    assert (clips[0][..., outside] == 7).all()
    assert (clips[1] == 7).all()
    assert (clips[2, ..., 1:] == 7).all()
    assert (clips[2, ..., 0] != 7).all()


def test_equal_generators_give_equal_noise():
    boxes = torch.tensor([[1, 2, 5, 6]])
    first, second = (
        erasing.erase_clips_(
            torch.zeros(1, 3, 2, 8, 9), boxes, generator=torch.Generator().manual_seed(3)
        )
        for _ in range(2)
    )
    assert torch.equal(first, second)
