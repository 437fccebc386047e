from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from internvideo.config import config_from_dict, config_to_dict
from internvideo.models.positions import resample_positions, sinusoid_table
from internvideo.models.umt_classifier import UMTClassifier, UMTClassifierConfig

BASE = UMTClassifierConfig(width=16, depth=1, num_heads=2, num_classes=5)


def test_the_table_of_pretraining_is_used_as_it_is():
    model = UMTClassifier(BASE)
    assert torch.equal(model.pos_embed, sinusoid_table(8 * 14 * 14, 16))
    assert "pos_embed" not in model.state_dict()
    assert "pos_embed" not in dict(model.named_parameters())


@pytest.mark.parametrize("change", [{"num_frames": 16}, {"image_size": 384}, {"patch_size": 32}])
def test_another_clip_gets_it_resampled_and_stores_it(change):
    model = UMTClassifier(replace(BASE, **change))
    expected = resample_positions(sinusoid_table(8 * 14 * 14, 16), (8, 14, 14), model.config.grid)
    assert torch.equal(model.pos_embed, expected)
    assert "pos_embed" in model.state_dict()
    assert "pos_embed" not in dict(model.named_parameters())


def test_space_and_time_can_be_resampled_in_either_order():
    table = sinusoid_table(8 * 14 * 14, 16)
    space_first = resample_positions(table, (8, 14, 14), (4, 24, 24))
    time_only = resample_positions(table, (8, 14, 14), (4, 14, 14))
    time_first = resample_positions(time_only, (4, 14, 14), (4, 24, 24))
    torch.testing.assert_close(space_first, time_first, rtol=0, atol=1e-5)


def test_the_configuration_survives_json():
    config = replace(BASE, num_frames=16)
    assert config_from_dict(UMTClassifierConfig, config_to_dict(config)) == config


def test_an_unknown_rule_of_positions_is_refused():
    with pytest.raises(ValueError, match="'learnable', 'umt'"):
        replace(BASE, positions="sine")
