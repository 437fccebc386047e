"""Crops and flips: what may be drawn, and what becomes of the frames."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from internvideo.video import crops
from internvideo.video.transforms import CropBox

SIDES = st.integers(1, 400)
SEEDS = st.integers(0, 2**31)


def assert_inside(box: CropBox, height: int, width: int) -> None:
    assert box.height >= 1
    assert box.width >= 1
    assert 0 <= box.top <= height - box.height
    assert 0 <= box.left <= width - box.width


@settings(deadline=None, max_examples=50)
@given(height=SIDES, width=SIDES, size=st.integers(1, 256), seed=SEEDS)
def test_multi_scale_crops_lie_inside_the_frame(height, width, size, seed):
    box = crops.draw_multi_scale_crop(height, width, size, rng=random.Random(seed))
    assert_inside(box, height, width)


@settings(deadline=None, max_examples=50)
@given(height=SIDES, width=SIDES, size=st.integers(1, 256))
def test_multi_scale_candidates_are_ten_sizes_at_thirteen_places(height, width, size):
    sizes = crops.multi_scale_crop_sizes(height, width, size)
    assert len(sizes) == 10
    for crop_height, crop_width in sizes:
        offsets = crops.multi_scale_crop_offsets(height, width, crop_height, crop_width)
        assert len(offsets) == 13
        for top, left in offsets:
            assert_inside(CropBox(top, left, crop_height, crop_width), height, width)


def test_multi_scale_sides_near_the_input_size_become_it():
    assert crops.multi_scale_crop_sizes(400, 226, 224)[0] == (224, 224)
    assert crops.multi_scale_crop_sizes(400, 222, 224)[0] == (222, 222)  # not beyond the frame


@settings(deadline=None, max_examples=50)
@given(height=SIDES, width=SIDES, seed=SEEDS)
def test_random_resized_crops_lie_inside_the_frame(height, width, seed):
    box = crops.draw_random_resized_crop(height, width, rng=random.Random(seed))
    assert_inside(box, height, width)


@settings(deadline=None, max_examples=50)
@given(height=st.integers(40, 300), width=st.integers(40, 300), seed=SEEDS)
def test_random_resized_crops_keep_area_and_ratio(height, width, seed):
    rng = random.Random(seed)
    box = crops.draw_random_resized_crop(
        height, width, scale=(0.3, 0.5), ratio=(0.8, 1.25), rng=rng
    )
    share = box.height * box.width / (height * width)
    ratio = box.width / box.height
    if 0.8 <= width / height <= 1.25:  # a fitting crop is found within ten attempts
        assert 0.25 <= share <= 0.55
    assert 0.75 <= ratio <= 1.33


def test_a_frame_too_long_for_any_crop_gives_its_centre():
    box = crops.draw_random_resized_crop(
        30, 900, scale=(1.0, 1.0), ratio=(0.75, 4 / 3), rng=random.Random(0)
    )
    assert box == CropBox(0, 430, 30, 40)


def test_flip_mirrors_and_undoes_itself():
    frames = torch.arange(2 * 4 * 6 * 3, dtype=torch.uint8).view(2, 4, 6, 3)
    flipped = crops.horizontal_flip(frames)
    assert torch.equal(flipped[:, :, 0], frames[:, :, -1])
    assert torch.equal(crops.horizontal_flip(flipped), frames)


def test_flip_probability_is_kept():
    rng = random.Random(0)
    assert not any(crops.draw_flip(0.0, rng=rng) for _ in range(100))
    assert all(crops.draw_flip(1.0, rng=rng) for _ in range(100))
    share = np.mean([crops.draw_flip(0.5, rng=rng) for _ in range(2000)])
    assert 0.45 < share < 0.55


@pytest.mark.parametrize("flip", [crops.flip_clips_, crops._flip_by_mask_])
def test_only_the_chosen_clips_are_mirrored(flip):
    clips = torch.arange(3 * 2 * 2 * 2 * 4.0).view(3, 2, 2, 2, 4)
    flipped = flip(clips.clone(), torch.tensor([True, False, True]))
    assert torch.equal(flipped[0], clips[0].flip(-1))
    assert torch.equal(flipped[1], clips[1])
    assert torch.equal(flipped[2], clips[2].flip(-1))
