from __future__ import annotations

import pytest
import torch
from torch import nn

from internvideo.errors import ConfigError
from internvideo.models.classifier import VideoClassifier, VideoClassifierConfig
from internvideo.models.videomae import VideoMAE, VideoMAEConfig
from internvideo.models.vit import ConvStemConfig, VideoViTConfig
from internvideo.train.config import OptimConfig
from internvideo.train.optim import (
    build_optimizer,
    freeze_,
    layer_numbers,
    parameter_groups,
    scaled_lr,
)


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
    decayed, undecayed = parameter_groups(dict(model.named_parameters()), weight_decay=0.3)
    assert decayed["weight_decay"] == 0.3
    assert [id(p) for p in decayed["params"]] == [id(model.linear.weight)]
    assert undecayed["weight_decay"] == 0.0
    assert {id(p) for p in undecayed["params"]} == {
        id(model.linear.bias),
        id(model.mask_token),
        id(model.positional_embedding),
        id(model.temp),
    }
    assert [group["lr_scale"] for group in (decayed, undecayed)] == [1.0, 1.0]


def classifier_task() -> nn.Module:
    task = nn.Module()
    task.model = VideoClassifier(
        VideoClassifierConfig(
            image_size=32,
            num_frames=4,
            patch_size=16,
            width=8,
            depth=2,
            num_heads=2,
            num_classes=3,
            stem=ConvStemConfig(channels=(4, 4), strides=(2, 1)),
        )
    )
    task.extra = nn.Linear(2, 2)
    return task


def test_layers_are_numbered_from_the_embedding_to_the_head():
    numbers = layer_numbers(classifier_task())
    by_layer = {
        number: {
            name.removeprefix("model.").split(".")[0] for name, n in numbers.items() if n == number
        }
        for number in range(4)
    }
    assert by_layer == {
        0: {"stem", "patch_embed"},
        1: {"blocks"},
        2: {"blocks"},
        3: {"fc_norm", "head", "extra"},
    }
    assert all(numbers[name] == 1 + int(name.split(".")[2]) for name in numbers if "blocks" in name)


def test_layer_decay_scales_the_learning_rate_of_each_layer():
    task = classifier_task()
    optimizer = build_optimizer(task, OptimConfig(layer_decay=0.5), lr=1.0)
    scales = {id(p): group["lr_scale"] for group in optimizer.param_groups for p in group["params"]}
    assert len(scales) == len(list(task.parameters()))
    assert scales[id(task.model.patch_embed.proj.weight)] == 0.125
    assert scales[id(task.model.blocks[0].norm1.weight)] == 0.25
    assert scales[id(task.model.blocks[1].mlp.fc1.weight)] == 0.5
    assert scales[id(task.model.head.bias)] == 1.0


def test_layer_decay_needs_one_stack_of_blocks():
    with pytest.raises(ConfigError, match=r"optim.layer_decay.*Model"):
        build_optimizer(Model(), OptimConfig(layer_decay=0.5), lr=1.0)
    config = VideoMAEConfig(
        encoder=VideoViTConfig(image_size=32, num_frames=4, width=8, depth=1, num_heads=2),
        decoder_width=8,
        decoder_depth=1,
        decoder_num_heads=2,
    )
    with pytest.raises(ConfigError, match=r"decoder.blocks, encoder.blocks"):
        build_optimizer(VideoMAE(config), OptimConfig(layer_decay=0.5), lr=1.0)


def test_the_learning_rate_scales_with_the_global_batch_only_if_asked():
    assert scaled_lr(OptimConfig(lr=1e-3), global_batch_size=512) == 1e-3
    config = OptimConfig(lr=1.5e-4, lr_batch_size=256)
    assert scaled_lr(config, global_batch_size=2048) == pytest.approx(1.2e-3)


def test_optimizer_takes_the_numbers_of_the_config():
    optimizer = build_optimizer(Model(), OptimConfig(betas=(0.8, 0.9), eps=1e-6), lr=0.01)
    assert optimizer.defaults["lr"] == 0.01
    assert optimizer.defaults["betas"] == (0.8, 0.9)
    assert optimizer.defaults["eps"] == 1e-6


def test_all_but_biases_decay_where_asked():
    model = Model()
    optimizer = build_optimizer(
        model, OptimConfig(weight_decay=0.3, decayed="all-but-biases"), lr=1.0
    )
    decays = {
        id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    assert decays.pop(id(model.linear.bias)) == 0
    assert decays == {
        id(p): 0.3
        for p in (model.linear.weight, model.mask_token, model.positional_embedding, model.temp)
    }


def test_parts_of_a_model_have_rates_of_their_own():
    task = classifier_task()
    config = OptimConfig(lr_scales={"head.": 10, "blocks.1": 0.5}, layer_decay=0.5)
    optimizer = build_optimizer(task, config, lr=1.0)
    scales = {id(p): group["lr_scale"] for group in optimizer.param_groups for p in group["params"]}
    assert scales[id(task.model.head.weight)] == 10
    assert scales[id(task.model.blocks[1].mlp.fc1.weight)] == 0.25
    assert scales[id(task.model.blocks[0].mlp.fc1.weight)] == 0.25
    assert scales[id(task.model.fc_norm.weight)] == 1
    with pytest.raises(ConfigError, match=r"optim.lr_scales.*'haed'.*blocks"):
        build_optimizer(task, OptimConfig(lr_scales={"haed": 10}), lr=1.0)


@pytest.mark.parametrize("fused", [False, True])
def test_without_bias_correction_the_first_step_is_that_of_the_averages(fused):
    model = nn.Linear(3, 2)
    config = OptimConfig(betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2, bias_correction=False)
    optimizer = build_optimizer(model, config, lr=0.1)
    for group in optimizer.param_groups:
        group["fused"], group["foreach"] = fused, False
    state, before = optimizer.state_dict(), model.weight.detach().clone()
    for step in range(2):
        model.weight.grad = torch.full_like(model.weight, 2.0)
        optimizer.step()
        m, v = (0.2, 0.08) if step == 0 else (0.38, 0.1584)
        before = before - 0.1 * (m / (v**0.5 + 1e-6) + 0.2 * before)
        torch.testing.assert_close(model.weight.detach(), before)
    again = build_optimizer(model, config, lr=0.1)
    again.load_state_dict(state)


def test_frozen_names_are_not_trained():
    task = nn.ModuleDict(
        {"model": nn.ModuleDict({"body": nn.Linear(2, 2), "head": nn.Linear(2, 2)})}
    )
    freeze_(task, ("body.",))
    assert {name for name, p in task.named_parameters() if p.requires_grad} == {
        "model.head.weight",
        "model.head.bias",
    }
    with pytest.raises(ConfigError, match=r"begins with 'zebra'; the model has body, head"):
        freeze_(task, ("zebra",))
    with pytest.raises(ConfigError, match="nothing to train"):
        freeze_(task, ("body", "head"))
