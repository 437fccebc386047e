from __future__ import annotations

import pytest

from internvideo.errors import ConfigError
from internvideo.train.config import OptimConfig, RuntimeConfig, validate


def test_an_unknown_key_names_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown key 'weight_decai'.*'weight_decay'"):
        validate(OptimConfig, {"weight_decai": 0.1}, source="x.yaml")


def test_a_bad_value_says_which_and_what():
    with pytest.raises(ConfigError, match=r"x.yaml: 'batch_size'.*got 0"):
        validate(RuntimeConfig, {"batch_size": 0}, source="x.yaml")
