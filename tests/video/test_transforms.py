"""Pixels: resize, crop, normalise. OpenCV and Pillow parity on real cases is in tests/golden."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from internvideo.errors import ConfigError
from internvideo.video import transforms
from internvideo.video.transforms import CropBox

SIDES = st.integers(1, 60)


def frames_of(height: int, width: int, *, num_frames: int = 2, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (num_frames, height, width, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


# ---------------------------------------------------------------- resize


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [False, True])
@settings(deadline=None, max_examples=25)
@given(height=SIDES, width=SIDES, new_height=SIDES, new_width=SIDES)
def test_resize_keeps_the_type_and_the_range(
    interpolation, antialias, height, width, new_height, new_width
):
    frames = frames_of(height, width, num_frames=1)
    size = (new_height, new_width)
    resized = transforms.resize(frames, size, interpolation=interpolation, antialias=antialias)
    assert resized.dtype == torch.uint8
    assert resized.shape == (1, new_height, new_width, 3)
    unrounded = transforms.resize(
        frames, size, interpolation=interpolation, antialias=antialias, rounded=False
    )
    assert unrounded.dtype == torch.float32
    if interpolation == "bilinear":
        assert resized.min() >= frames.min()
        assert resized.max() <= frames.max()
        if new_width > 1:  # PyTorch's antialiased filter mixes no rows of one-pixel-wide results
            assert (resized.float() - unrounded).abs().max() <= 2


@given(height=SIDES, width=SIDES, new_height=SIDES, new_width=SIDES, value=st.integers(0, 255))
@settings(deadline=None, max_examples=25)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [False, True])
def test_a_plain_frame_stays_plain(
    interpolation, antialias, height, width, new_height, new_width, value
):
    frames = torch.full((1, height, width, 3), value, dtype=torch.uint8)
    resized = transforms.resize(
        frames, (new_height, new_width), interpolation=interpolation, antialias=antialias
    )
    assert torch.all(resized == value)


def test_bilinear_by_opencv_exact_values():
    row = torch.tensor([0, 100, 200, 40], dtype=torch.uint8)
    frames = row[None, None, :, None].expand(1, 3, 4, 3).contiguous()
    wide = transforms.resize(frames, (3, 8))
    assert wide[0, 1, :, 0].tolist() == [0, 25, 75, 125, 175, 160, 80, 40]
    assert torch.equal(wide[0, 0], wide[0, 2])


def test_halving_averages_four_pixels_rounding_half_up():
    frames = torch.tensor([[0, 1], [0, 1]], dtype=torch.uint8)[None, :, :, None]
    assert transforms.resize(frames.expand(1, 2, 2, 3), (1, 1)).flatten().tolist() == [1, 1, 1]


def test_equal_size_returns_the_input():
    frames = frames_of(9, 7)
    assert transforms.resize(frames, (9, 7)) is frames
    assert transforms.resize(frames, (9, 7), rounded=False).dtype == torch.float32


def test_every_frame_is_resized_alike():
    frames = frames_of(31, 45, num_frames=4)
    together = transforms.resize(frames, (20, 17))
    for index in range(4):
        assert torch.equal(
            together[index : index + 1], transforms.resize(frames[[index]], (20, 17))
        )


def test_resize_does_not_depend_on_memory_layout():
    frames = frames_of(31, 45)
    strided = frames.permute(3, 0, 1, 2).contiguous().permute(1, 2, 3, 0)
    for antialias in (False, True):
        expected = transforms.resize(frames, (20, 17), antialias=antialias)
        assert torch.equal(transforms.resize(strided, (20, 17), antialias=antialias), expected)
    cut = transforms.crop(frames, CropBox(3, 4, 20, 30))
    assert torch.equal(transforms.resize(cut, (8, 9)), transforms.resize(cut.clone(), (8, 9)))


@given(height=SIDES, width=SIDES, new_height=SIDES, new_width=SIDES)
@settings(deadline=None, max_examples=30)
def test_antialiased_resize_is_pillow(height, width, new_height, new_width):
    frames = frames_of(height, width, num_frames=1)
    resized = transforms.resize(frames, (new_height, new_width), antialias=True)
    image = Image.fromarray(frames[0].numpy()).resize((new_width, new_height), Image.BILINEAR)
    assert np.array_equal(resized[0].numpy(), np.asarray(image))


def test_float_frames_are_never_rounded():
    frames = frames_of(10, 10).float() + 0.25
    assert transforms.resize(frames, (4, 4)).dtype == torch.float32
    flat = torch.full((1, 4, 4, 3), 0.25)
    torch.testing.assert_close(transforms.resize(flat, (7, 5)), torch.full((1, 7, 5, 3), 0.25))


def test_bad_resize_is_refused():
    frames = frames_of(4, 4)
    with pytest.raises(ConfigError, match="0x4"):
        transforms.resize(frames, (0, 4))
    with pytest.raises(ConfigError, match="'nearest'"):
        transforms.resize(frames, (2, 2), interpolation="nearest")
    with pytest.raises(ConfigError, match="runs on the CPU"):
        transforms.resize(frames.to("meta"), (2, 3), antialias=True)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(36, 50, (24, 33)), (45, 34, (31, 24)), (24, 24, (24, 24)), (1, 3, (24, 72))],
)
def test_short_side_is_exact_and_long_side_rounded_down(height, width, expected):
    assert transforms.short_side_size(height, width, 24) == expected
    assert transforms.resize_short_side(frames_of(height, width), 24).shape[1:3] == expected


# ---------------------------------------------------------------- crop


@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    share=st.floats(0.01, 1),
    num_crops=st.integers(1, 7),
    rounding=st.sampled_from(["floor", "even", "ceil"]),
)
def test_crops_lie_inside_and_reach_both_ends(height, width, share, num_crops, rounding):
    size = max(int(min(height, width) * share), 1)
    boxes = transforms.spatial_crops(height, width, size, num_crops=num_crops, rounding=rounding)
    assert len(boxes) == num_crops
    for box in boxes:
        assert (box.height, box.width) == (size, size)
        assert 0 <= box.top <= height - size
        assert 0 <= box.left <= width - size
    starts = [box.top if height > width else box.left for box in boxes]
    assert starts == sorted(starts)
    if num_crops > 1:
        assert (starts[0], starts[-1]) == (0, max(height, width) - size)
    else:
        assert abs(2 * starts[0] - (max(height, width) - size)) <= 1


def test_three_crops_exact_values_by_rounding():
    def lefts(rounding):
        boxes = transforms.spatial_crops(24, 33, 24, num_crops=3, rounding=rounding)
        return [box.left for box in boxes]

    assert lefts("floor") == [0, 4, 9]
    assert lefts("ceil") == [0, 5, 9]
    assert transforms.spatial_crops(33, 24, 24, num_crops=2)[1] == CropBox(9, 0, 24, 24)


def test_single_crop_rounds_half_to_even():
    assert transforms.spatial_crops(24, 33, 24, rounding="even")[0].left == 4
    assert transforms.spatial_crops(24, 35, 24, rounding="even")[0].left == 6


def test_center_crop_shows_the_centre_without_copying():
    frames = frames_of(6, 10)
    cut = transforms.center_crop(frames, 4)
    assert torch.equal(cut, frames[:, 1:5, 3:7])
    assert cut.data_ptr() != frames.data_ptr()
    assert cut.untyped_storage().data_ptr() == frames.untyped_storage().data_ptr()


def test_bad_crops_are_refused():
    frames = frames_of(6, 10)
    with pytest.raises(ConfigError, match="cannot cut 7x7"):
        transforms.center_crop(frames, 7)
    with pytest.raises(ConfigError, match="does not lie inside a frame of 6x10"):
        transforms.crop(frames, CropBox(0, 8, 3, 3))
    with pytest.raises(ConfigError, match="num_crops is 0"):
        transforms.spatial_crops(6, 10, 4, num_crops=0)
    with pytest.raises(ConfigError, match="'up'"):
        transforms.spatial_crops(6, 10, 4, rounding="up")


# ---------------------------------------------------------------- values


def test_normalize_is_scale_shift_and_channels_first():
    frames = frames_of(5, 7, num_frames=3)
    mean, std = transforms.IMAGENET_MEAN, transforms.IMAGENET_STD
    clip = transforms.normalize(frames, mean, std)
    expected = (frames.double() / 255 - torch.tensor(mean).double()) / torch.tensor(std).double()
    assert clip.shape == (3, 3, 5, 7)
    assert clip.is_contiguous()
    torch.testing.assert_close(clip, expected.permute(3, 0, 1, 2).float(), atol=1e-6, rtol=0)


def test_normalize_takes_batches_and_buffers():
    frames = frames_of(5, 7, num_frames=6).reshape(2, 3, 5, 7, 3)
    half = (0.5, 0.5, 0.5)
    batch = transforms.normalize(frames, half, half)
    assert batch.shape == (2, 3, 3, 5, 7)
    assert torch.equal(batch[1], transforms.normalize(frames[1], half, half))
    assert batch.min() >= -1
    assert batch.max() <= 1
    out = torch.empty(3, 3, 5, 7)
    assert transforms.normalize(frames[0], half, half, out=out) is out
    assert torch.equal(out, batch[0])


def test_normalize_leaves_its_input_alone_and_checks_channels():
    frames = frames_of(5, 7).float()
    before = frames.clone()
    transforms.normalize(frames, (0.1, 0.2, 0.3), (1, 1, 1))
    assert torch.equal(frames, before)
    with pytest.raises(ConfigError, match="2 and std 3 values for frames of 3 channels"):
        transforms.normalize(frames, (0.1, 0.2), (1, 1, 1))


def test_reversing_channels_twice_changes_nothing():
    frames = frames_of(5, 7)
    reversed_frames = transforms.reverse_channels(frames)
    assert torch.equal(reversed_frames[..., 0], frames[..., 2])
    assert torch.equal(transforms.reverse_channels(reversed_frames), frames)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(40, 30), (70, 90)])
def test_inexact_resize_stays_within_a_few_levels(size, interpolation, antialias):
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, 50, 64, 3), dtype=torch.uint8, generator=generator)
    options = {"interpolation": interpolation, "antialias": antialias}
    exact = transforms.resize(frames, size, **options)
    quick = transforms.resize(frames, size, exact=False, **options)
    assert quick.dtype == torch.uint8
    assert quick.is_contiguous()
    apart = (quick.int() - exact.int()).abs()
    assert apart.max() <= (3 if interpolation == "bicubic" else 2)
    assert apart.float().mean() < 0.4
    if (interpolation, antialias) == ("bicubic", False):  # not an 8-bit filter
        assert apart.max() == 0
