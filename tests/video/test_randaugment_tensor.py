"""RandAugment by tensors: close to Pillow, and every clip of a batch gets its own operations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from internvideo.video.randaugment import OPERATIONS, Operation, operation_argument
from internvideo.video.randaugment_tensor import apply_to_clips, randaugment_clips
from video.pillow_images import augment_clip
from video.test_randaugment import clip_of

GEOMETRIC = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")


def planar(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames.copy()).permute(3, 0, 1, 2)[None]


def differences(name: str, argument: float, frames: np.ndarray, **options) -> np.ndarray:
    result = apply_to_clips(name, planar(frames), [argument])
    assert result.dtype == torch.uint8
    expected = augment_clip(frames, [Operation(name, argument)], **options)
    return np.abs(result[0].permute(1, 2, 3, 0).numpy().astype(int) - expected)


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("magnitude", [0.0, 3.3, 7.0, 9.9])
@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - set(GEOMETRIC)))
def test_point_operations_are_within_one_level_of_pillow(name, magnitude, negative):
    argument = operation_argument(name, magnitude, negative=negative)
    for frames in (clip_of(31, 45), clip_of(3, 4), np.full((2, 9, 8, 3), 200, dtype=np.uint8)):
        apart = differences(name, argument, frames)
        assert apart.max() <= 1
        assert (apart > 0).mean() < 0.03


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("magnitude", [0.0, 3.3, 7.0, 9.9])
@pytest.mark.parametrize("name", GEOMETRIC)
def test_geometry_is_that_of_pillow_with_a_bilinear_filter(name, magnitude, negative):
    frames = clip_of(40, 56)
    argument = operation_argument(name, magnitude, negative=negative)
    apart = differences(name, argument, frames, resample=Image.Resampling.BILINEAR)
    # float32 may put the source of a pixel on the other side of the frame's border
    assert (apart > 1).any(axis=-1).mean() < 0.002
    assert np.quantile(apart, 0.99) <= 1
    bicubic = differences(name, argument, frames)
    assert bicubic.mean() < 3  # noise of 6 levels is smoothed by one filter and not by the other


def test_each_clip_gets_its_own_operations_in_order():
    clips = torch.cat([planar(clip_of(20, 24, seed=seed)) for seed in range(3)])
    before = clips.clone()
    invert, rotate = OPERATIONS.index("Invert"), OPERATIONS.index("Rotate")
    bright = OPERATIONS.index("Brightness")
    operations = torch.tensor([[invert, bright], [-1, -1], [rotate, invert]])
    arguments = torch.tensor([[0.0, 1.5], [0.0, 0.0], [12.0, 0.0]])
    result = randaugment_clips(clips, operations, arguments)
    assert torch.equal(clips, before)
    first = apply_to_clips("Brightness", 255 - clips[:1], [1.5])
    last = 255 - apply_to_clips("Rotate", clips[2:], [12.0])
    assert torch.equal(result, torch.cat([first, clips[1:2], last]))


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_batch_equals_its_clips(name):
    clips = torch.cat([planar(clip_of(20, 24, seed=seed)) for seed in range(3)])
    arguments = [operation_argument(name, magnitude) for magnitude in (2.0, 6.0, 9.0)]
    together = apply_to_clips(name, clips, arguments)
    alone = [apply_to_clips(name, c[None], [a]) for c, a in zip(clips, arguments, strict=True)]
    assert torch.equal(together, torch.cat(alone))
    assert not torch.equal(together, clips)


@pytest.mark.parametrize("name", OPERATIONS)
def test_mixed_precision_does_not_touch_pixels(name):
    clips = planar(clip_of(20, 300))
    argument = operation_argument(name, 6.0)
    expected = apply_to_clips(name, clips, [argument])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(apply_to_clips(name, clips, [argument]), expected)
