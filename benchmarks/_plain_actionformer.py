"""ActionFormer written down the plain way, as a yardstick: convolutions over time, channels first.

Every linear layer is a convolution with one tap, every norm is over the channels of "b c t", the
mask multiplies what a convolution writes, and local attention works on overlapping chunks of two
half windows, as in the published code. Names of weights are those of official files.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internvideo.models.actionformer import ActionFormerConfig


class MaskedConv(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1,
                 bias: bool = True) -> None:  # fmt: skip
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv1d(
            inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=bias
        )

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        out, mask = self.conv(x), mask[:, :, :: self.stride]
        return out * mask.to(out.dtype), mask


class ChannelNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, width, 1))
        self.bias = nn.Parameter(torch.zeros(1, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(dim=1, keepdim=True)
        variance = x.square().mean(dim=1, keepdim=True)
        return x / torch.sqrt(variance + 1e-5) * self.weight + self.bias


class Scale(nn.Module):
    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def chunked_scores(q: Tensor, k: Tensor, half: int) -> Tensor:
    """Return the products of queries with the keys around them, "n t 2·half+1"; both are "n t e".

    Chunks of two half windows overlap by one. In a chunk's table of products a diagonal is a
    distance: one more row of zeros and another way to cut the numbers into rows make it a column.
    """
    n, t, _ = q.shape
    chunks = [x.unfold(1, 2 * half, half) for x in (q, k)]  # n c e 2h
    table = torch.einsum("ncei,ncej->ncij", *chunks)
    count = table.shape[1]
    skewed = F.pad(table, (0, 0, 0, 1)).reshape(n, count, 2 * half, 2 * half + 1)
    found = table.new_zeros(n, count + 1, half, 2 * half + 1)
    found[:, :-1, :, half:] = skewed[:, :, :half, : half + 1]
    found[:, -1, :, half:] = skewed[:, -1, half:, : half + 1]
    found[:, 1:, :, :half] = skewed[:, :, half - 1 : -1, half + 1 :]
    found[:, 0, 1:, 1:half] = skewed[:, 0, : half - 1, half + 2 :]
    return found.reshape(n, t, 2 * half + 1)


def chunked_mix(weights: Tensor, v: Tensor, half: int) -> Tensor:
    """Return the weighted sums of the values, "n t e"; weights are "n t 2·half+1"."""
    n, t, width = weights.shape
    count = t // half
    around = F.pad(v, (0, 0, half, half)).unfold(1, 3 * half, half)  # n c e 3h
    table = F.pad(weights.reshape(n, count, half, width), (0, half))
    table = table.reshape(n, count, half * (3 * half + 1))[:, :, :-half]
    table = table.reshape(n, count, half, 3 * half)
    return torch.einsum("ncij,ncej->ncie", table, around).reshape(n, t, -1)


class Attention(nn.Module):
    def __init__(self, config: ActionFormerConfig, *, window: int, stride: int) -> None:
        super().__init__()
        width = config.width
        self.heads, self.window = config.num_heads, window
        for name in ("query", "key", "value"):
            conv = MaskedConv(width, width, 3, stride=stride, groups=width, bias=False)
            setattr(self, f"{name}_conv", conv)
            setattr(self, f"{name}_norm", ChannelNorm(width))
            setattr(self, name, nn.Conv1d(width, width, 1))
        self.proj = nn.Conv1d(width, width, 1)
        self.proj_drop = nn.Dropout(config.drop_rate)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        parts = []
        for name in ("query", "key", "value"):
            part, after = getattr(self, f"{name}_conv")(x, mask)
            part = getattr(self, name)(getattr(self, f"{name}_norm")(part))
            parts.append(part.reshape(len(x) * self.heads, -1, part.shape[-1]).transpose(1, 2))
        q, k, v = parts
        q = q / math.sqrt(q.shape[-1])
        flags = after.repeat_interleave(self.heads, dim=1).reshape(len(q), -1, 1)
        if self.window > 1:
            mixed = self.local(q, k, v, flags)
        else:
            logits = (q @ k.transpose(1, 2)).masked_fill(~flags.transpose(1, 2), -math.inf)
            mixed = logits.softmax(dim=-1) @ (v * flags)
        mixed = mixed.transpose(1, 2).reshape(len(x), -1, q.shape[1])
        return self.proj_drop(self.proj(mixed)) * after.to(x.dtype), after

    def local(self, q: Tensor, k: Tensor, v: Tensor, flags: Tensor) -> Tensor:
        half = self.window // 2
        scores = chunked_scores(q, k, half)
        padded = (~flags).to(q.dtype) * -1e4
        scores = scores + chunked_scores(torch.ones_like(padded), padded, half)
        places = torch.arange(q.shape[1], device=q.device)[:, None]
        places = places + torch.arange(-half, half + 1, device=q.device)
        outside = (places < 0) | (places >= q.shape[1])
        weights = scores.masked_fill(outside, -math.inf).softmax(dim=-1)
        return chunked_mix(weights * flags, v, half)


class Block(nn.Module):
    def __init__(self, config: ActionFormerConfig, *, window: int, stride: int) -> None:
        super().__init__()
        width = config.width
        self.ln1, self.ln2 = ChannelNorm(width), ChannelNorm(width)
        self.attn = Attention(config, window=window, stride=stride)
        self.pool = nn.MaxPool1d(3, 2, 1) if stride > 1 else nn.Identity()
        self.mlp = nn.Sequential(
            nn.Conv1d(width, 4 * width, 1), nn.GELU(), nn.Dropout(config.drop_rate),
            nn.Conv1d(4 * width, width, 1), nn.Dropout(config.drop_rate),
        )  # fmt: skip
        self.drop_path_attn, self.drop_path_mlp = Scale((1, width, 1)), Scale((1, width, 1))

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        mixed, after = self.attn(self.ln1(x), mask)
        flags = after.to(x.dtype)
        x = self.pool(x) * flags + self.drop_path_attn(mixed)
        return x + self.drop_path_mlp(self.mlp(self.ln2(x)) * flags), after


class Backbone(nn.Module):
    def __init__(self, config: ActionFormerConfig) -> None:
        super().__init__()
        width, inputs = config.width, sum(config.input_dims)
        self.embd = nn.ModuleList(
            MaskedConv(width if n else inputs, width, config.embed_kernel, bias=False)
            for n in range(config.num_embed)
        )
        self.embd_norm = nn.ModuleList(ChannelNorm(width) for _ in range(config.num_embed))
        self.stem = nn.ModuleList(
            Block(config, window=config.window(0), stride=1) for _ in range(config.num_stem)
        )
        self.branch = nn.ModuleList(
            Block(config, window=config.window(n + 1), stride=2) for n in range(config.num_branch)
        )

    def forward(self, x: Tensor, mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        for conv, norm in zip(self.embd, self.embd_norm, strict=True):
            x, mask = conv(x, mask)
            x = F.relu(norm(x))
        for block in self.stem:
            x, mask = block(x, mask)
        levels = [(x, mask)]
        for block in self.branch:
            x, mask = block(x, mask)
            levels.append((x, mask))
        return levels


class Head(nn.Module):
    def __init__(self, config: ActionFormerConfig, name: str, outputs: int) -> None:
        super().__init__()
        width, kernel = config.head_width, config.head_kernel
        depth = config.head_depth - 1
        self.head = nn.ModuleList(
            MaskedConv(width, width, kernel, bias=False) for _ in range(depth)
        )
        self.norm = nn.ModuleList(ChannelNorm(width) for _ in range(depth))
        self.last = name
        setattr(self, name, MaskedConv(width, outputs, kernel))
        self.scale = nn.ModuleList(Scale(()) for _ in config.strides if name == "offset_head")

    def forward(self, levels: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
        found = []
        for number, (x, mask) in enumerate(levels):
            for conv, norm in zip(self.head, self.norm, strict=True):
                x = F.relu(norm(conv(x, mask)[0]))
            x, _ = getattr(self, self.last)(x, mask)
            found.append((F.relu(self.scale[number](x)) if self.scale else x).transpose(1, 2))
        return found


class Neck(nn.Module):
    def __init__(self, config: ActionFormerConfig) -> None:
        super().__init__()
        self.fpn_norms = nn.ModuleList(ChannelNorm(config.head_width) for _ in config.strides)


class PlainActionFormer(nn.Module):
    """The detector with an identity neck; call it with features "b t c" and a mask "b t".

    The length must be divisible by the strides times the half windows.
    """

    def __init__(self, config: ActionFormerConfig) -> None:
        super().__init__()
        self.backbone = Backbone(config)
        self.neck = Neck(config)
        self.cls_head = Head(config, "cls_head", config.num_classes)
        self.reg_head = Head(config, "offset_head", 2)

    def forward(self, features: Tensor, valid: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        mask = valid[:, None]
        levels = self.backbone(features.transpose(1, 2) * mask, mask)
        norms = zip(self.neck.fpn_norms, levels, strict=True)
        levels = [(norm(x), mask) for norm, (x, mask) in norms]
        return self.cls_head(levels), self.reg_head(levels)
