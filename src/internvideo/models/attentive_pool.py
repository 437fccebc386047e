"""One vector from many tokens: a learned question that looks at all of them.

    tokens ──► LayerNorm ──► keys, values ─┐
    learned query ─────────────────────────┴──► attention ──► linear ──► one vector

Shapes: b batch, n tokens, d width, h heads.
"""

from __future__ import annotations

from functools import partial

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.models.layers import attention, init_module

__all__ = ["AttentivePool"]


class AttentivePool(nn.Module):
    """Cross-attention of one learned query over the tokens.

    Where the mean weighs all places alike, the query finds those that matter.

    Args:
        width: of the tokens and of the result.
        num_heads: heads; each has `width // num_heads` channels.
        norm_eps: of the LayerNorm.
    """

    def __init__(self, width: int, num_heads: int, *, norm_eps: float = 1e-6) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"width {width} is not divisible by num_heads {num_heads}")
        self.num_heads = num_heads
        self.query = nn.Parameter(torch.empty(1, 1, width))
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.apply(partial(init_module, linear=partial(nn.init.trunc_normal_, std=0.02)))
        nn.init.trunc_normal_(self.query, std=0.02)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b d"]:
        """Pool the tokens of each clip."""
        kv = rearrange(
            self.kv(self.norm(tokens)), "b n (k h d) -> k b h n d", k=2, h=self.num_heads
        )
        keys, values = kv.unbind(0)
        query = repeat(self.query, "1 1 (h d) -> b h 1 d", b=len(tokens), h=self.num_heads)
        pooled = attention(query.to(keys.dtype), keys, values)
        return self.proj(rearrange(pooled, "b h 1 d -> b (h d)"))
