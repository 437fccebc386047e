"""The layers that all transformers here share: attention, MLP, drop path, the pre-norm block.

Shapes: b batch, h heads, n tokens (queries), m tokens (keys), d width (of one head inside
`attention`). The block and its names are those of VideoMAE (Tong et al., 2022), whose ViT comes
from BEiT: the query and the value have a bias, the key has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, get_args, runtime_checkable

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

__all__ = [
    "Block",
    "BlockChanges",
    "DropPath",
    "DropPathAxis",
    "Mlp",
    "SplitBiasAttention",
    "attention",
    "checkpoint_blocks",
    "checkpointable",
    "drop_path_rates",
    "init_module",
    "run_blocks",
]

DropPathAxis: TypeAlias = Literal["clips", "positions"]

# The reference clamps the logarithm of the cosine temperature here: a factor of at most 100.
_MAX_LOG_SCALE = 4.6052


def attention(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h m d"],
    v: Float[Tensor, "b h m e"],
    *,
    mask: Bool[Tensor, "*#bhnm"] | Float[Tensor, "*#bhnm"] | None = None,
    dropout: float = 0.0,
    scale: float | None = None,
    is_causal: bool = False,
) -> Float[Tensor, "b h n e"]:
    """Attend with `softmax(scale · q kᵀ + mask) v`; the one attention of the library.

    Args:
        q: queries.
        k: keys.
        v: values.
        mask: True = may attend, or a float added to the logits; broadcast to `b h n m`.
        dropout: probability of dropping a weight; pass 0 outside training.
        scale: factor of the logits; None means `d ** -0.5`.
        is_causal: let query i see keys 0..i only.
    """
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout, scale=scale, is_causal=is_causal
    )


class SplitBiasAttention(nn.Module):
    """Self-attention with one projection for q, k, v and a bias for q and v only.

    COMPAT: the key bias is a constant zero and is not stored; every VideoMAE file has `q_bias` and
    `v_bias` beside a bias-free `qkv.weight`. Pinned by the golden family `videomae-finetune`.

    Args:
        width: of the tokens.
        num_heads: heads; each has `width // num_heads` channels.
        cosine: compare directions, with a learnt temperature a head (`scale`, kept in logarithm).
        attention_drop_rate: dropout of the attention weights.
        drop_rate: dropout of the output.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        cosine: bool = False,
        attention_drop_rate: float = 0.0,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_drop_rate = attention_drop_rate
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.scale = nn.Parameter(torch.full((num_heads, 1, 1), math.log(10))) if cosine else None
        self.proj = nn.Linear(width, width)
        self.drop = nn.Dropout(drop_rate)

    def forward(
        self, x: Float[Tensor, "b n d"], num_last: int | None = None
    ) -> Float[Tensor, "b m d"]:
        """Mix the tokens; `d` is the width. With `num_last` only the last m get an answer."""
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = F.linear(x, self.qkv.weight, bias)
        q, k, v = rearrange(qkv, "b n (k h d) -> k b h n d", k=3, h=self.num_heads).unbind(0)
        if num_last is not None:
            q = q[:, :, -num_last:]
        scale = None
        if self.scale is not None:
            temperature = self.scale.clamp(max=_MAX_LOG_SCALE).exp()
            q = (F.normalize(q, dim=-1) * temperature).to(v.dtype)
            k = F.normalize(k, dim=-1).to(v.dtype)
            scale = 1.0
        dropout = self.attention_drop_rate if self.training else 0.0
        x = attention(q, k, v, dropout=dropout, scale=scale)
        return self.drop(self.proj(rearrange(x, "b h n d -> b n (h d)")))


class Mlp(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, width: int, hidden: int, *, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """Apply the layers to each token alone."""
        return self.drop(self.fc2(F.gelu(self.fc1(x))))


class DropPath(nn.Module):
    """Stochastic depth: drop parts of a residual branch while training.

    A surviving part is divided by the probability of survival, so the expectation stays.

    COMPAT: UniFormerV2 and ViCLIP were trained with "positions": their sequences have the tokens
    first, where the drop path that they import expects the batch.

    Args:
        rate: probability of being dropped.
        axis: "clips" drops the branch of whole clips, each alone; "positions" that of single
            tokens, the same ones in all clips: of one token that is the branch of the whole batch.

    Raises:
        ValueError: an unknown axis.
    """

    def __init__(self, rate: float = 0.0, axis: DropPathAxis = "clips") -> None:
        super().__init__()
        if axis not in get_args(DropPathAxis):
            raise ValueError(f"drop_path_axis {axis!r} is not 'clips' or 'positions'")
        self.rate = rate
        self.axis = axis

    def forward(self, x: Float[Tensor, "b *n d"]) -> Float[Tensor, "b *n d"]:
        """Drop parts of `x` with probability `rate` (training only)."""
        if not self.training or self.rate == 0.0:
            return x
        keep, shape = 1.0 - self.rate, [1] * x.ndim
        dropped = 0 if self.axis == "clips" else -2
        shape[dropped] = x.shape[dropped]
        return x * x.new_empty(shape).bernoulli_(keep) / keep

    def extra_repr(self) -> str:
        """Show the rate and the axis in `print(model)`."""
        return f"rate={self.rate:g}, axis={self.axis!r}"


_Forward = TypeVar("_Forward", bound=Callable[..., Tensor])


def checkpointable(forward: _Forward) -> _Forward:
    """Decorate the `forward` of a block so that `checkpoint_blocks` can switch recomputing on."""

    @wraps(forward)
    def recomputed(self: nn.Module, *args: Any) -> Tensor:
        if getattr(self, "activation_checkpointing", False) and torch.is_grad_enabled():
            return checkpoint(forward, self, *args, use_reentrant=False)
        return forward(self, *args)

    return recomputed  # type: ignore[return-value]


@runtime_checkable
class _HasBlocks(Protocol):
    def block_modules(self) -> Iterator[nn.Module]: ...


def checkpoint_blocks(model: _HasBlocks, *, enabled: bool = True) -> None:
    """Keep only the inputs of the model's blocks for the backward pass and recompute the rest.

    Costs one more forward pass, saves most of the activation memory; the numbers do not change.
    """
    for block in model.block_modules():
        block.activation_checkpointing = enabled  # type: ignore[assignment]


class Block(nn.Module):
    """Pre-norm transformer block: `x + γ₁ attn(norm x)`, then `x + γ₂ mlp(norm x)`.

    Args:
        width: of the tokens.
        num_heads: attention heads.
        mlp_hidden: width inside the MLP.
        norm_eps: epsilon of both LayerNorms.
        init_values: start value of the layer scale γ; 0 means that there is none.
        cosine: cosine attention.
        drop_rate: dropout after the attention projection and after the MLP.
        attention_drop_rate: dropout of the attention weights.
        drop_path_rate: stochastic depth of both branches.
    """

    activation_checkpointing = False

    def __init__(
        self,
        width: int,
        num_heads: int,
        mlp_hidden: int,
        *,
        norm_eps: float = 1e-6,
        init_values: float = 0.0,
        cosine: bool = False,
        drop_rate: float = 0.0,
        attention_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.init_values = init_values
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attn = SplitBiasAttention(
            width,
            num_heads,
            cosine=cosine,
            attention_drop_rate=attention_drop_rate,
            drop_rate=drop_rate,
        )
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = Mlp(width, mlp_hidden, drop_rate=drop_rate)
        self.drop_path = DropPath(drop_path_rate)
        scaled = init_values > 0
        self.gamma_1 = nn.Parameter(torch.full((width,), init_values)) if scaled else None
        self.gamma_2 = nn.Parameter(torch.full((width,), init_values)) if scaled else None

    @checkpointable
    def forward(
        self, x: Float[Tensor, "b n d"], num_last: int | None = None
    ) -> Float[Tensor, "b m d"]:
        """Return the tokens after attention and MLP; with `num_last` only the last m of them.

        The others still serve as keys and values, so the numbers are those of the whole.
        """
        mixed = self.drop_path(_scaled(self.attn(self.norm1(x), num_last), self.gamma_1))
        x = (x if num_last is None else x[:, -num_last:]) + mixed
        return x + self.drop_path(_scaled(self.mlp(self.norm2(x)), self.gamma_2))


BlockChanges: TypeAlias = Mapping[int, Callable[[Tensor], Tensor]]
"""By number of a block, what its tokens go through before the next one; "b n d" to "b n d"."""


def run_blocks(
    blocks: Iterable[nn.Module],
    x: Float[Tensor, "b n d"],
    layers: Sequence[int] = (),
    *,
    changes: BlockChanges | None = None,
) -> tuple[Float[Tensor, "b n d"], tuple[Float[Tensor, "b n d"], ...]]:
    """Return the tokens after the last block, and after each of `layers`.

    Args:
        blocks: called one after the other.
        x: tokens in front of the first.
        layers: numbers of blocks; negative ones count from the end.
        changes: what is put behind blocks.

    Raises:
        IndexError: a block that there is not.
    """
    blocks = list(blocks)
    wanted = [range(len(blocks))[layer] for layer in layers]
    outputs: dict[int, Tensor] = {}
    for index, block in enumerate(blocks):
        x = block(x)
        if changes and index in changes:
            x = changes[index](x)
        if index in wanted:
            outputs[index] = x
    return x, tuple(outputs[index] for index in wanted)


def _scaled(x: Tensor, gamma: Tensor | None) -> Tensor:
    return x if gamma is None else x * gamma


def drop_path_rates(rate: float, depth: int) -> list[float]:
    """Return the rate of each block: from 0 at the first to `rate` at the last, linearly."""
    return [rate * index / max(depth - 1, 1) for index in range(depth)]


def init_module(module: nn.Module, *, linear: Callable[[Tensor], Tensor]) -> None:
    """Initialise the parameters that `module` itself holds (not those of its children).

    Linear weights by `linear`, all biases 0, norms 1 and 0, layer scale and cosine temperature at
    their start values; convolutions keep the default of PyTorch.
    """
    match module:
        case nn.Linear():
            linear(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        case SplitBiasAttention():
            nn.init.zeros_(module.q_bias)
            nn.init.zeros_(module.v_bias)
            if module.scale is not None:
                nn.init.constant_(module.scale, math.log(10))
        case Block() if module.gamma_1 is not None and module.gamma_2 is not None:
            nn.init.constant_(module.gamma_1, module.init_values)
            nn.init.constant_(module.gamma_2, module.init_values)
        case nn.LayerNorm() | nn.BatchNorm2d() | nn.Conv2d() | nn.Conv3d():
            module.reset_parameters()
