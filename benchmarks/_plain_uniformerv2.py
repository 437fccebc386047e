"""UniFormerV2 written down the plain way, as a yardstick: the formulas one after the other.

Tokens come first ("n (b t) d"), as PyTorch's attention has them by default; attention is a softmax
of all logits; keys and values are projected before they are attended to; QuickGELU is spelled out;
local relations and the positions of the global blocks are 3-D convolutions of the volume of tokens.
Names of weights are those of the library's models, so that a state of ours loads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from internvideo.models.uniformerv2_classifier import UniFormerV2ClassifierConfig


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Attention(nn.Module):
    def __init__(self, width: int, num_heads: int, *, fused: bool) -> None:
        super().__init__()
        self.num_heads, self.fused = num_heads, fused
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Attend; both are "n b d"."""
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        if query is key:
            projected = F.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        else:
            inputs = (query, key, key)
            projected = [F.linear(*each) for each in zip(inputs, weights, biases, strict=True)]
        b = query.shape[1]
        if self.fused:
            q, k, v = (rearrange(x, "n b (h e) -> b h n e", h=self.num_heads) for x in projected)
            mixed = rearrange(F.scaled_dot_product_attention(q, k, v), "b h n e -> n b (h e)")
        else:
            q, k, v = (rearrange(x, "n b (h e) -> (b h) n e", h=self.num_heads) for x in projected)
            logits = torch.bmm(q * q.shape[-1] ** -0.5, k.transpose(1, 2))
            mixed = rearrange(torch.bmm(logits.softmax(dim=-1), v), "(b h) n e -> n b (h e)", b=b)
        return self.out_proj(mixed)


def mlp(width: int, hidden: int) -> nn.Module:
    block = nn.Sequential()
    block.add_module("c_fc", nn.Linear(width, hidden))
    block.add_module("gelu", QuickGELU())
    block.add_module("c_proj", nn.Linear(hidden, width))
    return block


def convolve(convolution: nn.Module, x: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """Add the convolved volume of patches to them; "n (b t) d", the class token first."""
    t, h, w = grid
    volume = rearrange(x[1:], "(h w) (b t) d -> b d t h w", t=t, h=h, w=w)
    added = rearrange(convolution(volume), "b d t h w -> (h w) (b t) d")
    return torch.cat([x[:1], x[1:] + added])


class LocalMHRA(nn.Module):
    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.pos_embed = nn.Sequential(
            nn.BatchNorm3d(width),
            nn.Conv3d(width, channels, kernel_size=1),
            nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0), groups=channels),
            nn.Conv3d(channels, width, kernel_size=1),
        )

    def forward(self, x: Tensor, grid: tuple[int, int, int]) -> Tensor:
        return convolve(self.pos_embed, x, grid)


class Block(nn.Module):
    def __init__(self, config: UniFormerV2ClassifierConfig, *, fused: bool) -> None:
        super().__init__()
        width, channels = config.width, int(config.width // config.local_reduction)
        relates, relates_twice = config.local_mhra != "none", config.local_mhra == "double"
        self.lmhra1 = LocalMHRA(width, channels) if relates else None
        self.lmhra2 = LocalMHRA(width, channels) if relates_twice else None
        self.attn = Attention(width, config.num_heads, fused=fused)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = mlp(width, 4 * width)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, grid: tuple[int, int, int]) -> Tensor:
        if self.lmhra1 is not None:
            x = self.lmhra1(x, grid)
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed)
        if self.lmhra2 is not None:
            x = self.lmhra2(x, grid)
        return x + self.mlp(self.ln_2(x))


class GlobalBlock(nn.Module):
    def __init__(self, width: int, num_heads: int, hidden: int, *, fused: bool) -> None:
        super().__init__()
        self.attn = Attention(width, num_heads, fused=fused)
        self.ln_1, self.ln_2, self.ln_3 = (nn.LayerNorm(width) for _ in range(3))
        self.mlp = mlp(width, hidden)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x), self.ln_3(y))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, config: UniFormerV2ClassifierConfig, *, fused: bool) -> None:
        super().__init__()
        width, heads = config.width, config.num_heads
        self.global_layers = config.global_layers
        self.resblocks = nn.ModuleList(Block(config, fused=fused) for _ in range(config.depth))
        self.temporal_cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.dpe = nn.ModuleList(
            nn.Conv3d(width, width, 3, padding=1, groups=width) for _ in config.global_layers
        )
        self.dec = nn.ModuleList(
            GlobalBlock(width, heads, config.global_mlp_hidden, fused=fused)
            for _ in config.global_layers
        )
        self.balance = nn.Parameter(torch.zeros(width))
        self.proj = nn.Sequential(
            nn.LayerNorm(width), nn.Identity(), nn.Linear(width, config.num_classes)
        )

    def forward(self, x: Tensor, grid: tuple[int, int, int]) -> Tensor:
        t, b = grid[0], x.shape[1] // grid[0]
        token = self.temporal_cls_token.repeat(1, b, 1)
        stages = iter(zip(self.dpe, self.dec, strict=True))
        for index, block in enumerate(self.resblocks):
            x = block(x, grid)
            if index in self.global_layers:
                positions, attend = next(stages)
                y = convolve(positions, x, grid)
                token = attend(token, rearrange(y, "n (b t) d -> (n t) b d", t=t))
        frames = rearrange(x[0], "(b t) d -> b t d", t=t).mean(dim=1)
        share = self.balance.sigmoid()
        return self.proj((1 - share) * token[0] + share * frames)


class PlainUniFormerV2(nn.Module):
    """The classifier; call it with a clip "b c t y x" to get logits.

    Args:
        config: of the model whose weights it will get.
        fused: use PyTorch's fused attention after all.
    """

    def __init__(self, config: UniFormerV2ClassifierConfig, *, fused: bool = False) -> None:
        super().__init__()
        width, patch = config.width, config.patch_size
        _, rows, columns = config.grid
        steps = {"kernel_size": (1, patch, patch), "stride": (1, patch, patch)}
        if config.temporal_downsample:
            steps = {
                "kernel_size": (3, patch, patch),
                "stride": (2, patch, patch),
                "padding": (1, 0, 0),
            }
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros(rows * columns + 1, width))
        self.conv1 = nn.Conv3d(3, width, **steps, bias=False)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(config, fused=fused)

    def forward(self, video: Tensor) -> Tensor:
        x = self.conv1(video)
        grid = x.shape[2:]
        x = rearrange(x, "b d t h w -> (b t) (h w) d")
        first = self.class_embedding.expand(len(x), 1, -1)
        x = torch.cat([first, x], dim=1) + self.positional_embedding
        return self.transformer(self.ln_pre(x).permute(1, 0, 2), tuple(grid))
