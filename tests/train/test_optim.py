from __future__ import annotations

import pytest
import torch
from torch import nn

from internvideo.train.config import OptimConfig
from internvideo.train.optim import build_optimizer, parameter_groups, scaled_lr


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, 3))
        self.positional_embedding = nn.Parameter(torch.zeros(4, 3))
        self.temp = nn.Parameter(torch.zeros(()))
        self.frozen = nn.Parameter(torch.zeros(2, 2), requires_grad=False)


def test_only_matrices_that_are_no_tables_decay():
    model = Model()
    decayed, undecayed = parameter_groups(model.named_parameters(), weight_decay=0.3)
    assert decayed["weight_decay"] == 0.3
    assert [id(p) for p in decayed["params"]] == [id(model.linear.weight)]
    assert undecayed["weight_decay"] == 0.0
    assert {id(p) for p in undecayed["params"]} == {
        id(model.linear.bias),
        id(model.mask_token),
        id(model.positional_embedding),
        id(model.temp),
    }


def test_the_learning_rate_scales_with_the_global_batch_only_if_asked():
    assert scaled_lr(OptimConfig(lr=1e-3), global_batch_size=512) == 1e-3
    config = OptimConfig(lr=1.5e-4, lr_batch_size=256)
    assert scaled_lr(config, global_batch_size=2048) == pytest.approx(1.2e-3)


def test_optimizer_takes_the_numbers_of_the_config():
    optimizer = build_optimizer(Model(), OptimConfig(betas=(0.8, 0.9), eps=1e-6), lr=0.01)
    assert optimizer.defaults["lr"] == 0.01
    assert optimizer.defaults["betas"] == (0.8, 0.9)
    assert optimizer.defaults["eps"] == 1e-6
