"""Mixup and CutMix: shares, boxes and targets (the numbers of the reference are golden cases)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from internvideo.errors import ConfigError
from internvideo.video.mixup import MixDraw, draw_mixup, mix_clips, mix_labels
from internvideo.video.transforms import CropBox


def draws(number: int, **options) -> list[MixDraw]:
    rng = np.random.default_rng(0)
    return [draw_mixup(30, 40, rng=rng, **options) for _ in range(number)]


def test_shares_of_mixup_cutmix_and_neither():
    drawn = draws(2000, mixup=0.8, cutmix=1.0, prob=0.7, switch_prob=0.25)
    cut = sum(draw.box is not None for draw in drawn) / 2000
    plain = sum(draw == MixDraw() for draw in drawn) / 2000
    assert abs(plain - 0.3) < 0.04
    assert abs(cut - 0.7 * 0.25) < 0.03


def test_one_kind_alone():
    assert all(draw.box is None for draw in draws(50, mixup=0.8, cutmix=0.0))
    assert all(draw.box is not None for draw in draws(50, mixup=0.0, cutmix=1.0))
    assert draws(5, mixup=0.0, cutmix=0.0) == [MixDraw()] * 5
    with pytest.raises(ConfigError, match=r"mixup is -1.0 and cutmix 1.0; expected 0"):
        draws(1, mixup=-1.0, cutmix=1.0)


@settings(deadline=None, max_examples=100)
@given(height=st.integers(1, 50), width=st.integers(1, 50), seed=st.integers(0, 2**31))
def test_the_share_is_the_area_outside_the_box(height, width, seed):
    rng = np.random.default_rng(seed)
    draw = draw_mixup(height, width, mixup=0.0, cutmix=1.0, rng=rng)
    clips = torch.stack([torch.zeros(3, 2, height, width), torch.ones(3, 2, height, width)])
    mixed = mix_clips(clips, draw)
    assert mixed[1].mean().item() == pytest.approx(draw.share, abs=1e-6)
    assert mixed[0].mean().item() == pytest.approx(1 - draw.share, abs=1e-6)


def test_mixup_blends_with_the_mirror_image_of_the_batch():
    clips = torch.tensor([1.0, 2.0, 4.0, 8.0]).view(4, 1, 1, 1, 1)
    mixed = mix_clips(clips, MixDraw(0.75)).flatten()
    torch.testing.assert_close(mixed, torch.tensor([2.75, 2.5, 3.5, 6.25]))
    assert mix_clips(clips, MixDraw()) is clips


def test_cutmix_does_not_change_its_input():
    clips = torch.arange(4.0).view(4, 1, 1, 1, 1).expand(4, 3, 2, 6, 6).clone()
    before = clips.clone()
    mixed = mix_clips(clips, MixDraw(0.75, CropBox(0, 3, 3, 3)))
    assert torch.equal(clips, before)
    assert (mixed[0, :, :, :3, 3:] == 3).all()
    assert (mixed[0, :, :, 3:] == 0).all()


def test_targets_are_distributions():
    labels = torch.tensor([0, 2, 2, 1])
    targets = mix_labels(labels, 4, MixDraw(0.7), smoothing=0.1)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(4))
    torch.testing.assert_close(targets[0], torch.tensor([0.655, 0.295, 0.025, 0.025]))
    torch.testing.assert_close(targets[1], torch.tensor([0.025, 0.025, 0.925, 0.025]))
