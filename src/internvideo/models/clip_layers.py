"""The residual block of CLIP, for its text tower and the video towers grown from its image tower.

Pre-norm: `x + attn(ln_1(x))`, then `x + mlp(ln_2(x))` with QuickGELU (open_clip also trained towers
with the exact GELU). Attribute names are those of
the OpenAI checkpoints (`attn.in_proj_weight`, `attn.out_proj`, `mlp.c_fc`, …), so these files load
by equal names. Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural
Language Supervision".

Letters: B batch, N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from internvideo.models.kv_cache import KeyValueCache, causal_attention
from internvideo.models.layers import (
    DropPath,
    DropPathAxis,
    attention,
    checkpointable,
    drop_path_rates,
)

__all__ = [
    "Activation",
    "CLIPAttention",
    "CLIPBlock",
    "CLIPLayerNorm",
    "CLIPMlp",
    "CLIPTransformer",
    "quick_gelu",
]


Activation = Literal["quick-gelu", "gelu"]

_QUICK_GELU = 1.702
_NORM_EPS = 1e-5


def quick_gelu(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return `x · sigmoid(1.702 x)`, the activation of OpenAI's CLIP and of all models from it."""
    return x * torch.sigmoid(_QUICK_GELU * x)


def _scaled_linear(
    linear: nn.Linear, x: Float[Tensor, "*b i"], scale: float, *, scale_bias: bool = True
) -> Float[Tensor, "*b o"]:
    """Return `scale · (W x + b)`, or `scale · W x + b` without `scale_bias`."""
    bias = linear.bias * scale if scale_bias else linear.bias
    y = torch.addmm(bias, x.flatten(0, -2), linear.weight.t(), alpha=scale)
    return y.unflatten(0, x.shape[:-1])


class CLIPLayerNorm(nn.LayerNorm):
    """Layer norm computed in float32 whatever the dtype of the input, and cast back to it."""

    def forward(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Normalise the last axis; the result has the dtype of `x`."""
        normalised = F.layer_norm(
            x.float(), self.normalized_shape, self.weight.float(), self.bias.float(), self.eps
        )
        return normalised.to(x.dtype)


class CLIPAttention(nn.Module):
    """Multi-head self-attention with the packed projection of CLIP (rows q, k, v in this order)."""

    def __init__(self, width: int, num_heads: int, *, causal: bool = False):
        super().__init__()
        self.num_heads = num_heads
        self.causal = causal
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "*b n d"],
        cache: KeyValueCache | None = None,
        seen: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "*b n d"]:
        """Mix the tokens; if `causal`, each sees itself and earlier ones (also cached) only.

        Otherwise each sees those that are `seen`; None: all.
        """
        packed = F.linear(x, self.in_proj_weight, self.in_proj_bias).flatten(0, -3)
        q, k, v = rearrange(packed, "b n (p h d) -> p b h n d", p=3, h=self.num_heads).unbind(0)
        if self.causal:
            mixed = causal_attention(q, k, v, cache)
        else:
            mixed = attention(q, k, v, mask=None if seen is None else seen[:, None, None])
        return self.out_proj(rearrange(mixed, "b h n d -> b n (h d)").view(x.shape))


class CLIPMlp(nn.Module):
    """Width → hidden (4 × width) → width with the activation, then dropout, between."""

    def __init__(
        self,
        width: int,
        *,
        hidden: int | None = None,
        drop_rate: float = 0.0,
        activation: Activation = "quick-gelu",
    ):
        super().__init__()
        self.activation = activation
        hidden = 4 * width if hidden is None else hidden
        self.c_fc = nn.Linear(width, hidden)
        self.c_proj = nn.Linear(hidden, width)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """Transform every token on its own."""
        if self.activation == "gelu":
            return self.c_proj(self.drop(F.gelu(self.c_fc(x))))
        # x·sigmoid(a·x) = silu(a·x) / a. Matrix products scale for free, and what is left is one
        # pass over the hidden values where the formula as written has three.
        hidden = _scaled_linear(self.c_fc, x, _QUICK_GELU)
        hidden = F.silu(hidden, inplace=not torch.is_grad_enabled())
        return _scaled_linear(self.c_proj, self.drop(hidden), 1 / _QUICK_GELU, scale_bias=False)


class CLIPBlock(nn.Module):
    """One pre-norm residual block; `drop_path` is the chance to skip a branch in training.

    What a skipped branch is, `drop_path_axis` says, see `DropPath`.
    """

    activation_checkpointing = False

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        causal: bool = False,
        drop_path: float = 0.0,
        activation: Activation = "quick-gelu",
        drop_path_axis: DropPathAxis = "clips",
        norm_eps: float = _NORM_EPS,
    ):
        super().__init__()
        self.attn = CLIPAttention(width, num_heads, causal=causal)
        self.ln_1 = CLIPLayerNorm(width, norm_eps)
        self.mlp = CLIPMlp(width, activation=activation)
        self.ln_2 = CLIPLayerNorm(width, norm_eps)
        self.drop_path = DropPath(drop_path, drop_path_axis)

    @checkpointable
    def forward(
        self,
        x: Float[Tensor, "*b n d"],
        cache: KeyValueCache | None = None,
        seen: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "*b n d"]:
        """Return the tokens after attention and feed-forward; see `CLIPAttention`."""
        x = x + self.drop_path(self.attn(self.ln_1(x), cache, seen))
        return x + self.drop_path(self.mlp(self.ln_2(x)))

    def reset_parameters(self, *, depth: int) -> None:
        """Initialise as in a CLIP of `depth` blocks; biases are zero."""
        width = self.attn.out_proj.in_features
        output_std = (width * 2 * depth) ** -0.5
        nn.init.normal_(self.attn.in_proj_weight, std=width**-0.5)
        nn.init.normal_(self.attn.out_proj.weight, std=output_std)
        nn.init.normal_(self.mlp.c_fc.weight, std=(2 * width) ** -0.5)
        nn.init.normal_(self.mlp.c_proj.weight, std=output_std)
        nn.init.zeros_(self.attn.in_proj_bias)
        for linear in (self.attn.out_proj, self.mlp.c_fc, self.mlp.c_proj):
            nn.init.zeros_(linear.bias)
        self.ln_1.reset_parameters()
        self.ln_2.reset_parameters()


class CLIPTransformer(nn.Module):
    """A stack of `depth` blocks with drop path rising linearly from 0 to `drop_path_rate`."""

    def __init__(
        self,
        width: int,
        depth: int,
        num_heads: int,
        *,
        causal: bool = False,
        drop_path_rate: float = 0.0,
        activation: Activation = "quick-gelu",
        drop_path_axis: DropPathAxis = "clips",
        norm_eps: float = _NORM_EPS,
    ):
        super().__init__()
        self.resblocks = nn.ModuleList(
            CLIPBlock(
                width,
                num_heads,
                causal=causal,
                drop_path=rate,
                activation=activation,
                drop_path_axis=drop_path_axis,
                norm_eps=norm_eps,
            )
            for rate in drop_path_rates(drop_path_rate, depth)
        )

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        caches: Sequence[KeyValueCache] | None = None,
        *,
        seen: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        """Run all blocks; `caches` (causal only, one a block) hold the tokens before `x`."""
        for index, block in enumerate(self.resblocks):
            x = block(x, None, seen) if caches is None else block(x, caches[index])
        return x

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks, for checkpointing, compilation and sharding from outside."""
        yield from self.resblocks

    def reset_parameters(self) -> None:
        """Initialise as CLIP does: what a block adds shrinks with the number of blocks."""
        for block in self.resblocks.modules():
            if isinstance(block, CLIPBlock):
                block.reset_parameters(depth=len(self.resblocks))
