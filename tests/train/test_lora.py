"""Low-rank adaptation: what it trains, and that it merges without a trace."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from internvideo.errors import ConfigError
from internvideo.models.classifier import VideoClassifier
from internvideo.models.uniformerv2_classifier import UniFormerV2Classifier
from internvideo.models.viclip import ViCLIP
from internvideo.tasks.registry import all_architectures
from internvideo.train.config import LoraConfig, OptimConfig
from internvideo.train.lora import add_lora_, merge_lora_
from internvideo.train.optim import build_optimizer, describe_trained, layer_numbers

RANK = 2


class Task(nn.Module):
    def __init__(self, model: type[nn.Module]) -> None:
        super().__init__()
        torch.manual_seed(0)
        tiny = next(each.tiny for each in all_architectures() if each.model is model)
        self.model = model(next(iter(tiny.values())))


def clip(task: Task) -> torch.Tensor:
    config = task.model.config
    size = (config.num_frames, config.image_size, config.image_size)
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


def trained(task: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in task.named_parameters() if p.requires_grad}


def learn_(task: Task, steps: int = 3) -> None:
    optimizer = build_optimizer(task, OptimConfig(), lr=0.05)
    for _ in range(steps):
        task.model(clip(task)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


# A bias-free projection that is read beside its layer, and a packed one that is no layer at all.
@pytest.mark.parametrize("model", [VideoClassifier, UniFormerV2Classifier])
def test_only_the_added_matrices_and_the_head_learn_and_merging_keeps_the_output(model):
    task = Task(model).eval()
    before = copy.deepcopy(task.state_dict())
    untouched = task.model(clip(task))
    add_lora_(task, LoraConfig(rank=RANK))
    assert torch.equal(task.model(clip(task)), untouched), "nothing is added at the start"
    learn_(task)
    added = [name for name in trained(task) if name.endswith((".up", ".down"))]
    assert added
    for name, parameter in task.named_parameters():
        if name in added:
            assert RANK in parameter.shape
            assert parameter.count_nonzero(), f"{name} has learnt nothing"
        elif not parameter.requires_grad:
            plain = name.replace(".parametrizations.", ".").removesuffix(".original")
            assert torch.equal(parameter, before[plain]), name
    answer = task.model(clip(task))
    assert not torch.allclose(answer, untouched)

    merge_lora_(task)
    assert {n: t.shape for n, t in task.state_dict().items()} == {
        n: t.shape for n, t in before.items()
    }
    torch.testing.assert_close(task.model(clip(task)), answer, rtol=0, atol=1e-5)
    changed = {n for n, t in task.state_dict().items() if not torch.equal(t, before[n])}
    assert len(changed) > len(added) / 2, "the adapted matrices, and the head"


def test_embeddings_and_blocks_stay_and_what_is_outside_trains_in_full():
    task = Task(VideoClassifier)
    add_lora_(task, LoraConfig(rank=RANK, targets=("blocks.1.attn.qkv",)))
    assert {name.removeprefix("model.") for name in trained(task)} == {
        "blocks.1.attn.qkv.parametrizations.weight.0.up",
        "blocks.1.attn.qkv.parametrizations.weight.0.down",
        *(f"{part}.{kind}" for part in ("fc_norm", "head") for kind in ("weight", "bias")),
    }
    count = sum(p.numel() for p in trained(task).values())
    assert describe_trained(task).startswith(f"{count / 1e6:.3f} of 0.0")
    numbers = layer_numbers(task)
    assert numbers["model.blocks.1.attn.qkv.parametrizations.weight.0.up"] == 2


def test_a_tower_that_is_frozen_stays_so():
    task = Task(ViCLIP)
    task.model.text_encoder.requires_grad_(False)
    add_lora_(task, LoraConfig(rank=RANK))
    towers = {name.split(".")[1] for name in trained(task) if name.endswith(".up")}
    assert towers == {"vision_encoder"}


def test_a_target_that_fits_nothing_is_named_with_what_there_is():
    with pytest.raises(ConfigError, match=r"'qvk' fits no matrix.*fc1.*Did you mean 'qkv'"):
        add_lora_(Task(VideoClassifier), LoraConfig(rank=RANK, targets=("proj", "qvk")))
    with pytest.raises(ConfigError, match="all of it is frozen"):
        add_lora_(Task(VideoClassifier).requires_grad_(False), LoraConfig(rank=RANK))
    with pytest.raises(ConfigError, match=r"lora.rank 999 is more than the \d+ .* blocks.0.attn"):
        add_lora_(Task(VideoClassifier), LoraConfig(rank=999))


def test_alpha_over_rank_is_the_factor():
    outputs = {}
    for alpha in (4.0, 8.0):
        task = Task(VideoClassifier).eval()
        before = task.model.blocks[0].attn.qkv.weight.detach().clone()
        add_lora_(task, LoraConfig(rank=RANK, alpha=alpha, targets=("qkv",)))
        qkv = task.model.blocks[0].attn.qkv
        nn.init.ones_(qkv.parametrizations.weight[0].up)
        nn.init.ones_(qkv.parametrizations.weight[0].down)
        outputs[alpha] = (qkv.weight - before).mean().item()
    assert outputs == pytest.approx({4.0: 4.0, 8.0: 8.0}, rel=1e-5)


def test_blocks_compile_without_a_break_and_learn_the_same():
    tasks = [Task(VideoClassifier), Task(VideoClassifier)]
    for task in tasks:
        torch.manual_seed(2)
        add_lora_(task, LoraConfig(rank=RANK))
    for block in tasks[1].model.block_modules():
        block.compile(backend="aot_eager", fullgraph=True)
    for task in tasks:
        learn_(task)
    for (name, expected), actual in zip(
        trained(tasks[0]).items(), trained(tasks[1]).values(), strict=True
    ):
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4, msg=name)
