from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

import pytest

from internvideo.errors import ConfigError
from internvideo.models.clip_text import CLIPTextConfig
from internvideo.models.config import config_from_dict, config_to_dict
from internvideo.models.viclip import SIZES, ViCLIPConfig
from internvideo.models.viclip_vision import ViCLIPVisionConfig
from internvideo.models.vit import ConvStemConfig, VideoViTConfig

TEXT = CLIPTextConfig(vocab_size=6, context_length=8, width=16, depth=1, num_heads=2, embed_dim=4)
NANO = ViCLIPConfig(
    vision=VideoViTConfig(
        image_size=32, patch_size=32, width=16, num_heads=2, stem=ConvStemConfig()
    ),
    text=TEXT,
    embed_dim=4,
    vocabulary=("red", "star"),
    projection_norm="batch",
    temp_init=0.07,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class InnerConfig:
    size: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class OuterConfig:
    rate: float
    name: str | None = None
    flag: bool = False
    choice: Literal["x", "y"] = "x"
    pair: tuple[int, float] = (1, 2.0)
    items: tuple[InnerConfig, ...] = ()
    inner: InnerConfig | None = None


@pytest.mark.parametrize(
    "config",
    [
        *SIZES.values(),
        NANO,
        VideoViTConfig(),
        OuterConfig(
            rate=0.5, items=(InnerConfig(), InnerConfig(size=3)), inner=InnerConfig(size=2)
        ),
    ],
)
def test_through_json_and_back(config):
    data = json.loads(json.dumps(config_to_dict(config)))
    assert config_from_dict(type(config), data) == config


def test_a_union_is_marked_by_its_kind():
    assert config_to_dict(SIZES["b16"])["vision"]["kind"] == "ViCLIPVision"
    assert config_to_dict(NANO)["vision"]["kind"] == "VideoViT"
    assert "kind" not in config_to_dict(NANO)["text"]
    assert isinstance(config_from_dict(ViCLIPConfig, config_to_dict(NANO)).vision, VideoViTConfig)


def changed(**changes) -> dict:
    return {**config_to_dict(NANO), **changes}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            changed(projektion_norm="none"),
            r"unknown key 'projektion_norm'\. Did you mean 'projection",
        ),
        (changed(text={"widths": 3}), r"text: unknown key .widths'\. Did you mean 'width'"),
        (
            changed(vision={"kind": "VideoVit"}),
            r"vision: kind 'VideoVit' is not one of .*VideoViT'",
        ),
        (changed(vision={"width": 3}), "vision: kind None is not one of ViCLIPVision, VideoViT"),
        (changed(text={"width": "wide"}), r"text\.width: expected int, got 'wide'"),
        (changed(text={"width": True}), r"text\.width: expected int, got True"),
        (changed(text={"width": 15, "num_heads": 2}), "text: width 15 is not a multiple"),
        (changed(pool="median"), "pool: 'median' is not one of 'mean', 'max', 'mean.max'"),
        (changed(vocabulary="red star"), "vocabulary: expected"),
        (changed(vocabulary=["red", 3]), "vocabulary: expected"),
        ({"embed_dim": 4}, "missing vision, text"),
        (changed(text=7), "text: expected keys of CLIPTextConfig, got 7"),
    ],
)
def test_complaints_name_the_path(data, message):
    with pytest.raises(ConfigError, match=message):
        config_from_dict(ViCLIPConfig, data)


def test_numbers_and_tuples():
    config = config_from_dict(OuterConfig, {"rate": 1, "pair": [3, 4]})
    assert isinstance(config.rate, float)
    assert config.pair == (3, 4.0)
    with pytest.raises(ConfigError, match=r"pair: expected 2 values, got 3"):
        config_from_dict(OuterConfig, {"rate": 1, "pair": [1, 2, 3]})
    with pytest.raises(ConfigError, match=r"items\[1\]: unknown key .sizes."):
        config_from_dict(OuterConfig, {"rate": 1, "items": [{"size": 1}, {"sizes": 2}]})


def test_a_config_that_is_already_built_is_kept():
    vision = ViCLIPVisionConfig(embed_dim=4)
    config = config_from_dict(ViCLIPConfig, {"vision": vision, "text": TEXT, "embed_dim": 4})
    assert config.vision is vision
