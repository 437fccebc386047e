from __future__ import annotations

import pytest

from internvideo.errors import ConfigError
from internvideo.models.actionformer_config import ActionFormerConfig
from internvideo.zoo.shapes import replace_fields


def test_a_mapping_fills_a_field_that_is_empty():
    config = ActionFormerConfig(input_dims=(8,), num_classes=2)
    origin = {"model": "viclip-nano", "window": 16, "stride": 8}
    filled = replace_fields(config, {"origin": origin}).origin
    assert (filled.model, filled.window, filled.stride) == ("viclip-nano", 16, 8)
    with pytest.raises(ConfigError, match="window"):
        replace_fields(config, {"origin": {**origin, "window": "wide"}})
