"""Files of UniFormerV2: told by their shapes, loaded with their protocol, used as a start."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from internvideo.errors import CheckpointError
from internvideo.models.uniformerv2 import UniFormerV2, UniFormerV2Config
from internvideo.models.uniformerv2_classifier import (
    UniFormerV2Classifier,
    UniFormerV2ClassifierConfig,
)
from internvideo.zoo import load as loading
from internvideo.zoo import (
    load_encoder_weights,
    load_model,
    official_state,
    resolve,
    save_pretrained,
)
from internvideo.zoo.architectures import find_architecture
from internvideo.zoo.card import Card
from internvideo.zoo.labels import k710_rows, label_names
from internvideo.zoo.registry import find_card
from internvideo.zoo.resolve import card_config, card_preprocessing
from internvideo.zoo.verification import verify
from zoo import tiny
from zoo.keylists import HERE, read

SHAPES = read(HERE / "uniformerv2_b16_k400_8x224.txt")
KINETICS = UniFormerV2ClassifierConfig(
    num_classes=5, image_size=32, width=64, depth=3, num_heads=1, global_layers=(1, 2)
)
SSV = replace(
    KINETICS,
    num_frames=16,
    temporal_downsample=True,
    local_mhra="double",
    local_reduction=64 / 20.5,
)
SINGLE = replace(KINETICS, local_mhra="single")
FROZEN = replace(KINETICS, frozen=True)
CONFIGS = {"kinetics": KINETICS, "ssv": SSV, "single": SINGLE, "frozen": FROZEN}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def build(config: UniFormerV2ClassifierConfig = KINETICS, seed: int = 0) -> UniFormerV2Classifier:
    return tiny.randomised(UniFormerV2Classifier(config), seed)


def official(model: nn.Module) -> dict[str, torch.Tensor]:
    return {f"backbone.{name}": tensor for name, tensor in model.state_dict().items()}


def a_card(monkeypatch, **fields) -> Card:
    """Let a card of a tiny model be found under the name of a released one."""
    values = {
        "name": "uniformerv2-b16-k400-8f",
        "family": "UniFormerV2",
        "status": "available",
        "architecture": "uniformerv2/classifier",
        "size": "b16",
        "description": "tiny",
        "config": {"image_size": 32, "width": 64, "depth": 3, "num_heads": 1, "num_classes": 400},
        "num_classes": 400,
        "labels": "kinetics-400/authors",
        "preprocessing": "uniformerv2-kinetics",
        "preprocessing_options": {"resize_size": 32, "crop_size": 32},
        **fields,
    }
    card = Card(**values)
    size = replace(card_config(find_card("uniformerv2-b16-k400-8f")), global_layers=(1, 2))
    architecture = find_architecture(card.architecture)
    monkeypatch.setitem(architecture.sizes, "b16", replace(size, depth=3))
    monkeypatch.setattr(loading, "find_card", lambda name: card)
    monkeypatch.setattr(resolve, "find_card", lambda name: card)
    monkeypatch.setattr(resolve, "all_cards", lambda: (card,))
    return card


@every_config
@pytest.mark.parametrize("wrapper", [None, "model_state", "state_dict"])
@pytest.mark.parametrize("prefix", ["backbone.", "", "module.backbone."])
@torch.no_grad()
def test_a_file_of_any_official_make_computes_what_the_model_did(tmp_path, config, wrapper, prefix):
    model = build(config)
    state = {f"{prefix}{name}": tensor for name, tensor in model.state_dict().items()}
    around = {"epoch": 3, "optimizer_state": {"step": 1}}
    torch.save(state if wrapper is None else {wrapper: state, **around}, tmp_path / "any.pyth")
    loaded = load_model(tmp_path / "any.pyth")
    assert loaded.architecture == "uniformerv2/classifier"
    same = {"local_reduction": config.local_reduction}
    assert replace(loaded.model.config, **same, global_heads=None) == config
    assert loaded.model.config.local_channels == config.local_channels
    tiny.assert_same_weights(loaded.model, model)
    clip = torch.randn(1, 3, 4, 32, 32)
    assert torch.equal(loaded.model(clip), model(clip))


@every_config
def test_the_official_names_come_back(config):
    model = build(config)
    state = official_state(model)
    assert state.keys() == official(model).keys()
    assert official_state(model, layout="bare").keys() == model.state_dict().keys()


def test_a_saved_folder_reads_back(tmp_path):
    model = build(SSV)
    loaded = load_model(save_pretrained(model, tmp_path / "saved"))
    assert loaded.model.config == SSV
    tiny.assert_same_weights(loaded.model, model)


def test_the_protocol_of_a_file_without_a_card_has_the_channel_order_of_its_training(tmp_path):
    for config, order, frames in ((KINETICS, "rgb", 8), (SSV, "bgr", 16)):
        torch.save(official(build(config)), tmp_path / "a.pyth")
        protocol = load_model(tmp_path / "a.pyth").preprocessing
        assert (protocol.channel_order, protocol.num_frames) == (order, frames)
        assert protocol.crop_size == 32
        assert set(protocol.mean) == {0.45}


def test_a_released_name_loads_a_local_file_with_labels_in_the_authors_order(tmp_path, monkeypatch):
    card = a_card(monkeypatch)
    model = build(replace(KINETICS, num_classes=400))
    torch.save(official(model), tmp_path / "mine.pyth")
    loaded = load_model(tmp_path / "mine.pyth", card=card.name)
    assert loaded.card is card
    assert loaded.labels[0] == "riding a bike"
    assert loaded.labels[399] == "playing badminton"
    tiny.assert_same_weights(loaded.model, model)
    torch.save(official(build()), tmp_path / "other.pyth")
    with pytest.raises(CheckpointError, match="num_classes 5 instead of 400"):
        load_model(tmp_path / "other.pyth", card=card.name)


@torch.no_grad()
def test_the_outputs_of_a_k710_file_are_put_into_other_orders(tmp_path, monkeypatch):
    fields = {"num_classes": 710, "labels": "kinetics-710/authors"}
    config = {"image_size": 32, "width": 64, "depth": 3, "num_heads": 1, "num_classes": 710}
    card = a_card(monkeypatch, **fields, config=config)
    model = build(replace(KINETICS, num_classes=710))
    torch.save(official(model), tmp_path / "k710.pyth")
    clip = torch.randn(1, 3, 4, 32, 32)
    for labels in ("kinetics-400/alphabetical", "kinetics-600/authors", "kinetics-700/authors"):
        loaded = load_model(tmp_path / "k710.pyth", card=card.name, labels=labels)
        assert loaded.labels == label_names(labels)
        assert loaded.model.config.num_classes == len(loaded.labels)
        expected = model(clip)[:, list(k710_rows(labels))]
        torch.testing.assert_close(loaded.model(clip), expected)


def test_files_are_candidates_of_the_cards_they_can_be():
    cards = set(verify(SHAPES).cards)
    assert cards == {"uniformerv2-b16-k400-8f", "uniformerv2-b16-k400-8f-clip"}
    assert not verify({n: s for n, s in SHAPES.items() if "balance" not in n}).cards


def test_a_card_knows_its_clip_and_its_global_blocks():
    config = card_config(find_card("uniformerv2-l14-ssv2-32f"))
    assert (config.grid, len(config.global_layers)) == ((16, 16, 16), 16)
    protocol = card_preprocessing(find_card("uniformerv2-l14-ssv2-32f"))
    assert (protocol.num_frames, protocol.channel_order) == (32, "bgr")
    assert card_config(find_card("uniformerv2-l14-336-frozen-k400-32f")).frozen


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("backbone.transformer.dpe.0.weight", (768, 1, 3, 3)),
        ("backbone.transformer.proj.0.weight", (512,)),
        ("backbone.conv1.weight", (768, 3, 2, 16, 16)),
    ],
)
def test_a_tensor_of_another_shape_is_named(name, shape):
    answer = verify({**SHAPES, name: shape})
    assert not answer.ok
    assert list(answer.mismatched) == [name.removeprefix("backbone.")]


def test_a_missing_tensor_is_named():
    name = "backbone.transformer.dec.2.ln_3.bias"
    answer = verify({n: s for n, s in SHAPES.items() if n != name})
    assert answer.missing == (name.removeprefix("backbone."),)
    assert not answer.unexpected


def clip_state() -> dict[str, torch.Tensor]:
    """Return a tiny image CLIP of the width of these models under its official names."""
    model = tiny.viclip()
    table = find_architecture("openai-clip").tables["official"]
    with torch.no_grad():
        model.vision_encoder.temporal_positional_embedding.zero_()
    state = table.to_official(model.state_dict())
    return {name: tensor.half() for name, tensor in state.items()}


@pytest.mark.parametrize("config", [KINETICS, SSV], ids=["kinetics", "ssv"])
def test_a_start_from_image_clip(tmp_path, config):
    clip = clip_state()
    torch.save(clip, tmp_path / "clip.pt")
    one_block = replace(config, depth=1, global_layers=(0,))
    model, before = build(one_block, seed=4), build(one_block, seed=4).state_dict()
    report = load_encoder_weights(model, tmp_path / "clip.pt")
    assert report.head == "fresh"
    state = model.state_dict()
    for name in report.fresh:
        assert torch.equal(state[name], before[name]), name
    kernel = clip["visual.conv1.weight"].float()
    middle = state["conv1.weight"].shape[2] // 2
    assert torch.equal(state["conv1.weight"][:, :, middle], kernel)
    assert torch.equal(state["conv1.weight"].sum(dim=2), kernel)
    for name in state.keys() - set(report.fresh) - {"conv1.weight"}:
        assert torch.equal(state[name], clip[f"visual.{name}"].float()), name
    assert {"vision_encoder.proj", "vision_encoder.ln_post.weight", "temp"} <= set(report.left)


def test_positions_of_another_resolution_are_resampled(tmp_path):
    torch.save(clip_state(), tmp_path / "clip.pt")
    model = build(replace(KINETICS, image_size=48, depth=1, global_layers=(0,)))
    load_encoder_weights(model, tmp_path / "clip.pt")
    table = clip_state()["visual.positional_embedding"].float()
    assert model.positional_embedding.shape == (10, 64)
    torch.testing.assert_close(model.positional_embedding[0], table[0])
    torch.testing.assert_close(model.positional_embedding[5], table[1:].mean(dim=0))


def test_a_start_from_kinetics_710_keeps_rows_and_norm_of_the_head(tmp_path):
    source = build(replace(KINETICS, num_classes=710))
    torch.save({"model_state": official(source)}, tmp_path / "k710.pyth")
    rows = k710_rows("kinetics-600/authors")
    model = build(replace(KINETICS, num_classes=600), seed=4)
    report = load_encoder_weights(model, tmp_path / "k710.pyth", head_rows=rows)
    assert (report.head, report.fresh, report.left) == ("remapped", (), ())
    assert torch.equal(model.head.weight, source.head.weight[list(rows)])
    assert torch.equal(model.transformer.proj[0].weight, source.transformer.proj[0].weight)
    same = build(replace(KINETICS, num_classes=710), seed=4)
    assert load_encoder_weights(same, tmp_path / "k710.pyth").head == "kept"
    tiny.assert_same_weights(same, source)
    other = build(replace(KINETICS, num_classes=3), seed=4)
    before = other.head.weight.clone()
    report = load_encoder_weights(other, tmp_path / "k710.pyth")
    assert report.head == "fresh"
    assert torch.equal(other.head.weight, before)
    assert torch.equal(other.transformer.dec[1].ln_3.weight, source.transformer.dec[1].ln_3.weight)


def test_an_encoder_without_a_head_takes_the_encoder(tmp_path):
    source = build()
    torch.save(official(source), tmp_path / "k.pyth")
    fields = ("image_size", "width", "depth", "num_heads", "global_layers")
    encoder = UniFormerV2(UniFormerV2Config(**{name: getattr(KINETICS, name) for name in fields}))
    report = load_encoder_weights(encoder, tmp_path / "k.pyth")
    assert report.head == "none"
    assert {name.rpartition(".")[0] for name in report.left} == {
        "transformer.proj.0",
        "transformer.proj.2",
    }
    assert torch.equal(encoder.conv1.weight, source.conv1.weight)


def test_starts_that_do_not_fit_are_refused_and_change_nothing(tmp_path):
    model, before = build(), build().state_dict()
    torch.save(official(build(FROZEN)), tmp_path / "frozen.pyth")
    torch.save(official(build(SSV)), tmp_path / "ssv.pyth")
    save_pretrained(tiny.classifier(), tmp_path / "videomae")
    save_pretrained(tiny.viclip(), tmp_path / "viclip")
    for source, message in (
        ("frozen.pyth", r"transformer\.balance"),
        ("ssv.pyth", r"conv1\.weight \[64, 3, 3, 16, 16\] instead of \[64, 3, 1, 16, 16\]"),
        ("videomae", "neither a UniFormerV2 nor an image CLIP"),
        ("viclip", "no place for its temporal positions"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_encoder_weights(model, tmp_path / source)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
