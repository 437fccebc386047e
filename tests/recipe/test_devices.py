"""Training steps on an accelerator, as far as a machine without one can tell.

Fake tensors have a shape and a device, but no values. On fake tensors of a GPU a step fails where
it mixes in a tensor of the CPU, and where it asks for a value, for which the host would wait.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from internvideo.data.samples import AskedQuestion, Sample
from internvideo.models.clip_teacher import SIZES as TEACHERS
from internvideo.models.clip_teacher import CLIPTeacher
from internvideo.recipe.building import build_task
from internvideo.recipe.loading import load_recipe
from internvideo.tasks.unmasked_teacher import multimodal
from internvideo.tasks.unmasked_teacher import task as pretraining
from internvideo.train.data import HOST, Example, collate

STEPS: dict[str, list[str]] = {
    "ssv2_videomae-b_pretrain": [],
    "hybrid_videomaev2-b": [],
    "world_videomae-nano": [],
    "world_videomae-nano_tube": [],
    "internvid_viclip-b": [],
    "internvid_viclip-b_unmasked": [],
    "webvid_internvideo-mm-b": [],
    "world_viclip-nano": [],
    "world_mm-nano": [],
    "k710_umt-b_pretrain": [],
    "25m_umt-mm-b16": ["model.vocabulary=world", "task.bert=null"],
    "k400_videomae-b": [],
    "k400_videomae-b_sparse": ["augmentation=videomae-finetune-fast"],
    "world_videomae-nano_actions": [],
    "k400_uniformerv2-b": [],
    "ssv1_uniformerv2-b": [],
    "world_uniformerv2-nano_actions": [],
    "k400_uniformerv2-b_from-k710": ["model.frozen=true"],
    "k710_umt-b": [],
    "msrvtt-1ka_internvideo-mm-l": ["model.size=b16"],
    "msvd-qa_internvideo-mm-b": [],
    "world_qa-nano": [],
    "world_qa-nano_open": [],
    "world_internvideo-nano": ["task.multimodal=viclip-nano"],
    "msrvtt-1ka_clip-b32": ["model.header.rule=seq-transformer"],
}


@pytest.fixture(autouse=True)
def teacher(monkeypatch):
    for module in (pretraining, multimodal):
        monkeypatch.setattr(module, "load_clip_teacher", lambda _: CLIPTeacher(TEACHERS["b16"]))


@pytest.mark.parametrize("name", STEPS)
def test_a_step_stays_on_its_device_and_does_not_wait(monkeypatch, name):
    recipe = load_recipe(name, STEPS[name])
    task: Any = build_task(recipe.model_copy(update={"init": None, "init_labels": None}))
    monkeypatch.setattr(torch, "randint", lambda *_, **__: 5)  # the seed of mixup, on the host
    assert_step_stays(task, batch_of(task))


def assert_step_stays(task: Any, batch: dict[str, Tensor]) -> None:
    """Take a step on fake tensors of a GPU."""
    with FakeTensorMode():
        move_(task)
        if (teaching := getattr(task, "teaching", None)) is not None:
            move_(teaching.teacher)
        fake = {
            name: tensor if name.startswith(HOST) else like(tensor)
            for name, tensor in batch.items()
        }
        losses = task.training_loss(fake)
    assert losses["loss"].device.type == "cuda"


def test_what_would_wait_or_mix_devices_is_found():
    with FakeTensorMode():
        tensor = torch.empty(3, device="cuda")
        with pytest.raises(Exception, match="nonzero"):
            tensor.nonzero()
        with pytest.raises(Exception, match="_local_scalar_dense"):
            float(tensor.sum())
        with pytest.raises(RuntimeError, match="device"):
            tensor + torch.ones(3)


def batch_of(task: Any) -> dict[str, Tensor]:
    """Two clips of noise, as the workers would hand them over."""
    protocol, examples = task.preprocessing, []
    for number, caption in enumerate(("a cat runs", "something grows while a dog looks on")):
        rng = np.random.default_rng(number)
        size = protocol.crop_size + 16
        frames = rng.integers(0, 256, (protocol.num_frames, size, size + 8, 3), dtype=np.uint8)
        asked = (AskedQuestion("how many", "two", number), AskedQuestion("what happens", "grow"))
        sample = Sample(frames=frames, label=number, caption=caption, questions=asked)
        examples.append(Example(task.prepare(sample, rng)))
    return collate(examples).tensors


def like(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cuda")


def move_(module: nn.Module) -> None:
    """Put fake tensors of a GPU in the place of all weights; shared ones stay shared."""
    known: dict[int, Tensor] = {}
    for part in module.modules():
        for store in (part._parameters, part._buffers):
            for name, tensor in store.items():
                if tensor is None:
                    continue
                if id(tensor) not in known:
                    fake = like(tensor)
                    if isinstance(tensor, nn.Parameter):
                        fake = nn.Parameter(fake, requires_grad=tensor.requires_grad)
                    known[id(tensor)] = fake
                store[name] = known[id(tensor)]
