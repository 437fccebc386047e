from __future__ import annotations

import torch
from torch import nn

from internvideo.zoo.fingerprint import weights_sha256


def test_equal_weights_have_one_checksum_and_every_change_another():
    torch.manual_seed(0)
    one, twin = nn.Linear(3, 2), nn.Linear(3, 2)
    twin.load_state_dict(one.state_dict())
    assert weights_sha256(one) == weights_sha256(twin)
    with torch.no_grad():
        twin.bias[1] += 1e-6
    assert weights_sha256(one) != weights_sha256(twin)
    assert weights_sha256(one.bfloat16()) != weights_sha256(twin)


def test_the_names_of_the_weights_count():
    layer = nn.Linear(2, 2)
    first, second = nn.ModuleDict({"a": layer}), nn.ModuleDict({"b": layer})
    assert weights_sha256(first) != weights_sha256(second)
