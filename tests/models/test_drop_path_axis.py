"""Stochastic depth by positions equals that of the reference implementations, draw by draw.

The two references below follow the papers' code in what matters here: sequences have the tokens
first (l n d), and drop path takes the first axis of whatever it gets for the batch.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from internvideo.models.layers import DropPath, drop_path_rates
from internvideo.models.uniformerv2 import UniFormerV2, UniFormerV2Config
from internvideo.models.viclip import kept_tokens
from internvideo.models.viclip_vision import ViCLIPVision, ViCLIPVisionConfig
from internvideo.models.vit import VideoViT, VideoViTConfig

VICLIP = ViCLIPVisionConfig(
    image_size=16, num_frames=3, patch_size=8, width=16, depth=3, num_heads=2, embed_dim=6,
    drop_path_rate=0.6, drop_path_axis="positions",
)  # fmt: skip
KINETICS = UniFormerV2Config(
    image_size=16, num_frames=4, patch_size=8, width=16, depth=3, num_heads=2, global_layers=(1, 2),
    drop_path_rate=0.5, global_drop_path_rate=0.6, drop_path_axis="positions",
)  # fmt: skip
SSV = replace(KINETICS, temporal_downsample=True, local_mhra="double", global_layers=(0, 1, 2))


def build(model: nn.Module) -> nn.Module:
    """Return a float64 model in training mode in which no branch hides behind a zero."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.2)
    return model.double().train()


def clips(batch: int, frames: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, frames, 16, 16, generator=generator, dtype=torch.float64)


class Reference:
    """The weights of a model, and the layers of CLIP on sequences l n d."""

    def __init__(self, model: nn.Module, num_heads: int) -> None:
        self.weights, self.num_heads = dict(model.named_parameters()), num_heads

    def __getitem__(self, name: str) -> Tensor:
        return self.weights[name]

    def norm(self, name: str, x: Tensor, *, single: bool = True) -> Tensor:
        weight, bias = self[f"{name}.weight"], self[f"{name}.bias"]
        if not single:
            return F.layer_norm(x, x.shape[-1:], weight, bias, 1e-5)
        return F.layer_norm(x.float(), x.shape[-1:], weight.float(), bias.float(), 1e-5).double()

    def attention(self, name: str, query: Tensor, key: Tensor) -> Tensor:
        return F.multi_head_attention_forward(
            query, key, key, query.shape[-1], self.num_heads,
            self[f"{name}.in_proj_weight"], self[f"{name}.in_proj_bias"], None, None, False, 0.0,
            self[f"{name}.out_proj.weight"], self[f"{name}.out_proj.bias"], need_weights=False,
        )[0]  # fmt: skip

    def mlp(self, name: str, x: Tensor, dropout: float = 0.0) -> Tensor:
        x = F.linear(x, self[f"{name}.c_fc.weight"], self[f"{name}.c_fc.bias"])
        x = F.dropout(x * torch.sigmoid(1.702 * x), dropout)
        return F.linear(x, self[f"{name}.c_proj.weight"], self[f"{name}.c_proj.bias"])


def drop_path(x: Tensor, rate: float) -> Tensor:
    if rate == 0.0:
        return x
    mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1 - rate)
    return x * mask.div_(1 - rate)


def viclip_reference(
    model: ViCLIPVision, video: Tensor, noise: Tensor | None, mask_ratio: float
) -> Tensor:
    config, of = model.config, Reference(model, model.config.num_heads)
    x = F.conv3d(video, of["conv1.weight"], stride=model.conv1.stride)
    x = rearrange(x, "n d t h w -> n (h w) t d") + of["temporal_positional_embedding"]
    x = (x + of["positional_embedding"][1:, None]).flatten(1, 2)  # place by place
    if noise is not None:
        kept = noise.argsort(dim=1)[:, int(mask_ratio * noise.shape[1]) :].sort(dim=1).values
        x = x.gather(1, kept[..., None].expand(-1, -1, x.shape[2]))
    first = (of["class_embedding"] + of["positional_embedding"][0]).expand(len(x), 1, -1)
    x = of.norm("ln_pre", torch.cat([first, x], dim=1)).transpose(0, 1)
    for index, rate in enumerate(drop_path_rates(config.drop_path_rate, config.depth)):
        block = f"transformer.resblocks.{index}"
        y = of.norm(f"{block}.ln_1", x)
        x = x + drop_path(of.attention(f"{block}.attn", y, y), rate)
        x = x + drop_path(of.mlp(f"{block}.mlp", of.norm(f"{block}.ln_2", x)), rate)
    return of.norm("ln_post", x)[0] @ of["proj"]


def uniformerv2_reference(model: UniFormerV2, video: Tensor) -> tuple[Tensor, Tensor]:
    """Return the fused feature, and the class tokens of the frames."""
    config, of, n = model.config, Reference(model, model.config.num_heads), len(video)
    if config.temporal_downsample:
        x = F.conv3d(video, of["conv1.weight"], stride=(2, 8, 8), padding=(1, 0, 0))
    else:
        x = F.conv3d(video, of["conv1.weight"], stride=(1, 8, 8))
    h, w = x.shape[3:]
    x = rearrange(x, "n d t h w -> (n t) (h w) d")
    first = of["class_embedding"].expand(len(x), 1, -1)
    x = torch.cat([first, x], dim=1) + of["positional_embedding"]
    x = of.norm("ln_pre", x).transpose(0, 1)

    def volume(x: Tensor) -> Tensor:
        return rearrange(x[1:], "(h w) (n t) d -> n d t h w", n=n, h=h, w=w)

    def with_places(x: Tensor, added: Tensor) -> Tensor:
        added = rearrange(added, "n d t h w -> (h w) (n t) d")
        return torch.cat([x[:1], x[1:] + added])

    def related(x: Tensor, name: str, rate: float) -> Tensor:
        layer = model.get_submodule(f"{name}.pos_embed")
        y = F.batch_norm(volume(x), None, None, layer[0].weight, layer[0].bias, training=True)
        y = F.conv3d(y, layer[1].weight, layer[1].bias)
        y = F.conv3d(y, layer[2].weight, layer[2].bias, padding=(1, 0, 0), groups=y.shape[1])
        return with_places(x, drop_path(F.conv3d(y, layer[3].weight, layer[3].bias), rate))

    token = of["transformer.temporal_cls_token"].expand(1, n, -1)
    rates = drop_path_rates(config.drop_path_rate, config.depth)
    global_rates = drop_path_rates(config.global_drop_path_rate, len(config.global_layers))
    for index, rate in enumerate(rates):
        block = f"transformer.resblocks.{index}"
        if config.local_mhra != "none":
            x = related(x, f"{block}.lmhra1", rate)
        y = of.norm(f"{block}.ln_1", x)
        x = x + drop_path(of.attention(f"{block}.attn", y, y), rate)
        if config.local_mhra == "double":
            x = related(x, f"{block}.lmhra2", rate)
        x = x + drop_path(of.mlp(f"{block}.mlp", of.norm(f"{block}.ln_2", x)), rate)
        if index in config.global_layers:
            stage = config.global_layers.index(index)
            conv, name = f"transformer.dpe.{stage}", f"transformer.dec.{stage}"
            places = volume(x)
            added = F.conv3d(
                places, of[f"{conv}.weight"], of[f"{conv}.bias"], padding=1, groups=places.shape[1]
            )
            keys = rearrange(with_places(x, added), "l (n t) d -> (t l) n d", n=n)
            keys = of.norm(f"{name}.ln_3", keys, single=False)
            query = of.norm(f"{name}.ln_1", token, single=False)
            rate = global_rates[stage]
            token = token + drop_path(of.attention(f"{name}.attn", query, keys), rate)
            y = of.norm(f"{name}.ln_2", token, single=False)
            y = of.mlp(f"{name}.mlp", y, config.global_drop_rate)
            token = token + drop_path(y, rate)
    frames = rearrange(x[0], "(n t) d -> n t d", n=n)
    weight = of["transformer.balance"].sigmoid()
    return (1 - weight) * token[0] + weight * frames.mean(dim=1), frames


@pytest.mark.parametrize("mask_ratio", [0.0, 0.5])
@pytest.mark.parametrize("seed", range(3))
@torch.no_grad()
def test_viclip_drops_what_the_reference_drops(mask_ratio, seed):
    model, video = build(ViCLIPVision(VICLIP)), clips(4, 3)
    noise, visible = None, None
    if mask_ratio:
        noise = torch.rand(4, 12, generator=torch.Generator().manual_seed(seed))
        visible = kept_tokens(noise, mask_ratio, num_steps=3)
    torch.manual_seed(seed)
    expected = viclip_reference(model, video, noise, mask_ratio)
    torch.manual_seed(seed)
    actual = model.project(model(video, visible=visible))
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-8)
    assert (actual - model.eval().project(model(video, visible=visible))).abs().max() > 1e-3


@pytest.mark.parametrize("config", [KINETICS, SSV], ids=["kinetics", "ssv"])
@pytest.mark.parametrize("seed", range(3))
@torch.no_grad()
def test_uniformerv2_drops_what_the_reference_drops(config, seed):
    model, video = build(UniFormerV2(config)), clips(3, 4)
    torch.manual_seed(seed)
    expected, expected_frames = uniformerv2_reference(model, video)
    torch.manual_seed(seed)
    features = model(video)
    torch.testing.assert_close(features.cls, expected, rtol=0, atol=1e-8)
    torch.testing.assert_close(features.frame_cls, expected_frames, rtol=0, atol=1e-8)


@torch.no_grad()
def test_tokens_keep_their_order_where_the_sequence_has_another():
    model = build(ViCLIPVision(replace(VICLIP, drop_path_rate=0.0)))
    visible = torch.tensor([[0, 3, 5, 11], [1, 4, 6, 8]])
    for shown in (None, visible):
        trained = model.train()(clips(2, 3), visible=shown, layers=[0])
        expected = model.eval()(clips(2, 3), visible=shown, layers=[0])
        torch.testing.assert_close(trained.tokens, expected.tokens)
        torch.testing.assert_close(trained.hidden, expected.hidden)


def test_positions_are_dropped_in_all_clips_alike():
    torch.manual_seed(0)
    dropped = DropPath(0.25, "positions")(torch.ones(2, 3, 4000, 5))
    assert (dropped == dropped[:1, :1, :, :1]).all()
    assert dropped.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.03)


def test_the_axis_is_of_two_and_stays_with_clips_where_nobody_says_so():
    with pytest.raises(ValueError, match="'tokens' is not 'clips' or 'positions'"):
        DropPath(0.1, "tokens")
    assert ViCLIPVisionConfig().drop_path_axis == UniFormerV2Config().drop_path_axis == "clips"
    model = VideoViT(VideoViTConfig(width=16, num_heads=2, depth=2))
    assert {block.drop_path.axis for block in model.blocks} == {"clips"}
