"""RandAugment: what is drawn, and that clips get exactly the pixels of per-frame Pillow code."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from internvideo.errors import ConfigError
from internvideo.video.randaugment import (
    OPERATIONS,
    Operation,
    apply_randaugment,
    draw_randaugment,
    operation_argument,
    parse_randaugment,
)
from internvideo.video.transforms import CropBox
from video.pillow_images import augment_clip

OFFICIAL = "rand-m7-n4-mstd0.5-inc1"


def clip_of(height: int, width: int, *, num_frames: int = 2, seed: int = 0) -> np.ndarray:
    """Smooth colours with noise; every frame has another range of brightness."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (num_frames, 4, 5, 3), dtype=np.uint8)
    size, smooth = (width, height), Image.Resampling.BICUBIC
    frames = np.stack([np.asarray(Image.fromarray(f).resize(size, smooth)) for f in coarse])
    noisy = frames * np.linspace(0.4, 1, num_frames)[:, None, None, None]
    return (noisy + rng.normal(0, 6, frames.shape)).clip(0, 255).astype(np.uint8)


# ---------------------------------------------------------------- drawn


def test_the_official_notation_is_read():
    rule = parse_randaugment(OFFICIAL)
    assert (rule.magnitude, rule.magnitude_std) == (7.0, 0.5)
    assert (rule.num_operations, rule.probability) == (4, 0.5)
    assert parse_randaugment("rand-m3.5-n1-p0.25-inc1").probability == 0.25


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("augmix-m5", "expected 'rand'"),
        ("rand-n4-inc1", "expected 'rand'"),
        ("rand-m7-n4", "-inc1"),
        ("rand-m7-n4-inc0", "-inc1"),
        ("rand-m7-w0-inc1", "cannot read 'w0'"),
        ("rand-m7-m8-inc1", "cannot read 'm8'"),
        ("rand-m11-inc1", "m <= 10"),
        ("rand-m7-n1.5-inc1", "whole n"),
        ("", "expected 'rand'"),
    ],
)
def test_other_notations_are_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_randaugment(text)


def test_draws_follow_the_rule():
    rng = random.Random(0)
    draws = [draw_randaugment(OFFICIAL, rng=rng) for _ in range(2000)]
    assert {len(draw) for draw in draws} == {4}
    applied = [operation for draw in draws for operation in draw if operation is not None]
    assert 0.48 < len(applied) / 8000 < 0.52
    counts = Counter(operation.name for operation in applied)
    assert counts.keys() == set(OPERATIONS)
    assert max(counts.values()) < 1.4 * min(counts.values())
    degrees = np.array([argument for name, argument in applied if name == "Rotate"])
    assert abs(np.mean(np.abs(degrees)) - 21.0) < 0.5
    assert 1.0 < np.std(np.abs(degrees)) < 2.0
    assert 0.35 < np.mean(degrees > 0) < 0.65
    assert all(argument == 0 for name, argument in applied if name in ("Invert", "Equalize"))


def test_magnitudes_stay_in_their_range():
    rng = random.Random(0)
    rule = "rand-m10-n4-mstd5-p1-inc1"
    applied = [o for _ in range(200) for o in draw_randaugment(rule, rng=rng) if o is not None]
    assert max(abs(argument) for name, argument in applied if name == "Rotate") == 30.0
    bits = {argument for name, argument in applied if name == "Posterize"}
    assert bits <= {0.0, 1.0, 2.0, 3.0, 4.0}
    assert 0.0 in bits


def test_only_operations_with_a_sign_have_one():
    for name in OPERATIONS:
        up, down = (operation_argument(name, 7.0, negative=sign) for sign in (False, True))
        one_sided = ("AutoContrast", "Equalize", "Invert", "Posterize", "Solarize", "SolarizeAdd")
        assert (up == down) == (name in one_sided), name
    with pytest.raises(ConfigError, match="no operation 'Cutout'"):
        operation_argument("Cutout", 7.0)


# ---------------------------------------------------------------- applied


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("magnitude", [0.0, 3.3, 7.0, 9.9])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_equals_pillow(name, magnitude, negative):
    operation = Operation(name, operation_argument(name, magnitude, negative=negative))
    for frames in (clip_of(31, 45), clip_of(3, 4), np.full((2, 9, 8, 3), 200, dtype=np.uint8)):
        before = frames.copy()
        result = apply_randaugment(frames, [operation])
        np.testing.assert_array_equal(result, augment_clip(frames, [operation]))
        np.testing.assert_array_equal(frames, before)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6))
@example(seed=204)  # the middle of the frame is a pixel
@example(seed=957)  # the same, turned twice
@example(seed=7765)  # the same, by -30 degrees
@example(seed=25857)  # by 30 degrees, of a few grey levels
def test_a_region_is_the_same_part_of_whole_frames(seed):
    rng = random.Random(seed)
    height, width = rng.randint(8, 60), rng.randint(8, 60)
    frames = clip_of(height, width, seed=seed)
    top, left = rng.randint(0, height - 1), rng.randint(0, width - 1)
    box = CropBox(top, left, rng.randint(1, height - top), rng.randint(1, width - left))
    operations = [o for o in draw_randaugment("rand-m7-n4-mstd2-p1-inc1", rng=rng) if o]
    operations = [o for o in operations if o != Operation("Posterize", 0.0)]
    whole = augment_clip(frames, operations)
    region = apply_randaugment(frames, operations, region=box)
    expected = whole[:, top : top + box.height, left : left + box.width]
    np.testing.assert_array_equal(region, expected)


@pytest.mark.parametrize("name", ["TranslateX", "TranslateY", "ShearX", "ShearY"])
def test_round_arguments_meet_whole_grey_levels_as_in_pillow(name):
    ramp = np.arange(200)[:, None, None] + np.array([0, 10, 20])  # exact sums: rounding shows
    frames = np.broadcast_to(ramp, (1, 200, 200, 3)).astype(np.uint8)
    frames = np.concatenate([frames, frames.transpose(0, 2, 1, 3)])
    for argument in (0.25, 0.315, -0.2, 0.001):
        operation = Operation(name, argument)
        whole = augment_clip(frames, [operation])
        region = apply_randaugment(frames, [operation], region=CropBox(21, 33, 140, 90))
        np.testing.assert_array_equal(region, whole[:, 21:161, 33:123])


def test_no_bits_left_is_black():
    frames = clip_of(8, 8)
    assert not apply_randaugment(frames, [Operation("Posterize", 0.0)]).any()


def test_drawn_but_not_applied_changes_nothing():
    frames = clip_of(12, 10)
    box = CropBox(2, 3, 5, 6)
    region = apply_randaugment(frames, (None, None), region=box)
    np.testing.assert_array_equal(region, frames[:, 2:7, 3:9])
    with pytest.raises(ConfigError, match="no operation 'Cutout'"):
        apply_randaugment(frames, [Operation("Cutout")])
