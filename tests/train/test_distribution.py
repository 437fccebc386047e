from __future__ import annotations

import pytest
import torch
from torch import nn

from internvideo.errors import ConfigError
from internvideo.train.config import RuntimeConfig
from internvideo.train.distribution import build_fabric, gathered, local


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategy": "fsdp"}, r"strategy=fsdp needs several processes.*torchrun"),
        ({"strategy": "ddp"}, r"strategy=ddp needs several processes"),
        ({"precision": "16-mixed", "accelerator": "cpu"}, r"16-mixed needs a GPU"),
    ],
)
def test_what_cannot_run_here_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        build_fabric(RuntimeConfig(**changes))


def test_the_part_of_an_unsharded_parameter_is_the_parameter():
    linear = nn.Linear(2, 2)
    with gathered(linear):
        local(linear.weight).fill_(3.0)
    assert torch.equal(linear.weight, torch.full((2, 2), 3.0))
