from __future__ import annotations

import numpy as np
import pytest
import torch

from internvideo.data.samples import Sample
from internvideo.errors import ConfigError
from internvideo.recipe import load_recipe
from internvideo.recipe.building import build_task
from internvideo.train.config import RuntimeConfig
from internvideo.train.data import Example, collate
from internvideo.train.memory import MemoryNeed, free_memory, memory_need

SMALL = [
    "model.size=null", "model.width=48", "model.depth=2", "model.num_heads=2",
    "model.num_classes=5", "model.num_frames=4", "model.image_size=32",
    "preprocessing.num_frames=4", "preprocessing.resize_size=32", "preprocessing.crop_size=32",
    "runtime.batch_size=2",
    "runtime.precision=32-true", "init=null", "data.dataset=k400",
]  # fmt: skip


def rows_of(task, count: int):
    rng = np.random.default_rng(0)
    protocol = task.preprocessing
    side = protocol.crop_size + 4
    frames = rng.integers(0, 256, (protocol.num_frames, side, side, 3), dtype=np.uint8)
    sample = Sample(frames=frames, label=1)
    return collate([Example(task.prepare(sample, rng)) for _ in range(count)]).tensors


def kept(task, rows) -> int:
    """Return what autograd keeps of a real step."""
    seen = {}
    weights = {each.untyped_storage().data_ptr() for each in (*task.parameters(), *task.buffers())}

    def pack(tensor):
        seen[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = task.training_loss(rows)["loss"]
    total = sum(t.untyped_storage().nbytes() for key, t in seen.items() if key not in weights)
    loss.backward()
    return total


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_estimate_is_what_a_step_keeps(checkpointing):
    recipe = load_recipe(
        "k400_videomae-b",
        [*SMALL, f"runtime.activation_checkpointing={str(checkpointing).lower()}"],
    )
    task = build_task(recipe)
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    state = torch.get_rng_state()
    need = memory_need(
        task, rows_of(task, 1), optim=recipe.optim, runtime=recipe.runtime,
        device=torch.device("cpu"), precision="32-true",
    )  # fmt: skip
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in task.state_dict().items())
    weights = sum(p.nbytes for p in task.parameters())
    buffers = sum(b.nbytes for b in task.buffers())
    assert need.state == 4 * weights + buffers
    assert need.per_clip is not None
    if not checkpointing:  # else the real step's own hooks hide what it keeps
        assert need.per_clip * 2 == pytest.approx(kept(task, rows_of(task, 2)), rel=0.05)


def test_checkpointing_and_half_precision_need_less():
    need = {}
    for name, overrides, precision in (
        ("plain", [], "32-true"),
        ("half", [], "bf16-mixed"),
    ):
        recipe = load_recipe("k400_videomae-b", [*SMALL, *overrides])
        with torch.device("meta"):
            task = build_task(recipe, with_weights=False)
        need[name] = memory_need(
            task, rows_of(task, 1), optim=recipe.optim, runtime=recipe.runtime,
            device=torch.device("cpu"), precision=precision,
        ).per_clip  # fmt: skip
    assert need["half"] < 0.8 * need["plain"]


def test_what_does_not_fit_is_refused_with_what_does():
    need = MemoryNeed(state=2**30, per_clip=2**29, batch_size=16)
    runtime = RuntimeConfig(batch_size=16, accumulate=1)
    need.check(2**40, runtime)
    need.check(None, runtime)
    with pytest.raises(ConfigError, match=r"batch_size=4 runtime.accumulate=4 fits"):
        need.check(2**30 + 5 * 2**29, runtime)
    with pytest.raises(ConfigError, match=r"9.00 GiB \(1.00 for weights.*8.00 for the 16 clips"):
        need.check(2**29, runtime)


def test_the_cpu_says_what_is_free():
    free = free_memory(torch.device("cpu"))
    assert free is None or free > 2**20
