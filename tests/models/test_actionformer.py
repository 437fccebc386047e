"""The temporal detector: any length, any window, and padding that changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from internvideo.models.actionformer import ActionFormer, Candidates
from internvideo.models.actionformer_config import ActionFormerConfig
from internvideo.models.temporal_layers import TemporalConv, TimeMask, banded_attention
from internvideo.zoo.kinds.actionformer import ACTIONFORMER

TINY = ACTIONFORMER.tiny["window"]


def build(config: ActionFormerConfig) -> ActionFormer:
    """Return a detector in which no branch hides behind a zero or a one."""
    torch.manual_seed(0)
    model = ActionFormer(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


MODELS = {name: build(config) for name, config in ACTIONFORMER.tiny.items()}


def parts(found: Candidates, row: int, lengths: list[int]) -> list[torch.Tensor]:
    """Return what was found in one sequence of a batch, without its padding."""
    return [
        level[row, :length]
        for levels in (found.logits, found.offsets)
        for level, length in zip(levels, lengths, strict=True)
    ]


# --- padding ----------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(["window", "streams", "convolution"]),
    lengths=st.lists(st.integers(1, 70), min_size=2, max_size=4),
    behind=st.integers(0, 9),
)
@torch.no_grad()
def test_a_padded_batch_equals_the_sequences_alone(name, lengths, behind):
    model = MODELS[name]
    generator = torch.Generator().manual_seed(sum(lengths))
    features = torch.randn(len(lengths), max(lengths) + behind, 12, generator=generator)
    valid = torch.arange(features.shape[1]) < torch.tensor(lengths)[:, None]
    together = model(features, valid)  # what lies in the padding must not matter either
    for row, length in enumerate(lengths):
        alone = model(features[row : row + 1, :length])
        counts = model.config.lengths(length)
        for one, other in zip(parts(together, row, counts), parts(alone, 0, counts), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-5)


@torch.no_grad()
def test_reference_padding_leaks_and_exact_padding_does_not():
    features = torch.randn(1, 40, 12)
    valid = torch.ones(1, 56, dtype=torch.bool).index_fill_(1, torch.arange(40, 56), False)
    padded = F.pad(features, (0, 0, 0, 16))
    for padding, moves in (("exact", False), ("reference", True)):
        model = build(replace(TINY, padding=padding))
        counts = model.config.lengths(40)
        one, other = parts(model(features), 0, counts), parts(model(padded, valid), 0, counts)
        apart = max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))
        assert (apart > 1e-2) == moves
        assert moves or apart < 1e-4


@torch.no_grad()
def test_one_coarsest_cell_of_reference_padding_is_as_good_as_any():
    model = build(replace(TINY, padding="reference"))
    features = torch.randn(1, 40, 12)
    found = []
    for length in (40 + 2**TINY.num_branch, 56, 80):
        valid = torch.arange(length)[None] < 40
        candidates = model(F.pad(features, (0, 0, 0, length - 40)), valid)
        found.append(parts(candidates, 0, model.config.lengths(40)))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_candidates_in_the_padding_are_zero_and_marked():
    model = MODELS["reference"]
    features, valid = model.example_inputs(3)
    found = model(features, valid)
    for logits, offsets, mask in zip(found.logits, found.offsets, found.valid, strict=True):
        assert not mask.all()
        assert not logits[~mask].any()
        assert not offsets[~mask].any()
    assert model(features).valid is None


# --- lengths ----------------------------------------------------------------------------------


@torch.no_grad()
def test_a_sequence_may_be_longer_than_those_of_training():
    model = MODELS["streams"]
    length = 3 * model.config.max_length + 1
    found = model(torch.randn(1, length, 12))
    assert [level.shape[1] for level in found.logits] == model.config.lengths(length) == [73, 37]


@torch.no_grad()
def test_positions_are_rows_of_the_table_and_stretched_beyond_it():
    backbone = MODELS["reference"].backbone
    size = len(backbone.table)
    short, mask = torch.zeros(1, 20, 16), TimeMask()
    assert torch.equal(backbone._positions(short, mask)[0], backbone.table[:20])
    for length in (size, size + 7, 4 * size):
        resized = F.interpolate(backbone.table.T[None], length, mode="linear", align_corners=False)
        ours = backbone._positions(torch.zeros(1, length, 16), mask)[0]
        torch.testing.assert_close(ours, resized[0].T, rtol=1e-4, atol=1e-5)


# --- layers -----------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    length=st.integers(1, 90),
    window=st.integers(1, 20).map(lambda half: 2 * half + 1),
    relative=st.booleans(),
    padded=st.integers(0, 8),
)
def test_local_attention_is_banded_attention(length, window, relative, padded):
    generator = torch.Generator().manual_seed(length)
    q, k, v = torch.randn(3, 2, length, 2, 4, generator=generator)
    bias = torch.randn(2, window, generator=generator) if relative else None
    valid = torch.ones(2, length, dtype=torch.bool)
    valid[1, max(length - padded, 1) :] = False
    ours = banded_attention(q, k, v, window=window, valid=valid, bias=bias)

    distance = torch.arange(length) - torch.arange(length)[:, None] + window // 2
    band = (distance >= 0) & (distance < window)
    logits = torch.einsum("bihe,bjhe->bhij", q, k) / 2
    if bias is not None:
        logits = logits + bias[:, distance.clamp(0, window - 1)]
    logits = logits.masked_fill(~(band & valid[:, None, None]), float("-inf"))
    expected = torch.einsum("bhij,bjhe->bihe", logits.softmax(dim=-1), v)
    torch.testing.assert_close(ours[valid], expected[valid], rtol=1e-4, atol=1e-5)
    assert torch.isfinite(ours).all()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("kernel", "depthwise"), [(1, False), (3, False), (7, False), (3, True)])
@pytest.mark.parametrize("length", [1, 2, 13])
def test_convolution_equals_that_of_torch(kernel, stride, depthwise, length):
    conv = TemporalConv(6, 6, kernel, stride=stride, depthwise=depthwise)
    nn.init.normal_(conv.conv.bias)
    x = torch.randn(2, length, 6, requires_grad=True)
    ours = conv(x, TimeMask())
    weight, bias, groups = conv.conv.weight, conv.conv.bias, 6 if depthwise else 1
    expected = F.conv1d(x.mT, weight, bias, stride, kernel // 2, groups=groups).mT
    torch.testing.assert_close(ours, expected)
    gradients = [torch.autograd.grad(y.square().sum(), (x, weight, bias)) for y in (ours, expected)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["window", "reference"])
@torch.no_grad()
def test_levels_joined_for_the_heads_do_not_see_each_other(name):
    model = MODELS[name]
    features, valid = model.example_inputs(2)
    found = model(features, valid)
    for level, mask, logits in zip(*model.pyramid(features, valid), found.logits, strict=True):
        torch.testing.assert_close(model.cls_head(level, mask), logits)


# --- configuration ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"windows": (4,)}, "even"),
        ({"windows": (5, 5)}, "windows"),
        ({"embed_dims": (8, 8)}, "embed_dims"),
        ({"head_kernel": 2}, "head_kernel"),
        ({"num_heads": 3}, "num_heads"),
        ({"head_width": 8}, "head_width"),
        ({"first_level": 3}, "first_level"),
    ],
)
def test_impossible_shapes_are_named(fields, named):
    with pytest.raises(ValueError, match=named):
        replace(TINY, **fields)


def test_scores_start_at_the_prior_and_those_of_absent_classes_at_nothing():
    model = ActionFormer(replace(TINY, absent_classes=(1,)))
    start = model.cls_head.cls_head.conv.bias.sigmoid()
    torch.testing.assert_close(start, torch.tensor([0.01, 1e-6, 0.01]), rtol=1e-3, atol=0)
