from __future__ import annotations

import pytest

from internvideo.config import validate
from internvideo.errors import ConfigError
from internvideo.train.config import OptimConfig, RuntimeConfig, ScheduleConfig


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (OptimConfig, {"lr": float("inf")}),
        (OptimConfig, {"betas": [1.5, 0.9]}),
        (OptimConfig, {"lr_scales": {"head": 0}}),
        (OptimConfig, {"clip_each_grad_norm": 1.0}),
        (ScheduleConfig, {"epochs": float("inf")}),
        (ScheduleConfig, {"warmup_epochs": float("inf")}),
        (RuntimeConfig, {"seed": -1}),
        (RuntimeConfig, {"seed": 2**32}),
    ],
)
def test_numbers_that_no_run_can_use_are_refused(kind, values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        validate(kind, values, source="x.yaml")
