"""Training augmentation: what may be drawn, and that one draw serves all frames of a clip."""

from __future__ import annotations

import dataclasses
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from internvideo.errors import ConfigError
from internvideo.video import augment, transforms
from internvideo.video.augment import AUGMENTATIONS, Augmentation, AugmentationDraw
from internvideo.video.randaugment import Operation
from internvideo.video.transforms import CropBox

SEEDS = st.integers(0, 2**31)


def frames_of(height: int, width: int, *, num_frames: int = 2, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (num_frames, height, width, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


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
        ({"crop": "center"}, "'crop': .*'multi-scale', .*got 'center'"),
        ({"size": 0}, "'size': .*greater than 0, got 0"),
        ({"flip_probability": 2.0}, "'flip_probability': .*1, got 2.0"),
        ({"scale": (0.5, 0.1)}, "lower <= upper"),
        ({"ratio": (0.0, 1.0)}, "lower <= upper"),
        ({"resize_dtype": "half"}, "'uint8' or 'float'"),
        ({"randaugment": "rand-m7"}, "-inc1"),
        ({"randaugment_kind": "gpu"}, "'pil' or 'tensor'"),
        ({"erasing_probability": -0.1}, "'erasing_probability': .*0, got -0.1"),
        (
            {"randaugment": "rand-m7-inc1", "randaugment_kind": "tensor"},
            "works on uint8 crops; set resize_dtype: uint8",
        ),
    ],
)
def test_impossible_augmentations_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        augment.Augmentation(**values)


# ---------------------------------------------------------------- worker and device

OPERATIONS_OF_EACH = [
    (Operation("Rotate", 10.0), None, Operation("Equalize")),
    (None, None, None),
    (Operation("Color", 0.3), Operation("Invert"), None),
]


@pytest.mark.parametrize("name", ["videomae-finetune", "videomae-finetune-fast", "viclip-pretrain"])
def test_a_finished_batch_is_its_finished_clips(name):
    augmentation = dataclasses.replace(AUGMENTATIONS[name], size=16)
    frames = [frames_of(40, 50, seed=seed) for seed in range(3)]
    draws = [
        AugmentationDraw(CropBox(3, seed, 20, 30), seed != 1, operations)
        for seed, operations in enumerate(OPERATIONS_OF_EACH)
    ]
    cut = torch.stack([augmentation.cut(f, d) for f, d in zip(frames, draws, strict=True)])
    assert cut.shape == (3, 2, 16, 16, 3)
    assert cut.dtype == (torch.float32 if name == "videomae-finetune" else torch.uint8)
    tensors = [augmentation.draw_tensors(draw) for draw in draws]
    assert all("augment_" in key for key in tensors[0])
    batch = {key: torch.stack([t[key] for t in tensors]) for key in tensors[0]}
    before = cut.clone()
    finished = augmentation.finish(cut, batch)
    assert torch.equal(cut, before)
    alone = [augmentation.apply(f, d) for f, d in zip(frames, draws, strict=True)]
    torch.testing.assert_close(finished, torch.stack(alone))


@pytest.mark.parametrize("name", ["videomae-finetune", "videomae-finetune-fast"])
def test_drawn_operations_are_applied_before_or_after_the_crop(name):
    augmentation = dataclasses.replace(AUGMENTATIONS[name], size=16)
    frames, box = frames_of(40, 50), CropBox(3, 5, 16, 16)
    plain = augmentation.apply(frames, AugmentationDraw(box))
    inverted = augmentation.apply(frames, AugmentationDraw(box, operations=(Operation("Invert"),)))
    mean, std = (
        torch.tensor(values).view(3, 1, 1, 1) for values in (augmentation.mean, augmentation.std)
    )
    torch.testing.assert_close((1 - (plain * std + mean) - mean) / std, inverted)


def test_erasing_is_the_last_step():
    augmentation = dataclasses.replace(AUGMENTATIONS["videomae-finetune"], size=16)
    frames, box = frames_of(40, 50, num_frames=8), CropBox(3, 5, 20, 30)
    erased = AugmentationDraw(box, flip=True, erased=CropBox(2, 1, 6, 9))
    plain = augmentation.apply(frames, AugmentationDraw(box, flip=True))
    result = augmentation.apply(frames, erased, generator=torch.Generator().manual_seed(0))
    changed = (result != plain).all(dim=1).all(dim=0)
    assert changed[2:8, 1:10].all()
    assert changed.sum() == 54
    assert abs(result[..., 2:8, 1:10].mean()) < 0.1


def test_every_part_of_the_official_recipe_is_drawn():
    augmentation = AUGMENTATIONS["videomae-finetune"]
    draws = [augmentation.draw(256, 340, rng=random.Random(seed)) for seed in range(400)]
    assert 0.2 < sum(draw.erased is not None for draw in draws) / 400 < 0.3
    assert 0.43 < sum(draw.flip for draw in draws) / 400 < 0.57
    assert {len(draw.operations) for draw in draws} == {4}
    applied = sum(o is not None for draw in draws for o in draw.operations)
    assert 1.8 < applied / 400 < 2.2


def test_noise_depends_on_the_generator_alone():
    augmentation = dataclasses.replace(
        AUGMENTATIONS["videomae-finetune"], size=16, erasing_probability=1.0
    )
    frames = frames_of(40, 50)
    first, again, other = (augmentation(frames, rng=random.Random(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_fast_presets_change_only_how_it_is_done():
    ways = {"randaugment_kind", "resize_dtype", "exact_resize"}
    for name in ("videomae-pretrain", "videomae-finetune", "videomae-finetune-ssv2"):
        plain = dataclasses.asdict(AUGMENTATIONS[name])
        fast = dataclasses.asdict(AUGMENTATIONS[f"{name}-fast"])
        assert {key for key in plain if plain[key] != fast[key]} <= ways
        assert not fast["exact_resize"]


def test_bgr_clips_are_rgb_clips_with_their_channels_reversed():
    bgr = dataclasses.replace(AUGMENTATIONS["uniformerv2-sth"], size=16)
    rgb = dataclasses.replace(bgr, channel_order="rgb")
    frames = frames_of(40, 50)
    assert not torch.equal(frames, frames.flip(-1))
    for seed in range(5):
        clips = [each(frames, rng=random.Random(seed)) for each in (bgr, rgb)]
        assert torch.equal(clips[0], clips[1].flip(0))


def test_bgr_takes_its_statistics_in_its_own_order():
    augmentation = dataclasses.replace(
        AUGMENTATIONS["uniformerv2-sth"], size=8, mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0)
    )
    red = torch.zeros(1, 8, 8, 3, dtype=torch.uint8)
    red[..., 0] = 255
    clip = augmentation.apply(red, AugmentationDraw(CropBox(0, 0, 8, 8)))
    expected = torch.tensor([0.0 - 0.1, 0.0 - 0.2, 1.0 - 0.3])
    torch.testing.assert_close(clip[:, 0, 0, 0], expected)


def test_uniformerv2_sth_is_its_kinetics_without_mirrors_in_bgr():
    kinetics, sth = AUGMENTATIONS["uniformerv2-kinetics"], AUGMENTATIONS["uniformerv2-sth"]
    assert dataclasses.replace(kinetics, flip_probability=0.0, channel_order="bgr") == sth
    assert kinetics.randaugment == "rand-m7-n4-mstd0.5-inc1"
    assert (kinetics.scale, kinetics.antialias, kinetics.erasing_probability) == (
        (0.08, 1.0), False, 0.0
    )  # fmt: skip


def test_an_unknown_channel_order_is_refused():
    with pytest.raises(ConfigError, match="'channel_order': expected 'rgb' or 'bgr', got 'gbr'"):
        Augmentation(channel_order="gbr")
