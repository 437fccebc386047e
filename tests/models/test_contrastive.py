from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from internvideo.models.contrastive import caption_ids, contrastive_loss, contrastive_targets


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
