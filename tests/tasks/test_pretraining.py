from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from internvideo.data.samples import Sample
from internvideo.recipe import load_recipe
from internvideo.recipe.building import build_task


@pytest.fixture
def masked():
    return build_task(load_recipe("world_videomae-nano"))


@pytest.fixture
def contrastive():
    return build_task(load_recipe("world_viclip-nano", ["init=null"]))


def sample(seed: int, caption: str | None = None) -> Sample:
    frames = np.random.default_rng(seed).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)
    return Sample(frames=frames, caption=caption)


@pytest.mark.parametrize("kind", ["masked", "contrastive"])
def test_a_few_steps_on_one_batch_lower_the_loss(kind, request):
    torch.manual_seed(0)
    task = request.getfixturevalue(kind)
    captions = ["a star moves left", "a circle grows", "a ring vanishes", "a cross rotates"]
    rng = np.random.default_rng(0)
    batch = default_collate(
        [row for i, c in enumerate(captions) for row in task.prepare(sample(i, c), rng)]
    )
    optimizer = torch.optim.AdamW(task.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        loss = task.training_loss(batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.85 * losses[0]


def test_equal_captions_are_positives_of_each_other(contrastive):
    rng = np.random.default_rng(0)
    batch = default_collate(
        [row for i in range(4) for row in contrastive.prepare(sample(i, "a star moves left"), rng)]
    )
    assert len(set(batch["caption_id"].tolist())) == 1
    assert contrastive.training_loss(batch)["accuracy"].item() == 1.0
