from __future__ import annotations

import pytest
import torch
from torch import Tensor

from internvideo.models.reconstruction_targets import motion_target, pixel_target, split_motion

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def _pixels(video: Tensor) -> Tensor:
    mean, std = (torch.tensor(value)[:, None, None, None] for value in (MEAN, STD))
    return video * std + mean


def test_raw_target_is_the_pixels_with_the_channel_fastest():
    video = torch.randn(1, 3, 4, 16, 16)
    target = pixel_target(video, tubelet_size=2, patch_size=8, normalize=False, mean=MEAN, std=STD)
    pixels = _pixels(video)
    assert target.shape == (1, 8, 2 * 8 * 8 * 3)
    block = pixels[0, :, 2:4, 8:16, 0:8]  # time 1, row 1, column 0 = token 6
    torch.testing.assert_close(target[0, 6], block.permute(1, 2, 3, 0).reshape(-1))


def test_normalized_target_is_standardised_for_each_tubelet_and_channel():
    video = torch.randn(2, 3, 4, 16, 16)
    options = {"tubelet_size": 2, "patch_size": 8, "mean": MEAN, "std": STD}
    target = pixel_target(video, normalize=True, **options).unflatten(2, (-1, 3))
    raw = pixel_target(video, normalize=False, **options).unflatten(2, (-1, 3))
    expected = (raw - raw.mean(dim=2, keepdim=True)) / (raw.std(dim=2, keepdim=True) + 1e-6)
    torch.testing.assert_close(target, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("normalize", [True, False])
def test_a_target_of_some_tokens_is_a_part_of_the_whole(normalize):
    video, index = torch.randn(2, 3, 4, 16, 16), torch.tensor([[0, 5], [3, 7]])
    options = {"tubelet_size": 2, "patch_size": 8, "mean": MEAN, "std": STD}
    whole = pixel_target(video, normalize=normalize, **options)
    some = pixel_target(video, normalize=normalize, index=index, **options)
    assert torch.equal(some, torch.stack([whole[0, [0, 5]], whole[1, [3, 7]]]))


def test_a_still_background_has_no_motion():
    still = torch.randn(2, 3, 1, 16, 16).expand(-1, -1, 6, -1, -1)
    assert not motion_target(still, tubelet_size=1, patch_size=16).any()


def test_motion_is_the_difference_from_the_median_in_units_of_the_batch():
    video = torch.randn(2, 3, 6, 16, 16)
    target = motion_target(video, tubelet_size=1, patch_size=16, shrink=2)
    small = video.unflatten(4, (8, 2)).unflatten(3, (8, 2)).mean(dim=(4, 6))
    moving = small - small.quantile(0.5, dim=2, keepdim=True)
    expected = (moving / moving.std()).permute(0, 2, 3, 4, 1).reshape(2, 6, -1)
    torch.testing.assert_close(target, expected, rtol=1e-4, atol=1e-5)


def test_motion_and_background_add_up_to_the_clip():
    video = torch.randn(2, 3, 5, 8, 8)
    moving, still = split_motion(video)
    torch.testing.assert_close(moving + still, video)
    assert torch.equal(still, video.median(dim=2, keepdim=True).values)


def test_the_median_of_an_odd_number_of_frames_is_the_middle_one():
    video = torch.tensor([5.0, 1.0, 3.0]).reshape(1, 1, 3, 1, 1).expand(1, 3, 3, 2, 2)
    target = motion_target(video, tubelet_size=1, patch_size=2)
    assert (target[0, 2] == 0).all()
    assert (target[0, 0] > 0).all()
    assert (target[0, 1] < 0).all()
