"""The parts of UniFormerV2 that CLIP does not have (arXiv 2211.09552, section 3).

Letters: b batch, t time steps, (h, w) rows and columns of patches, n = 1 + h·w tokens of a frame
with the class token first, d width, r channels inside a local relation aggregator; m queries and k
keys of a global block.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.models.clip_layers import CLIPBlock, CLIPMlp
from internvideo.models.layers import DropPath, DropPathAxis, checkpointable

__all__ = ["GlobalUniBlock", "LocalMHRA", "LocalUniBlock", "PositionalConv"]


class LocalMHRA(nn.Module):
    """Local relation aggregator: each place looks at the frame before and the one after.

    BatchNorm, linear to r channels, a filter of three steps in time for each channel, linear back;
    no activation. The weights have the shapes of 3-D convolutions, as in the files.

    Args:
        width: of the tokens.
        channels: r.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.pos_embed = nn.Sequential(
            nn.BatchNorm3d(width),
            nn.Conv3d(width, channels, kernel_size=1),
            nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0), groups=channels),
            nn.Conv3d(channels, width, kernel_size=1),
        )

    def reset_parameters(self) -> None:
        """Draw the weights anew; the last layer is zero, so that nothing is added at first."""
        layers: tuple[Any, ...] = tuple(self.pos_embed)
        for layer in layers:
            layer.reset_parameters()
        nn.init.zeros_(layers[3].weight)
        nn.init.zeros_(layers[3].bias)

    def forward(self, x: Float[Tensor, "b t p d"]) -> Float[Tensor, "b t p d"]:
        """Return what is to be added to the tokens of p places."""
        layers: tuple[Any, ...] = tuple(self.pos_embed)
        norm, reduce, temporal, expand = layers
        x = _batch_norm(norm, x)
        x = F.linear(x, reduce.weight.flatten(1), reduce.bias)
        before, here, after = temporal.weight.flatten(1).unbind(1)
        mixed = torch.addcmul(temporal.bias, x, here)
        mixed = mixed + F.pad(x[:, :-1] * before, (0, 0, 0, 0, 1, 0))
        mixed = mixed + F.pad(x[:, 1:] * after, (0, 0, 0, 0, 0, 1))
        return F.linear(mixed, expand.weight.flatten(1), expand.bias)


def _batch_norm(norm: nn.BatchNorm3d, x: Float[Tensor, "b t p d"]) -> Float[Tensor, "b t p d"]:
    """Apply a BatchNorm over the last axis; all others are its batch."""
    return norm(x.flatten(0, 2)[..., None, None, None]).reshape(x.shape)


class LocalUniBlock(CLIPBlock):
    """A block of CLIP with a local relation aggregator before the attention, and before the MLP.

    Args:
        width: of the tokens.
        num_heads: attention heads.
        local_channels: channels inside the aggregators.
        double: whether there is one before the MLP too.
        drop_path: chance to skip a branch in training.
        drop_path_axis: of attention and MLP, see `DropPath`; local relations are always skipped for
            whole clips.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        local_channels: int,
        *,
        double: bool,
        drop_path: float = 0.0,
        drop_path_axis: DropPathAxis = "clips",
    ) -> None:
        super().__init__(width, num_heads, drop_path=drop_path, drop_path_axis=drop_path_axis)
        self.local_drop_path = DropPath(drop_path)
        self.lmhra1 = LocalMHRA(width, local_channels)
        self.lmhra2 = LocalMHRA(width, local_channels) if double else None

    def forward(self, x: Float[Tensor, "b t n d"]) -> Float[Tensor, "b t n d"]:  # type: ignore[override]
        """Return the tokens after local relations, attention within each frame, and MLP."""
        x = self._attended(self._related(x, self.lmhra1))
        if self.lmhra2 is not None:
            x = self._related(x, self.lmhra2)
        return self._transformed(x)

    def _related(self, x: Tensor, relate: LocalMHRA) -> Tensor:
        """Add local relations to the patches; a class token has no place, it stays."""
        patches = x[:, :, 1:]
        return torch.cat([x[:, :, :1], patches + self.local_drop_path(relate(patches))], dim=2)

    # Recomputed alone: the statistics of a BatchNorm must not be updated twice a step.
    @checkpointable
    def _attended(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.attn(self.ln_1(x)))

    @checkpointable
    def _transformed(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.mlp(self.ln_2(x)))

    def reset_parameters(self, *, depth: int) -> None:
        """Initialise as in a CLIP of `depth` blocks; the local relations add nothing at first."""
        super().reset_parameters(depth=depth)
        for relate in (self.lmhra1, self.lmhra2):
            if relate is not None:
                relate.reset_parameters()


class PositionalConv(nn.Conv3d):
    """Depth-wise 3x3x3 convolution over the patches of a clip: positions out of the content.

    It is computed as one image convolution a tap in time, because image convolutions have fast
    kernels on every device: a third of the time on a CPU, most of it saved in the copies.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, width, kernel_size=3, padding=1, groups=width)

    def reset_parameters(self) -> None:
        """Draw the weights anew; the bias is zero."""
        super().reset_parameters()
        nn.init.zeros_(self.bias)  # type: ignore[arg-type]

    def forward(  # type: ignore[override]
        self, x: Float[Tensor, "b t n d"], grid: tuple[int, int]
    ) -> Float[Tensor, "b t n d"]:
        """Return the tokens with the convolved patches added; class tokens stay.

        Args:
            x: tokens of the frames.
            grid: rows and columns of patches of a frame.
        """
        b, t = x.shape[:2]
        frames = rearrange(x[:, :, 1:], "b t (h w) d -> (b t) d h w", h=grid[0], w=grid[1])

        def convolved(tap: int, bias: Tensor | None = None) -> Tensor:
            y = F.conv2d(frames, self.weight[:, :, tap], bias, padding=1, groups=self.groups)
            return rearrange(y, "(b t) d h w -> b t (h w) d", b=b, t=t)

        y = x[:, :, 1:] + convolved(1, self.bias)
        y = y + F.pad(convolved(0)[:, :-1], (0, 0, 0, 0, 1, 0))
        y = y + F.pad(convolved(2)[:, 1:], (0, 0, 0, 0, 0, 1))
        return torch.cat([x[:, :, :1], y], dim=2)


class _CrossAttention(nn.Module):
    """Attention of few queries to many keys, without projecting the keys.

    A head's logit is `(W_k y + b_k)·q = y·(W_kᵀ q)` plus a number that is the same for all keys and
    so is nothing to the softmax; its answer is `W_v (Σ a y) + b_v`, as the weights a sum to 1. With
    m queries of h heads that is m·h vectors of width d in place of 2·k: the same numbers.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "b m d"], y: Float[Tensor, "b k d"]
    ) -> Float[Tensor, "b m d"]:
        """Let the queries `x` attend to `y`."""
        heads = self.num_heads
        to_query, to_key, to_value = self.in_proj_weight.chunk(3)
        query_bias, _, value_bias = self.in_proj_bias.chunk(3)
        q = F.linear(x, to_query, query_bias) * (x.shape[-1] // heads) ** -0.5
        q = rearrange(q, "b m (h e) -> h (b m) e", h=heads)
        q = torch.bmm(q, rearrange(to_key, "(h e) d -> h e d", h=heads))
        q = rearrange(q, "h (b m) d -> b (m h) d", b=x.shape[0])
        weights = torch.bmm(q, y.transpose(1, 2)).softmax(dim=-1)
        pooled = rearrange(torch.bmm(weights, y), "b (m h) d -> h (b m) d", h=heads)
        answer = torch.bmm(pooled, rearrange(to_value, "(h e) d -> h d e", h=heads))
        answer = rearrange(answer, "h (b m) e -> b m (h e)", b=x.shape[0])
        return self.out_proj(answer + value_bias)


class GlobalUniBlock(nn.Module):
    """Cross attention of the video token to the tokens of all frames, then an MLP; pre-norm.

    Args:
        width: of the tokens.
        num_heads: attention heads.
        mlp_hidden: width inside the MLP.
        drop_rate: dropout inside the MLP.
        drop_path: chance to skip a branch in training.
        drop_path_axis: see `DropPath`; there is one video token, so by "positions" all clips of the
            batch skip a branch or none.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        mlp_hidden: int,
        *,
        drop_rate: float = 0.0,
        drop_path: float = 0.0,
        drop_path_axis: DropPathAxis = "clips",
    ) -> None:
        super().__init__()
        self.attn = _CrossAttention(width, num_heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = CLIPMlp(width, hidden=mlp_hidden, drop_rate=drop_rate)
        self.ln_2 = nn.LayerNorm(width)
        self.ln_3 = nn.LayerNorm(width)
        self.drop_path = DropPath(drop_path, drop_path_axis)

    def forward(
        self, x: Float[Tensor, "b m d"], y: Float[Tensor, "b k d"]
    ) -> Float[Tensor, "b m d"]:
        """Return the queries `x` after they have looked at `y`."""
        x = x + self.drop_path(self.attn(self.ln_1(x), self.ln_3(y)))
        return x + self.drop_path(self.mlp(self.ln_2(x)))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the weights anew; both branches end in zeros, so that the block is the identity."""
        nn.init.xavier_uniform_(self.attn.in_proj_weight)
        nn.init.zeros_(self.attn.in_proj_bias)
        self.mlp.c_fc.reset_parameters()
        nn.init.xavier_uniform_(self.mlp.c_fc.weight)
        for linear in (self.attn.out_proj, self.mlp.c_proj):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        for norm in (self.ln_1, self.ln_2, self.ln_3):
            norm.reset_parameters()
