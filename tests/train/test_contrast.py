from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from internvideo.train.contrast import (
    blockwise_contrast,
    caption_ids,
    contrastive_loss,
    contrastive_targets,
)
from train.launch import run_processes

# --- the plain loss ---------------------------------------------------------------------------


def unit(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator), dim=-1)


def test_targets_are_uniform_over_equal_ids():
    targets = contrastive_targets(torch.tensor([7, 3, 7, 5]))
    assert targets.tolist() == [[0.5, 0, 0.5, 0], [0, 1, 0, 0], [0.5, 0, 0.5, 0], [0, 0, 0, 1]]


def test_identical_embeddings_give_the_logarithm_of_the_batch_size():
    same = F.normalize(torch.ones(8, 4), dim=-1)
    assert contrastive_loss(same, same, 0.07).item() == pytest.approx(math.log(8), rel=1e-6)


def test_the_loss_is_the_formula_of_the_reference():
    video, text, ids = unit(5, 6, seed=0), unit(5, 6, seed=1), torch.tensor([0, 1, 0, 2, 1])
    similarity = (video @ text.T / 0.1).double()
    targets = contrastive_targets(ids).double()
    expected = 0.0
    for matrix in (similarity, similarity.T):
        expected -= (targets * matrix.log_softmax(1)).sum(1).mean() / 2
    torch.testing.assert_close(
        contrastive_loss(video, text, 0.1, ids=ids).double(), expected, rtol=1e-6, atol=1e-6
    )


@given(st.integers(1, 8), st.integers(0, 1000))
@settings(max_examples=25)
def test_distinct_ids_equal_no_ids(size, seed):
    video, text = unit(size, 5, seed=seed), unit(size, 5, seed=seed + 1)
    plain = contrastive_loss(video, text, 0.2)
    named = contrastive_loss(video, text, 0.2, ids=torch.arange(size) * 3 - 4)
    torch.testing.assert_close(plain, named)
    torch.testing.assert_close(plain, contrastive_loss(text, video, 0.2))


def test_a_repeated_caption_is_not_its_own_negative():
    video = unit(4, 8, seed=0)
    video[1] = video[0]
    plain, joint = (
        contrastive_loss(video, video, 0.01, ids=ids) for ids in (None, torch.tensor([0, 0, 1, 2]))
    )
    assert joint.item() == pytest.approx(plain.item(), abs=1e-5)  # both halves of the pair tie
    apart = video.clone()
    apart[1] = F.normalize(video[0] + 0.3 * unit(8, seed=5), dim=0)
    separated = contrastive_loss(apart, apart, 0.01, ids=torch.tensor([0, 0, 1, 2]))
    assert separated > joint  # equal captions want equal embeddings


def test_caption_ids_are_stable_across_batches():
    first = caption_ids(["a red star", "ein Stern ★", "a red star"])
    again = caption_ids(["ein Stern ★", "a red star"])
    assert first[0] == first[2] == again[1]
    assert first[1] == again[0]
    assert first[0] != first[1]
    assert first.dtype == torch.int64


def test_low_precision_features_are_compared_in_float32():
    video, text = unit(4, 8, seed=0).bfloat16(), unit(4, 8, seed=1).bfloat16()
    assert contrastive_loss(video, text, torch.tensor(0.01)).dtype == torch.float32


# --- the same by blocks -----------------------------------------------------------------------

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
        along = (found[name].double() * direction).sum()
        torch.testing.assert_close(along, slope, rtol=1e-3, atol=1e-5, msg=name)


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
    with pytest.raises(ValueError, match=r"'broadcast'.*'gather'.*'ring'"):
        blockwise_contrast(video, text, temperature, ids=ids, exchange="broadcast")


# --- several processes ------------------------------------------------------------------------

PROCESSES = Path(__file__).with_name("contrast_processes.py")


@pytest.fixture(scope="module")
def spread(tmp_path_factory):
    """Return what all of three processes, two of them and one alone computed, by case."""
    directory = tmp_path_factory.mktemp("contrast")
    run_processes([str(PROCESSES), str(directory)], processes=3)
    return {path.stem: load_file(path) for path in directory.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("exchange", ["gather", "ring"])
@pytest.mark.parametrize("repeated", ["distinct", "repeated"])
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_compute_what_one_computes(spread, exchange, repeated, processes):
    """The towers are linear maps under DDP; every process saw its own part of the batch."""
    shared, alone = spread[f"{exchange}-{repeated}-{processes}"], spread[f"alone-{repeated}"]
    assert shared.keys() == alone.keys()
    assert len(alone) == 5
    assert all(alone[name].abs().sum() > 1e-3 for name in alone if name.startswith("grad."))
    for name, expected in alone.items():
        torch.testing.assert_close(shared[name], expected, **TOLERANCE, msg=f"{exchange} {name}")
