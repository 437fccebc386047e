"""Training augmentation: what may be drawn, and that one draw serves all frames of a clip."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from internvideo.errors import ConfigError
from internvideo.video import augment, crops, transforms
from internvideo.video.augment import AUGMENTATIONS, AugmentationDraw
from internvideo.video.transforms import CropBox

SIDES = st.integers(1, 400)
SEEDS = st.integers(0, 2**31)


def frames_of(height: int, width: int, *, num_frames: int = 2, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (num_frames, height, width, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


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


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: torch.Generator().manual_seed(seed),
        np.random.default_rng,
        np.random.RandomState,
        random.Random,
    ],
    ids=["torch", "numpy", "numpy-legacy", "python"],
)
def test_every_generator_is_a_source(make):
    source = augment.random_source(make(5))
    numbers = [source.uniform(-2.0, 3.0) for _ in range(200)]
    assert all(-2.0 <= number <= 3.0 for number in numbers)
    assert min(numbers) < -1.5
    assert max(numbers) > 2.5
    assert {source.randint(2, 5) for _ in range(200)} == {2, 3, 4, 5}
    assert source.randint(7, 7) == 7
    again = augment.random_source(make(5))
    assert numbers == [again.uniform(-2.0, 3.0) for _ in range(200)]


def test_flip_mirrors_and_undoes_itself():
    frames = frames_of(4, 6)
    flipped = crops.horizontal_flip(frames)
    assert torch.equal(flipped[:, :, 0], frames[:, :, -1])
    assert torch.equal(crops.horizontal_flip(flipped), frames)


def test_flip_probability_is_kept():
    rng = random.Random(0)
    assert not any(crops.draw_flip(0.0, rng=rng) for _ in range(100))
    assert all(crops.draw_flip(1.0, rng=rng) for _ in range(100))
    share = np.mean([crops.draw_flip(0.5, rng=rng) for _ in range(2000)])
    assert 0.45 < share < 0.55


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize(("height", "width"), [(60, 80), (80, 60), (64, 64), (33, 57), (1, 1)])
def test_augmented_clips_have_the_input_size(name, height, width):
    augmentation = dataclasses.replace(AUGMENTATIONS[name], size=32, erasing_probability=0.0)
    clip = augmentation(frames_of(height, width, num_frames=3), rng=random.Random(1))
    assert clip.shape == (3, 3, 32, 32)
    assert clip.dtype == torch.float32
    low = -max(m / s for m, s in zip(augmentation.mean, augmentation.std, strict=True))
    high = max((1 - m) / s for m, s in zip(augmentation.mean, augmentation.std, strict=True))
    assert low - 1e-5 <= clip.min()
    assert clip.max() <= high + 1e-5


@pytest.mark.parametrize("name", AUGMENTATIONS)
@given(seed=SEEDS)
@settings(deadline=None, max_examples=10)
def test_one_draw_serves_all_frames_and_a_seed_repeats_it(name, seed):
    augmentation = dataclasses.replace(AUGMENTATIONS[name], size=16, erasing_probability=0.0)
    frames = frames_of(40, 50, num_frames=1).expand(3, 40, 50, 3)
    clip = augmentation(frames, rng=random.Random(seed))
    assert torch.equal(clip[:, 0], clip[:, 1])
    assert torch.equal(clip[:, 0], clip[:, 2])
    assert torch.equal(clip, augmentation(frames, rng=random.Random(seed)))


def test_apply_is_crop_resize_flip_normalize():
    frames = frames_of(40, 50)
    box = CropBox(3, 5, 20, 30)
    augmentation = dataclasses.replace(
        AUGMENTATIONS["videomae-finetune"], size=16, erasing_probability=0.0
    )
    clip = augmentation.apply(frames, AugmentationDraw(box, flip=True))
    cut = transforms.resize(transforms.crop(frames, box), (16, 16), rounded=False)
    expected = transforms.normalize(cut.flip(2), augmentation.mean, augmentation.std)
    assert torch.equal(clip, expected)


def test_data_that_knows_its_sides_is_never_flipped():
    for name in ("videomae-pretrain", "videomae-finetune-ssv2"):
        draws = [AUGMENTATIONS[name].draw(60, 80, rng=random.Random(seed)) for seed in range(50)]
        assert not any(draw.flip for draw in draws)
        assert len({draw.box for draw in draws}) > 10


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"crop": "center"}, "'multi-scale' or 'random-resized'"),
        ({"size": 0}, "size is 0"),
        ({"flip_probability": 2.0}, "expected 0 to 1"),
        ({"scale": (0.5, 0.1)}, "lower <= upper"),
        ({"ratio": (0.0, 1.0)}, "lower <= upper"),
        ({"resize_dtype": "half"}, "'uint8' or 'float'"),
    ],
)
def test_impossible_augmentations_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        augment.Augmentation(**values)
