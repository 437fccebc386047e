"""Files of fine-tuned unmasked teachers: told from VideoMAE's by their tubelets alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from internvideo.errors import CheckpointError
from internvideo.models.classifier import VideoClassifier, VideoClassifierConfig
from internvideo.models.umt_classifier import UMTClassifier, UMTClassifierConfig
from internvideo.models.vit import VideoViT, VideoViTConfig
from internvideo.zoo import load_encoder_weights, load_model, save_pretrained
from internvideo.zoo.registry import find_card
from internvideo.zoo.resolve import card_config, card_preprocessing
from internvideo.zoo.verification import verify
from zoo import tiny
from zoo.keylists import HERE, read

SHAPES = read(HERE / "umt-b16-mitv1-f8-r384.txt")
SINGLE = {n: s for n, s in SHAPES.items() if n != "pos_embed"}


def test_the_tubelet_tells_the_family():
    assert verify(SINGLE).architecture == "unmasked-teacher/classifier"
    pairs = {**SINGLE, "patch_embed.proj.weight": (768, 3, 2, 16, 16)}
    assert verify(pairs).architecture == "videomae/classifier"
    assert verify({f"module.{n}": s for n, s in SINGLE.items()}).architecture == (
        "unmasked-teacher/classifier"
    )


@pytest.mark.parametrize(
    ("tokens", "num_frames", "image_size"),
    [(8 * 24 * 24, 8, 384), (16 * 14 * 14, 16, 224), (4 * 14 * 14, 4, 224), (8 * 7 * 7, 8, 112)],
)
def test_a_stored_table_tells_the_clip(tokens, num_frames, image_size):
    answer = verify({**SHAPES, "pos_embed": (1, tokens, 768)})
    assert answer.ok, answer.message
    assert answer.config["num_frames"] == num_frames
    assert answer.config["image_size"] == image_size


@pytest.mark.parametrize("table", [(1, 1571, 768), (1, 0, 768), (768,)])
def test_a_table_of_no_clip_is_refused(table):
    answer = verify({**SHAPES, "pos_embed": table})
    assert not answer.ok
    assert "pos_embed" in answer.message


def test_the_table_of_pretraining_is_not_stored():
    answer = verify({**SHAPES, "pos_embed": (1, 1568, 768)})
    assert answer.unexpected == {"pos_embed": ""}


def test_a_card_knows_its_clip():
    assert verify(SHAPES).cards == ("umt-b16-384-mitv1-8f",)
    card = find_card("umt-l16-k600-16f")
    assert card_config(card).grid == (16, 14, 14)
    protocol = card_preprocessing(card)
    assert (protocol.num_frames, protocol.num_clips, protocol.num_crops) == (16, 4, 3)
    assert card_preprocessing(find_card("umt-b16-ssv2-8f")).num_views == 6


@pytest.mark.parametrize("num_frames", [4, 8])
@torch.no_grad()
def test_an_official_file_computes_what_the_model_did(tmp_path, num_frames):
    model = tiny.umt_classifier(num_frames)
    assert ("pos_embed" in model.state_dict()) == (num_frames != 8)
    torch.save({"module": model.state_dict()}, tmp_path / "umt.pth")
    loaded = load_model(tmp_path / "umt.pth")
    assert type(loaded.model) is UMTClassifier
    assert loaded.model.config == model.config
    assert loaded.preprocessing.num_frames == num_frames
    tiny.assert_same_weights(loaded.model, model)
    clip = torch.randn(1, 3, num_frames, 224, 224)
    assert torch.equal(loaded.model(clip), model(clip))


def test_fine_tuning_takes_the_encoder_and_makes_the_positions_anew(tmp_path):
    encoder = tiny.randomised(VideoViT(VideoViTConfig(width=64, depth=2, num_heads=1,
                                                      num_frames=8, tubelet_size=1)))  # fmt: skip
    state = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    torch.save({"model": state}, tmp_path / "pretrained.pth")
    model = UMTClassifier(replace(tiny.umt_classifier().config, num_frames=16))
    before = model.pos_embed.clone()
    taken = load_encoder_weights(model, tmp_path / "pretrained.pth")
    assert taken.head == "fresh"
    assert set(taken.fresh) == {
        "pos_embed", "fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias",
    }  # fmt: skip
    assert set(taken.left) == {"norm.weight", "norm.bias"}
    assert torch.equal(model.pos_embed, before)
    assert torch.equal(model.blocks[1].mlp.fc1.weight, encoder.blocks[1].mlp.fc1.weight)


def test_another_clip_than_that_of_the_file(tmp_path):
    model = tiny.umt_classifier(num_frames=4)
    folder = save_pretrained(model, tmp_path / "four")
    other = UMTClassifier(replace(model.config, num_frames=16))
    before = other.pos_embed.clone()
    taken = load_encoder_weights(other, folder)
    assert taken.head == "kept"
    assert torch.equal(other.pos_embed, before)
    assert not torch.equal(model.pos_embed, before[:, : model.pos_embed.shape[1]])


def test_the_two_families_do_not_mix(tmp_path):
    folder = save_pretrained(tiny.umt_classifier(8), tmp_path / "umt")
    videomae = VideoClassifier(VideoClassifierConfig(width=64, depth=2, num_heads=1, num_classes=5))
    with pytest.raises(CheckpointError, match=r"patch_embed\.proj\.weight"):
        load_encoder_weights(videomae, folder)


def test_the_defaults_are_those_of_the_released_files():
    config = UMTClassifierConfig(num_classes=400)
    assert (config.grid, config.positions, config.stores_positions) == ((8, 14, 14), "umt", False)
