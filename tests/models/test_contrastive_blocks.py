from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from internvideo.models.contrastive import contrastive_loss
from internvideo.models.contrastive_blocks import blockwise_contrast

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
NAMES = ("loss", "video", "text", "temperature")


def batch(size: int, *, seed: int, width: int = 5, repeated: bool = True):
    """Return unit vectors, temperature and ids, some of them equal."""
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(2, size, width, generator=draw)
    ids = torch.randint(0, max(size // 2, 1), (size,), generator=draw) if repeated else None
    return *F.normalize(features, dim=-1), torch.tensor(0.1), ids


def with_gradients(loss_of, video, text, temperature, ids, **options):
    """Return the loss and the gradients of its three inputs."""
    leaves = [x.clone().requires_grad_() for x in (video, text, temperature)]
    loss = loss_of(*leaves, ids=ids, **options)
    loss = getattr(loss, "loss", loss)
    (3 * loss).backward()  # a factor, as of a gradient scaler
    return dict(zip(NAMES, [loss.detach(), *(leaf.grad / 3 for leaf in leaves)], strict=True))


@given(
    size=st.integers(1, 40),
    block=st.integers(1, 300),
    repeated=st.booleans(),
    temperature=st.floats(0.1, 2.0),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_value_and_gradients_are_those_of_the_plain_loss(size, block, repeated, temperature, seed):
    video, text, _, ids = batch(size, seed=seed, repeated=repeated)
    inputs = (video, text, torch.tensor(temperature), ids)
    plain = with_gradients(contrastive_loss, *inputs)
    blocks = with_gradients(blockwise_contrast, *inputs, block=block)
    for name in NAMES:
        torch.testing.assert_close(blocks[name], plain[name], **TOLERANCE, msg=name)


@pytest.mark.parametrize("seed", range(3))
def test_at_the_lowest_temperature_it_is_as_exact_as_float32_allows(seed):
    video, text, _, ids = batch(50, seed=seed, width=20)
    inputs = (video, text, torch.tensor(0.01), ids)
    blocks = with_gradients(blockwise_contrast, *inputs, block=99)
    exact = with_gradients(contrastive_loss_in_double, *(x.double() for x in inputs[:3]), ids)
    for name in NAMES:
        difference = (blocks[name] - exact[name]).norm()
        assert difference <= 1e-5 * exact[name].norm(), name


def test_gradients_are_those_of_finite_differences():
    inputs = [x.double() for x in batch(6, seed=0)[:3]]
    ids = torch.tensor([0, 1, 0, 2, 3, 1])
    found = with_gradients(blockwise_contrast, *inputs, ids, block=13)
    for name, index in (("video", 0), ("text", 1), ("temperature", 2)):
        direction = torch.randn(inputs[index].shape, generator=torch.Generator().manual_seed(1))
        losses = []
        for sign in (1, -1):
            moved = list(inputs)
            moved[index] = moved[index] + sign * 1e-4 * direction.double()
            losses.append(contrastive_loss_in_double(*moved, ids=ids))
        slope = (losses[0] - losses[1]) / 2e-4
        told = (found[name].double() * direction).sum()
        torch.testing.assert_close(told, slope, rtol=1e-3, atol=1e-5, msg=name)


def contrastive_loss_in_double(video, text, temperature, *, ids):
    logits = video @ text.T / temperature
    target = (ids[:, None] == ids).double()
    target /= target.sum(1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def test_accuracy_counts_the_videos_whose_nearest_text_is_theirs():
    video = torch.eye(4)
    text = video[[0, 1, 3, 2]]
    assert blockwise_contrast(video, text, 0.1).accuracy.item() == 0.5
    ids = torch.tensor([0, 1, 5, 5])
    for block in (1, 8, 99):
        found = blockwise_contrast(video, text, 0.1, ids=ids, block=block)
        assert found.accuracy.item() == 1.0
        assert not found.accuracy.requires_grad


def test_extreme_similarities_stay_finite():
    video = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 1e-6], [-1.0, 0.0]]), dim=-1)
    inputs = (video, video.flip(0), torch.tensor(1e-3), None)
    blocks = with_gradients(blockwise_contrast, *inputs, block=3)
    assert all(value.isfinite().all() for value in blocks.values())
    torch.testing.assert_close(blocks["loss"], contrastive_loss(*inputs[:3]), **TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_compared_in_float32(dtype):
    video, text, temperature, ids = batch(8, seed=2)
    low = video.to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = blockwise_contrast(low, text.to(dtype), temperature, ids=ids)
        found.loss.backward()
    exact = contrastive_loss(low.detach().float(), text.to(dtype).float(), temperature, ids=ids)
    torch.testing.assert_close(found.loss.detach(), exact, **TOLERANCE)
    assert found.loss.dtype == torch.float32
    assert low.grad is not None
    assert low.grad.dtype == dtype


def test_another_exchange_is_refused():
    video, text, temperature, ids = batch(2, seed=0)
    with pytest.raises(ValueError, match="'broadcast' is not 'gather' or 'ring'"):
        blockwise_contrast(video, text, temperature, ids=ids, exchange="broadcast")


# --- several processes ------------------------------------------------------------------------

PROCESSES = Path(__file__).with_name("contrast_processes.py")


@pytest.fixture(scope="module", params=[2, 3])
def spread(request, tmp_path_factory):
    """Return what several processes computed, by the name of their case."""
    directory = tmp_path_factory.mktemp("contrast")
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={request.param}"]
    line = [sys.executable, *launch, str(PROCESSES), str(directory)]
    root = str(PROCESSES.parents[1])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {path.stem: load_file(path) for path in directory.iterdir()}


@pytest.mark.parametrize("exchange", ["gather", "ring"])
@pytest.mark.parametrize("repeated", ["distinct", "repeated"])
def test_processes_compute_what_one_computes(spread, exchange, repeated):
    """The towers are linear maps under DDP; every process saw its own part of the batch."""
    told, alone = spread[f"{exchange}-{repeated}"], spread[f"alone-{repeated}"]
    assert told.keys() == alone.keys()
    assert len(alone) == 5
    assert all(alone[name].abs().sum() > 1e-3 for name in alone if name.startswith("grad."))
    for name, expected in alone.items():
        torch.testing.assert_close(told[name], expected, **TOLERANCE, msg=f"{exchange} {name}")
