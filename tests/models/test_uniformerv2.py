from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from internvideo.config import config_from_dict, config_to_dict
from internvideo.models import uniformerv2
from internvideo.models.clip_init import resize_spatial_positions
from internvideo.models.uniformerv2 import UniFormerV2, UniFormerV2Config

KINETICS = UniFormerV2Config(
    image_size=16,
    num_frames=4,
    patch_size=8,
    width=16,
    depth=3,
    num_heads=2,
    global_layers=(1, 2),
    global_drop_rate=0.0,
)
SSV = replace(KINETICS, temporal_downsample=True, local_mhra="double", global_layers=(0, 1, 2))
SINGLE = replace(KINETICS, local_mhra="single", local_reduction=2.0)
FROZEN = replace(KINETICS, frozen=True)
CONFIGS = {"kinetics": KINETICS, "ssv": SSV, "single": SINGLE, "frozen": FROZEN}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def build(config: UniFormerV2Config, seed: int = 0) -> UniFormerV2:
    """Return a model in which no branch hides behind a zero."""
    torch.manual_seed(seed)
    model = UniFormerV2(config)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point() and not tensor.any():
                nn.init.normal_(tensor, std=0.2)
    return model


def clips(batch: int = 2, frames: int = 4, size: int = 16, *, seed: int = 1) -> torch.Tensor:
    return torch.randn(batch, 3, frames, size, size, generator=torch.Generator().manual_seed(seed))


@every_config
@torch.no_grad()
def test_what_the_features_are(config):
    model = build(config).eval()
    features = model(clips())
    steps = 2 if config.temporal_downsample else 4
    assert features.grid == (steps, 2, 2)
    assert features.tokens.shape == (2, steps * 4, 16)
    assert features.frame_cls.shape == (2, steps, 16)
    assert features.cls.shape == (2, 16)
    first, last = model.intermediates(clips(), [0, -1])
    assert torch.equal(last, features.tokens)
    assert not torch.equal(first, last)


@torch.no_grad()
def test_the_feature_balances_video_token_and_mean_class_token():
    model = build(KINETICS).eval()
    features = {}
    for value in (-100.0, 100.0, 0.0):
        model.transformer.balance.fill_(value)
        features[value] = model(clips())
    token, frames, both = (features[value].cls for value in (-100.0, 100.0, 0.0))
    torch.testing.assert_close(frames, features[0.0].frame_cls.mean(dim=1))
    torch.testing.assert_close(both, (token + frames) / 2)
    frozen = UniFormerV2(FROZEN).eval()
    frozen.load_state_dict(
        {n: t for n, t in model.state_dict().items() if n != "transformer.balance"}
    )
    torch.testing.assert_close(frozen(clips()).cls, token)


@torch.no_grad()
def test_without_local_relations_the_frames_are_an_image_transformer_each():
    model = build(KINETICS).eval()
    video = clips()
    features = model(video)
    for step in range(4):
        still = model(video[:, :, step : step + 1])
        torch.testing.assert_close(features.frame_cls[:, step], still.frame_cls[:, 0])
    backwards = model(video.flip(2))
    torch.testing.assert_close(backwards.tokens.unflatten(1, (4, 4)).flip(1).flatten(1, 2),
                               features.tokens)  # fmt: skip
    assert not torch.allclose(backwards.cls, features.cls)  # the convolution sees the order


@torch.no_grad()
def test_local_relations_reach_the_neighbouring_frames_only():
    model = build(replace(SINGLE, depth=1, global_layers=(0,))).eval()
    video = clips(frames=5)
    changed = video.clone()
    changed[:, :, 0] += 1.0
    one, other = model(video).frame_cls, model(changed).frame_cls
    same = [torch.allclose(one[:, t], other[:, t]) for t in range(5)]
    assert same == [False, False, True, True, True]


@torch.no_grad()
def test_temporal_downsampling_is_a_convolution_of_three_frames_with_a_step_of_two():
    model = build(SSV).eval()
    for frames in (8, 5):
        video = clips(frames=frames)
        patches = F.conv3d(video, model.conv1.weight, stride=(2, 8, 8), padding=(1, 0, 0))
        x = patches.flatten(3).permute(0, 2, 3, 1) + model.positional_embedding[1:]
        embedded, grid = model.embed_patches(video)
        assert grid == (-(-frames // 2), 2, 2)
        torch.testing.assert_close(embedded[:, :, 1:], model.ln_pre(x), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_other_resolutions_and_lengths():
    model = build(KINETICS).eval()
    seen = []
    model.ln_pre.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    zero = torch.zeros(1, 3, 7, 24, 40)
    features = model(zero)
    assert features.grid == (7, 3, 5)
    positions = resize_spatial_positions(model.positional_embedding, (3, 5))
    torch.testing.assert_close(seen[0][0, 4, 1:], positions[1:])
    with pytest.raises(ValueError, match="cannot be cut into tubelets of 1 frames of 8x8"):
        model(torch.zeros(1, 3, 4, 16, 20))


def test_a_frozen_model_trains_its_global_part_only():
    model = build(FROZEN)
    model(clips()).cls.square().sum().backward()
    trained = {n for n, p in model.named_parameters() if p.grad is not None}
    assert {name.split(".")[1] for name in trained} == {"temporal_cls_token", "dpe", "dec"}
    assert {n for n, p in model.named_parameters() if p.requires_grad} == trained


@torch.no_grad()
def test_a_new_model_is_clip_with_half_of_its_mean_class_token():
    torch.manual_seed(0)
    model = UniFormerV2(SSV).eval()
    features = model(clips())
    torch.testing.assert_close(features.cls, features.frame_cls.mean(dim=1) / 2)
    plain = UniFormerV2(replace(SSV, local_mhra="none")).eval()
    plain.load_state_dict({n: t for n, t in model.state_dict().items() if "lmhra" not in n})
    assert torch.equal(plain(clips()).tokens, features.tokens)


def test_drop_path_drops_whole_clips():
    config = replace(KINETICS, depth=1, global_layers=(0,), drop_path_rate=0.9)
    model = build(config).train()
    model.transformer.resblocks[0].drop_path.rate = 0.5
    torch.manual_seed(0)
    video = clips(16, frames=3)
    with torch.no_grad():
        embedded, _ = model.embed_patches(video)
        frames = model(video).frame_cls
    unchanged = (frames == embedded[:, :, 0]).all(dim=2)
    assert unchanged.all(dim=1).any()
    assert (~unchanged).all(dim=1).any()
    assert (unchanged.all(dim=1) | (~unchanged).all(dim=1)).all()


@pytest.mark.parametrize(
    ("size", "parameters"),
    [("b16", 114.2e6), ("l14", 353.7e6), ("l14-336", 354.0e6), ("b16-ssv", 162.9e6)],
)
def test_the_released_sizes_have_their_parameters(size, parameters):
    with torch.device("meta"):
        model = UniFormerV2(uniformerv2.SIZES[size])
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(parameters, rel=1e-3)
    assert len(list(model.block_modules())) == model.config.depth


def test_a_configuration_survives_json():
    for config in (*CONFIGS.values(), *uniformerv2.SIZES.values()):
        assert config_from_dict(UniFormerV2Config, config_to_dict(config)) == config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_heads": 3}, "width 16 is not a multiple of the 3 heads"),
        ({"global_heads": 5}, "width 16 is not a multiple of the 5 heads"),
        ({"image_size": 20}, "not a multiple of patch_size"),
        ({"global_layers": ()}, "at least one"),
        ({"global_layers": (2, 1)}, "in increasing order"),
        ({"global_layers": (-1, 1)}, "in increasing order"),
        ({"global_layers": (1, 3)}, "not among 0 to 2"),
        ({"local_mhra": "both"}, "'none', 'single', 'double'"),
        ({"local_reduction": 0.5}, "is not in 1 to 16"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        replace(KINETICS, **fields)
