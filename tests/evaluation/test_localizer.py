"""A detector asked about whole videos, several at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from internvideo.data.features import FeatureSequence
from internvideo.errors import ConfigError
from internvideo.evaluation.localizer import (
    Localizer,
    batches,
    padded,
    padded_length,
)
from internvideo.evaluation.segment_decoding import decode
from internvideo.models.actionformer import ActionFormer
from internvideo.models.actionformer_config import RowGrid, Selection
from internvideo.zoo.kinds.actionformer import ACTIONFORMER

TINY = replace(
    ACTIONFORMER.tiny["window"], selection=Selection(min_score=0.0, kept_score=0.0, max_moments=20)
)
REFERENCE = replace(TINY, padding="reference", positions=True)
LENGTHS = (5, 48, 30, 47, 60, 72, 11)


def detector(config=TINY) -> ActionFormer:
    torch.manual_seed(0)
    model = ActionFormer(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def videos(lengths=LENGTHS) -> list[FeatureSequence]:
    torch.manual_seed(1)
    return [
        FeatureSequence(
            features=torch.randn(n, 12), fps=10.0, stride=4, window=8, duration=n * 0.4 + 0.3
        )
        for n in lengths
    ]


@pytest.mark.parametrize("config", [TINY, REFERENCE, replace(REFERENCE, positions=False)])
def test_videos_together_have_the_moments_that_they_have_alone(config):
    localizer = Localizer(network=detector(config), max_rows=150)
    together = localizer(videos())
    assert max(len(members) for _, members in batches(config, LENGTHS, max_rows=150)) > 1
    for video, found in zip(videos(), together, strict=True):
        (alone,) = localizer([video])
        assert len(found) == len(alone) > 0
        np.testing.assert_allclose(found.times, alone.times, atol=1e-3)
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-4)
        assert found.labels.tolist() == alone.labels.tolist()
        assert found.times.min() >= 0
        assert found.times.max() <= video.duration


@torch.no_grad()
def test_short_reference_padding_finds_what_the_published_length_does():
    config = replace(REFERENCE, selection=replace(TINY.selection, method="none"))
    model = detector(config)
    for video in videos():
        length = padded_length(config, len(video))
        (whole,) = decode(
            model(*padded([video.features], length)), config.strides, config.selection
        )
        ((rows, _),) = batches(config, [len(video)], max_rows=10)
        (short,) = decode(model(*padded([video.features], rows)), config.strides, config.selection)
        assert len(whole) == len(short)
        np.testing.assert_allclose(np.sort(whole.scores), np.sort(short.scores), atol=1e-5)


def test_the_published_rule_of_padding():
    config = replace(REFERENCE, max_length=64, windows=(5,), num_branch=3)
    assert [padded_length(config, n) for n in (1, 63, 64, 65, 96, 97)] == [64, 64, 64, 96, 96, 128]
    full = replace(config, windows=(-1,))
    assert padded_length(full, 90) == 96
    assert padded_length(replace(config, padding="exact"), 65) == 65


@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=12),
    st.sampled_from([TINY, REFERENCE]),
    st.integers(1, 500),
)
def test_every_video_is_in_one_batch_and_fits(lengths, config, max_rows):
    found = batches(config, lengths, max_rows=max_rows)
    assert sorted(video for _, members in found for video in members) == list(range(len(lengths)))
    for rows, members in found:
        assert rows >= max(lengths[video] for video in members)
        assert len(members) == 1 or rows * len(members) <= max_rows
        assert all(rows <= padded_length(config, lengths[v]) or config is TINY for v in members)


def test_rows_are_made_as_the_detector_was_trained_on_them():
    config = replace(TINY, grid=RowGrid(keep_every=2, resize_to=40))
    localizer = Localizer(network=detector(config))
    (video,) = videos((61,))
    (found,) = localizer([video])
    (same,) = Localizer(network=detector())([video.thinned(2).resized(40)])
    np.testing.assert_allclose(found.times, same.times, atol=1e-4)


def test_features_of_another_encoder_are_refused():
    video = FeatureSequence(
        features=torch.zeros(9, 5), fps=1.0, stride=1, window=1, source="features/a.npy"
    )
    with pytest.raises(ConfigError, match=r"features/a\.npy have 5 channels.*takes 12"):
        Localizer(network=detector())([video])
