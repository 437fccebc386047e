from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from internvideo.models.positions import sinusoid_table
from internvideo.models.umt_vision import UMTVision
from internvideo.models.unmasked_teacher import (
    UnmaskedTeacher,
    UnmaskedTeacherConfig,
    alignment_loss,
)
from internvideo.models.vit import VideoViTConfig

ENCODER = {
    "image_size": 12,
    "patch_size": 4,
    "num_frames": 4,
    "tubelet_size": 1,
    "width": 16,
    "depth": 4,
    "num_heads": 2,
}
CONFIG = UnmaskedTeacherConfig(encoder=VideoViTConfig(**ENCODER), target_width=6, num_targets=2)


@pytest.fixture(scope="module")
def model() -> UnmaskedTeacher:
    torch.manual_seed(0)
    return UnmaskedTeacher(CONFIG).eval()


@pytest.fixture(scope="module")
def video() -> torch.Tensor:
    return torch.randn(2, 3, 4, 12, 12, generator=torch.Generator().manual_seed(1))


def test_each_of_the_last_layers_has_its_decoder_behind_the_one_norm(model, video):
    index = torch.tensor([[0, 5, 35], [1, 2, 30]])
    hidden = model.encoder.forward_features(video, visible=index, layers=[2, 3]).hidden
    table = model.encoder.pos_embed[0][index]
    for answer, tokens, decoder in zip(
        model(video, index), hidden, model.clip_decoder, strict=True
    ):
        expected = decoder.norm(decoder.head(model.encoder.norm(tokens) + table))
        torch.testing.assert_close(answer, F.normalize(expected, dim=-1))


@pytest.mark.parametrize("student", [UnmaskedTeacher, partial(UMTVision, alignment=True)])
def test_decoders_keep_the_fixed_table_where_the_encoder_learns_its_own(student):
    torch.manual_seed(0)
    config = replace(CONFIG, encoder=replace(CONFIG.encoder, positions="learnable"))
    model, index = student(config), torch.tensor([[0, 5, 35], [1, 2, 30]])
    video = torch.randn(2, 3, 4, 12, 12)
    features = model.encoder.forward_features(video, visible=index, layers=[2, 3])
    answers = model(video, index) if student is UnmaskedTeacher else model.answers(features, index)
    table = sinusoid_table(36, 16)[0][index]
    for answer, tokens, decoder in zip(answers, features.hidden, model.clip_decoder, strict=True):
        torch.testing.assert_close(answer, decoder(model.encoder.norm(tokens) + table))
    assert not torch.allclose(model.encoder.pos_embed, sinusoid_table(36, 16), atol=0.1)
    assert model.encoder.fixed_positions((2, 3, 4)).shape == (1, 24, 16)


def test_a_mask_says_what_its_indices_say(model, video):
    index = torch.tensor([[0, 5, 35], [1, 2, 30]])
    mask = torch.zeros(2, 36, dtype=torch.bool).scatter(1, index, True)
    assert torch.equal(model(video, index), model(video, mask))


def test_hidden_places_are_not_seen(model, video):
    index = torch.arange(9).expand(2, -1)  # the first frame
    other = torch.cat([video[:, :, :1], torch.randn_like(video[:, :, 1:])], dim=2)
    assert torch.equal(model(video, index), model(other, index))


def test_another_clip_size_works(model):
    video = torch.randn(1, 3, 6, 16, 12)
    assert model(video, torch.arange(7)[None]).shape == (2, 1, 7, 6)


def test_the_losses_are_distances_of_unit_vectors():
    first, second = (F.normalize(torch.randn(2, 3, 4, 5), dim=-1) for _ in range(2))
    squared = (first - second).square()
    torch.testing.assert_close(alignment_loss(first, second), squared.sum(dim=-1).mean())
    torch.testing.assert_close(alignment_loss(first, second, "mse"), squared.mean())
    huber = alignment_loss(first, second, "smooth-l1")
    distance = (first - second).abs()
    torch.testing.assert_close(huber, torch.where(distance < 1, squared / 2, distance - 0.5).mean())
    for kind in ("cosine", "mse", "smooth-l1"):
        assert alignment_loss(first, first, kind).abs() < 1e-6
    with pytest.raises(ValueError, match="loss 'l2' is not one of 'cosine', 'mse', 'smooth-l1'"):
        alignment_loss(first, second, "l2")


@pytest.mark.parametrize(
    ("encoder", "options", "message"),
    [
        ({"tubelet_size": 2}, {}, "encoder.tubelet_size is 2"),
        ({"final_norm": False}, {}, "encoder.final_norm must be true"),
        ({}, {"num_targets": 5}, "5 layers at an interval of 1.0 do not fit into 4 blocks"),
        ({}, {"interval": 2.0, "num_targets": 3}, "do not fit into 4 blocks"),
    ],
)
def test_impossible_shapes_are_refused(encoder, options, message):
    options = {"num_targets": 2, **options}
    with pytest.raises(ValueError, match=message):
        UnmaskedTeacherConfig(encoder=VideoViTConfig(**{**ENCODER, **encoder}), **options)
