"""Boxes and frames stay together, whatever is drawn; colours are those of the formula."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from internvideo.data.key_windows import clip_indices, second_window, stretched_window
from internvideo.tasks.action_detection import boxes as box_ops
from internvideo.tasks.action_detection.losses import box_loss
from internvideo.tasks.action_detection.transforms import (
    ColorShift,
    ViewDraw,
    draw_view,
    padded,
    resized,
    shift_colors,
    train_view,
)


def marked(box, height=40, width=60):
    """Return a clip that is white in a box of pixels."""
    frames = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    x1, y1, x2, y2 = box
    frames[:, y1 : y2 + 1, x1 : x2 + 1] = 255
    return frames


@settings(max_examples=30, deadline=None)
@given(
    st.floats(0, 0.999), st.floats(0, 0.999), st.booleans(), st.integers(0, 20), st.integers(0, 20)
)
def test_boxes_stay_around_what_they_are_around(x, y, mirrored, left, top):
    box = (left, top, left + 19, top + 9)
    boxes = torch.tensor([box], dtype=torch.float32)
    frames, boxes = train_view(
        marked(box), boxes, ViewDraw(x=x, y=y, mirrored=mirrored), crop_size=32
    )
    white = frames[0, :, :, 0] == 255
    rows, columns = white.any(dim=1).nonzero(), white.any(dim=0).nonzero()
    x1, y1, x2, y2 = boxes[0].tolist()
    if not white.any():
        assert not box_ops.has_area(boxes).item()
        return
    inside = [columns.min().item(), rows.min().item(), columns.max().item(), rows.max().item()]
    assert inside == pytest.approx([max(x1, 0), max(y1, 0), min(x2, 31), min(y2, 31)])


def test_boxes_are_resized_with_the_frames():
    boxes = torch.tensor([[10.0, 10, 29, 19]])
    frames, boxes = resized(marked((10, 10, 29, 19)), boxes, 20)
    assert frames.shape == (2, 20, 30, 3)
    torch.testing.assert_close(boxes, torch.tensor([[5.0, 5, 14.5, 9.5]]))


sides = st.tuples(*[st.floats(-20, 120, width=32)] * 4)


@given(st.lists(sides, min_size=1, max_size=5), st.integers(0, 2**32))
def test_moved_boxes_are_inside_and_have_an_area(corners, seed):
    boxes = box_ops.clip(torch.tensor(corners), (100, 80))
    boxes[:, 2:] = torch.maximum(boxes[:, :2], boxes[:, 2:])
    drawn = torch.rand(len(boxes), 4, generator=torch.Generator().manual_seed(seed))
    moved = box_ops.jitter(boxes, drawn, box_ops.Jitter(), (100, 80))
    assert box_ops.has_area(moved).all()
    assert (moved >= 0).all()
    assert (moved <= torch.tensor([99.0, 79, 99, 79])).all()
    grown = box_ops.extend(boxes, box_ops.EXTENSION, (100, 80))
    assert (box_ops.areas(grown) >= box_ops.areas(boxes) - 1e-3).all()


def test_fractions_and_pixels():
    fractions = torch.tensor([[0.1, 0.2, 0.6, 0.7], [0.5, 0.5, 0.5001, 0.5001]])
    pixels = box_ops.from_fractions(fractions, (100, 50))
    torch.testing.assert_close(pixels[0], torch.tensor([10.0, 10, 59, 34]))
    assert (pixels[1, 2:] >= pixels[1, :2]).all()
    back = box_ops.to_fractions(pixels[:1], (100, 50))
    torch.testing.assert_close(back, fractions[:1])


def test_colours_are_shifted_as_by_the_formula():
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (1, 8, 8, 3), dtype=torch.uint8, generator=generator)
    by = ColorShift(hue=7, saturation=-20, value=15)
    for old, new in zip(
        frames.reshape(-1, 3).tolist(),
        shift_colors(frames, by).reshape(-1, 3).tolist(),
        strict=True,
    ):
        hue, saturation, value = colorsys.rgb_to_hsv(*(each / 255 for each in old))
        wanted = colorsys.hsv_to_rgb(
            (hue + 7 / 180) % 1,
            min(max(saturation - 20 / 255, 0), 1),
            min(value + 15 / 255, 1),
        )
        assert new == pytest.approx([255 * each for each in wanted], abs=4)
    nothing = shift_colors(frames, ColorShift(hue=0, saturation=0, value=0))
    assert (nothing.int() - frames.int()).abs().max() <= 3  # of the way there and back in 8 bits


def test_draws_stay_in_their_bounds():
    rng = np.random.default_rng(0)
    drawn = [draw_view(rng, ColorShift(), mirror_probability=0.5) for _ in range(200)]
    assert {each.mirrored for each in drawn} == {True, False}
    assert max(abs(each.color.hue) for each in drawn if each.color) == 10
    assert all(0 <= each.x < 1 for each in drawn)
    assert draw_view(rng, None, mirror_probability=0).color is None


def test_windows_that_are_not_there_are_as_long_as_what_is():
    counts = {5: 4, 6: 4, 7: 3}
    window = second_window(lambda second: counts.get(second, 0), 7, 12)
    assert window == [(6, 1), (6, 2), (6, 3), (7, 0), (7, 1), (7, 2)]
    assert second_window(lambda second: 0, 7, 12) == []
    assert clip_indices(3, clip_length=4, frame_stride=4).tolist() == [0, 0, 2, 2]
    frames = torch.arange(4, dtype=torch.uint8)[:, None, None, None].expand(4, 2, 2, 3) * 10
    assert stretched_window(frames, 1, 6)[:, 0, 0, 0].tolist() == [0, 0, 0, 10, 20, 30]
    assert stretched_window(frames[:1], 0, 4).shape[0] == 2  # nothing on the left to stretch


def test_clips_of_two_sizes_are_padded_with_zeros():
    batch = padded([torch.ones(3, 2, 17, 30), torch.ones(3, 2, 20, 16)], 16)
    assert batch.shape == (2, 3, 2, 32, 32)
    assert batch.sum() == 6 * (17 * 30 + 20 * 16)


def test_losses():
    logits = torch.tensor([[0.0, 2.0], [-1.0, 3.0]])
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    plain = box_loss(logits, targets)
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    torch.testing.assert_close(plain, each.mean() * 2)
    torch.testing.assert_close(box_loss(logits, targets, kind="focal", gamma=0.0), plain)
    assert box_loss(logits, targets, kind="focal") < plain
    half = box_loss(logits, targets, kind="focal", gamma=0.0, alpha=0.5)
    torch.testing.assert_close(half, plain / 2)
    assert box_loss(logits[:0], targets[:0]) == 0
