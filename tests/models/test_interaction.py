"""The properties that an interaction of two encoders must have."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from internvideo.config import config_from_dict, config_to_dict
from internvideo.errors import CheckpointError, ConfigError
from internvideo.models.classifier import VideoClassifierConfig
from internvideo.models.external import ExternalConfig
from internvideo.models.interaction import (
    SIZES,
    CrossModelAttention,
    InternVideo,
    InternVideoConfig,
    TowerConfig,
)
from internvideo.models.uniformerv2_classifier import UniFormerV2ClassifierConfig
from internvideo.models.viclip import ViCLIPConfig
from internvideo.zoo.kinds.interaction import INTERACTION
from internvideo.zoo.kinds.viclip import VICLIP

CLASSES = 5
GREY = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
VIT = TowerConfig(
    encoder=VideoClassifierConfig(
        image_size=16, num_frames=4, patch_size=8, width=24, depth=4, num_heads=2,
        num_classes=CLASSES, init_scale=1.0,
    ),
    **GREY,
)  # fmt: skip
UNIFORMER = TowerConfig(
    encoder=UniFormerV2ClassifierConfig(
        image_size=16, num_frames=4, patch_size=8, width=16, depth=3, num_heads=2,
        global_layers=(1, 2), num_classes=CLASSES,
    ),
    mean=(0.45, 0.45, 0.45),
    std=(0.225, 0.225, 0.225),
)  # fmt: skip
TWO_TOWERS = TowerConfig(encoder=next(iter(VICLIP.tiny.values())), **GREY)
EXTERNAL = TowerConfig(
    encoder=ExternalConfig(
        library="transformers",
        network="CLIPVisionModel",
        settings={
            "model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 32,
            "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16, "patch_size": 8,
        },
        width=16,
        num_frames=4,
        image_size=16,
    ),
    **GREY,
)  # fmt: skip
PAIRS = {
    "vit-uniformer": (VIT, UNIFORMER),
    "vit-vit": (VIT, VIT),
    "vit-viclip": (VIT, TWO_TOWERS),
    "viclip-uniformer": (TWO_TOWERS, UNIFORMER),
    "uniformer-vit": (UNIFORMER, VIT),
    "vit-external": (VIT, EXTERNAL),
    "external-uniformer": (EXTERNAL, UNIFORMER),
}
PUBLISHED_PARAMETERS = {"d": 1.0e9, "t": 1.3e9}


def config(pair: str = "vit-uniformer", **fields: Any) -> InternVideoConfig:
    masked, multimodal = PAIRS[pair]
    usual = {"wiring": "side", "stages": 2, "head_dim": 8, "num_classes": CLASSES}
    return InternVideoConfig(masked=masked, multimodal=multimodal, **{**usual, **fields})


def untrained(shape: InternVideoConfig) -> InternVideo:
    """Return a model as training finds it; the balance of a UniFormerV2 is one in the middle."""
    torch.manual_seed(0)
    model = InternVideo(shape).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(("masked.", "multimodal.")) and not parameter.any():
                nn.init.normal_(parameter, std=0.3)
    return model


def trained(shape: InternVideoConfig) -> InternVideo:
    model = untrained(shape)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("cma"):
                nn.init.normal_(parameter, std=0.3)
    return model


def wirings(pair: str) -> tuple[str, ...]:
    return ("side", "insert") if pair.startswith("vi") else ("side",)


BUILDS = [(pair, wiring) for pair in PAIRS for wiring in wirings(pair)]


@pytest.mark.parametrize(("pair", "wiring"), BUILDS)
@torch.no_grad()
def test_untrained_it_is_the_mean_of_its_encoders(pair, wiring):
    model = untrained(config(pair, wiring=wiring))
    [video] = model.example_inputs(3)
    found, views = model.fuse(model.see(video)), model.views(video)
    for logits, name, view in zip(
        (found.masked_logits, found.multimodal_logits),
        ("masked", "multimodal"),
        views,
        strict=False,
    ):
        if model.config.towers[name].num_classes is not None:
            alone = model.get_submodule(name)(view)
            torch.testing.assert_close(logits, alone, rtol=1e-6, atol=1e-6)
    mean = (found.masked_logits + found.multimodal_logits) / 2
    torch.testing.assert_close(model(video), mean, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(trained(config(pair, wiring=wiring))(video), mean, atol=1e-4)


@pytest.mark.parametrize("wiring", ["insert", "side"])
def test_what_is_frozen_stays_bit_identical(wiring):
    """At first the gates alone get gradients; after a step all that is new does."""
    model = untrained(config(wiring=wiring, head_drop_rate=0.0)).train()
    own = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    heads = {"masked.head.weight", "masked.head.bias"}
    heads |= {"multimodal.transformer.proj.2.weight", "multimodal.transformer.proj.2.bias"}
    query = {"multimodal.transformer.temporal_cls_token"}
    assert {n for n in own if not n.startswith(("cma", "alpha"))} == heads | query
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    [video] = model.example_inputs(4)
    reached = []
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(video), torch.tensor([0, 1, 2, 3])).backward()
        reached.append(
            {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        )
        optimizer.step()
    assert {name for name in reached[0] if name.startswith("cma")} == {
        f"{module}.gate_{part}"
        for module in ("cma.0", "cma.1", "cma_last")
        for part in ("attention", "mlp")
    }
    assert own - reached[1] <= {"cma.0.kv.bias", "cma.1.kv.bias", "cma_last.kv.bias"} | {
        name for name in own if name.endswith("norm_kv.bias")
    }
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name not in own), name


@pytest.mark.parametrize("pair", PAIRS)
@torch.no_grad()
def test_kept_features_give_equal_numbers(pair):
    model = trained(config(pair, train_query=False))
    [video] = model.example_inputs(3)
    assert torch.equal(model.fuse(model.recall(model.features(video))).logits, model(video))


def test_features_that_training_changes_are_not_kept():
    for fields in ({"wiring": "insert", "train_query": False}, {"train_query": True}):
        model = untrained(config(**fields))
        with pytest.raises(ValueError, match="wiring 'side' and train_query=False"):
            model.features(*model.example_inputs())


@torch.no_grad()
def test_the_order_of_those_that_are_asked_means_nothing():
    module = CrossModelAttention(24, 16, head_dim=8, mlp_ratio=4.0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    x, y = torch.randn(2, 6, 24), torch.randn(2, 9, 16)
    shuffled = y[:, torch.randperm(9, generator=torch.Generator().manual_seed(0))]
    torch.testing.assert_close(module(x, shuffled), module(x, y), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(module(x, y.flip(-1)), module(x, y), atol=1e-3)


def test_the_encoders_keep_their_names():
    model = untrained(config("vit-viclip"))
    for name in ("masked", "multimodal"):
        inner = getattr(model.config, name).build().state_dict()
        outer = model.state_dict()
        assert all(f"{name}.{key}" in outer for key in inner)
    others = {
        name.partition(".")[0]
        for name in model.state_dict()
        if not name.startswith(("masked.", "multimodal."))
    }
    assert others == {"cma", "cma_last", "alpha", "multimodal_head"}


@pytest.mark.parametrize("pair", PAIRS)
def test_any_two_encoders_learn_together(pair):
    """A few steps lower the loss, and both sides of the model take part."""
    model = untrained(config(pair, head_drop_rate=0.0)).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-2)
    [video] = model.example_inputs(4)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(video), torch.tensor([0, 1, 2, 3]))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    for gate in (*(cma.gate_mlp for cma in model.cma), model.cma_last.gate_mlp):
        assert abs(gate.item()) > 1e-3


@torch.no_grad()
def test_an_encoder_sees_its_own_frames_size_and_channels():
    fewer = replace(
        VIT,
        encoder=replace(VIT.encoder, num_frames=2, image_size=8),
        channel_order="bgr",
        mean=(0.1, 0.2, 0.3),
    )
    shape = InternVideoConfig(
        masked=VIT, multimodal=fewer, num_classes=CLASSES, wiring="side", stages=2
    )
    assert (shape.num_frames, shape.image_size) == (4, 16)
    video = torch.rand(1, 3, 4, 16, 16).round(decimals=1)
    video[:] = video[..., :1, :1]  # one colour a frame
    first, second = InternVideo(shape).views(video)
    assert first.shape == (1, 3, 4, 16, 16)
    assert second.shape == (1, 3, 2, 8, 8)
    expected = video[:, [2, 1, 0], ::2, :8, :8] - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1, 1)
    torch.testing.assert_close(second, expected / 0.25)


@torch.no_grad()
def test_a_third_encoder_is_averaged_with_the_two():
    model = untrained(config(third=UNIFORMER))
    [video] = model.example_inputs(2)
    seen = model.see(video)
    found = model.fuse(seen)
    assert seen.third is not None
    both = (found.masked_logits + found.multimodal_logits) / 2
    torch.testing.assert_close(found.logits, (both + seen.third) / 2)
    assert not any(p.requires_grad for p in model.third.parameters())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"wiring": "beside"}, "'insert', 'side'"),
        ({"masked": UNIFORMER, "wiring": "insert"}, "use wiring='side'"),
        ({"num_classes": 7}, "masked has 5 classes, num_classes is 7"),
        ({"multimodal": replace(VIT, encoder=replace(VIT.encoder, num_frames=6))}, "divide"),
        ({"third": TWO_TOWERS}, "third must be a classifier"),
    ],
)
def test_towers_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        replace(config(), **fields)


def test_more_stages_than_blocks_are_refused():
    model = InternVideo(config(stages=5))
    with pytest.raises(ValueError, match="5 stages do not fit an encoder of 3 blocks"):
        model(*model.example_inputs())


def test_its_shape_is_plain_data():
    shape = config("vit-viclip")
    data = config_to_dict(shape)
    assert data["multimodal"]["encoder"]["kind"] == "ViCLIP"
    assert config_from_dict(InternVideoConfig, data) == shape
    data["multimodal"]["encoder"]["kind"] = "ViCLAP"
    with pytest.raises(ConfigError, match="ViCLIP"):
        config_from_dict(InternVideoConfig, data)
    other = shape.with_classes(9)
    assert other.masked.encoder.num_classes == other.num_classes == 9
    assert isinstance(other.multimodal.encoder, ViCLIPConfig)


@pytest.mark.parametrize("size", ["d", pytest.param("t", marks=pytest.mark.slow)])
def test_the_interaction_costs_little(size):
    """At most 15 % of the operations of the encoders; parameters as large as the paper says."""
    with torch.device("meta"):
        model = InternVideo(SIZES[size]).eval()
        [video] = model.example_inputs(1)
        views = model.views(video)
        with FlopCounterMode(display=False) as whole:
            model(video)
        with FlopCounterMode(display=False) as apart:
            for tower, view in zip(model.frozen.values(), views, strict=True):
                tower(view)
    assert 1 < whole.get_total_flops() / apart.get_total_flops() < 1.15
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters == pytest.approx(PUBLISHED_PARAMETERS[size], rel=0.11)


def test_absurd_tables_are_refused_before_they_are_made():
    vast = replace(VIT, encoder=replace(VIT.encoder, image_size=8 * 65536))
    shape = replace(config(), masked=vast)
    with pytest.raises(CheckpointError, match="position table"):
        INTERACTION.build(shape)
