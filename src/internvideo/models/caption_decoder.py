"""The caption decoder of InternVideo-MM: text tokens read a clip and predict the next token.

    video tokens ──► attention pooling to 256 queries ──► V ──────┐ (keys and values)
    text tokens  ──► norm ──► [ self-attention ∥ feed-forward ]   │
                              [ cross attention ∥ feed-forward ] ◄┘  × depth
                         ──► predictor ──► logits of the next token

CoCa's arrangement (arXiv 2205.01917) of PaLM's parallel blocks (arXiv 2204.02311): attention and
feed-forward start from the same normalised input and are added together; all query heads share ONE
key and ONE value head (arXiv 1911.02150), rotary positions (arXiv 2104.09864), SwiGLU (arXiv
2002.05202). Names are those of the official files below `caption_decoder.`.

Letters: b batch, l text positions, n video tokens, q visual queries, d width of the text, c width
of the video, h heads, e channels a head, v vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from internvideo.models.kv_cache import KeyValueCache, causal_attention
from internvideo.models.layers import attention, checkpointable
from internvideo.models.tokenizer import padding_mask

__all__ = ["CaptionDecoder", "CaptionDecoderConfig", "ClipMemory", "caption_loss"]

_IGNORED = -100


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionDecoderConfig:
    """Shape of a `CaptionDecoder`.

    Attributes:
        width: of the text tokens and of the decoder.
        num_heads: query heads; they divide `width`, and `width / num_heads` is even (rotary).
        context_width: of the video tokens.
        vocab_size: number of token ids.
        depth: number of layers.
        num_queries: tokens that a clip is pooled to.
        writes: whether there is a predictor of the next token; without one it only reads.
    """

    width: int = 512
    num_heads: int = 8
    context_width: int = 768
    vocab_size: int = 49408
    depth: int = 4
    num_queries: int = 256
    writes: bool = True

    def __post_init__(self) -> None:
        for name in ("width", "num_heads", "context_width", "vocab_size", "depth", "num_queries"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.width % (2 * self.num_heads):
            raise ValueError(
                f"width {self.width} is not an even number of channels for each of "
                f"{self.num_heads} heads"
            )


@dataclass(frozen=True, slots=True)
class ClipMemory:
    """What the layers read of a batch of clips: one key and one value head each."""

    keys: tuple[Float[Tensor, "b 1 q e"], ...]
    values: tuple[Float[Tensor, "b 1 q e"], ...]

    def reorder(self, rows: Int[Tensor, "r"]) -> ClipMemory:
        """Return the memory of the clips `rows`; rows may repeat."""
        return ClipMemory(
            keys=tuple(each.index_select(0, rows) for each in self.keys),
            values=tuple(each.index_select(0, rows) for each in self.values),
        )


class GammaNorm(nn.Module):
    """LayerNorm with a learnt scale; the shift is a stored constant, zero in practice."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))
        self.beta: Tensor
        self.register_buffer("beta", torch.zeros(width))

    def reset_parameters(self) -> None:
        """Set the scale to one and the shift to zero."""
        nn.init.ones_(self.gamma)
        nn.init.zeros_(self.beta)

    def forward(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Normalise the last axis."""
        return F.layer_norm(x, x.shape[-1:], self.gamma, self.beta)


class SwiGLU(nn.Module):
    """`a · silu(gate)`; the first half of the channels is `a`, the second the gate."""

    def forward(self, x: Float[Tensor, "... f"]) -> Float[Tensor, "... g"]:
        """Halve the channels."""
        value, gate = x.chunk(2, dim=-1)
        return F.silu(gate) * value


class RotaryEmbedding(nn.Module):
    """Rotation of queries and keys by angles that grow with the position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.inv_freq: Tensor
        self.register_buffer("inv_freq", self._frequencies())

    def _frequencies(self) -> Float[Tensor, "f"]:
        return 1.0 / 10000.0 ** (torch.arange(0, self.channels, 2).float() / self.channels)

    def reset_parameters(self) -> None:
        """Set the frequencies, a constant that the official files store."""
        self.inv_freq.copy_(self._frequencies())

    def forward(self, start: int, length: int) -> Float[Tensor, "l e"]:
        """Return the angles of positions `start` … `start + length - 1`, in float32."""
        places = torch.arange(start, start + length, device=self.inv_freq.device)
        angles = places.float()[:, None] * self.inv_freq.float()
        return torch.cat([angles, angles], dim=-1)


def rotate(x: Float[Tensor, "*b l e"], angles: Float[Tensor, "l e"]) -> Float[Tensor, "*b l e"]:
    """Rotate the channel pairs (i, i + e/2) of every position by its angles."""
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return (x * angles.cos() + turned * angles.sin()).to(x.dtype)


class ParallelSelfAttention(nn.Module):
    """Causal self-attention with a feed-forward beside it; one fused projection feeds both."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        channels = width // num_heads
        self.num_heads = num_heads
        self.split = [width, channels, channels, 8 * width]  # queries, key, value, feed-forward
        self.norm = GammaNorm(width)
        self.rotary_emb = RotaryEmbedding(channels)
        self.fused_attn_ff_proj = nn.Linear(width, sum(self.split), bias=False)
        self.attn_out = nn.Linear(width, width, bias=False)
        self.ff_out = nn.Sequential(SwiGLU(), nn.Linear(4 * width, width, bias=False))

    def forward(
        self, x: Float[Tensor, "b l d"], cache: KeyValueCache | None = None
    ) -> Float[Tensor, "b l d"]:
        """Return what is added to `x`."""
        q, k, v, hidden = self.fused_attn_ff_proj(self.norm(x)).split(self.split, dim=-1)
        q = rearrange(q, "b l (h e) -> b h l e", h=self.num_heads)
        angles = self.rotary_emb(cache.length if cache is not None else 0, x.shape[1])
        q, k = rotate(q, angles), rotate(k, angles)
        mixed = causal_attention(q, k[:, None], v[:, None], cache)
        return self.attn_out(rearrange(mixed, "b h l e -> b l (h e)")) + self.ff_out(hidden)


class CrossAttention(nn.Module):
    """Attention to a context through one shared key and value head.

    Args:
        width: of the queries and of the output.
        num_heads: query heads.
        context_width: of the context.
        norm_context: normalise the context.
        feed_forward: put a feed-forward on the same normalised input beside it.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        context_width: int,
        *,
        norm_context: bool = False,
        feed_forward: bool = False,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = GammaNorm(width)
        self.context_norm = GammaNorm(context_width) if norm_context else nn.Identity()
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_kv = nn.Linear(context_width, 2 * (width // num_heads), bias=False)
        self.to_out = nn.Linear(width, width, bias=False)
        self.ff = (
            nn.Sequential(
                nn.Linear(width, 8 * width, bias=False),
                SwiGLU(),
                nn.Linear(4 * width, width, bias=False),
            )
            if feed_forward
            else None
        )

    def keys_values(
        self, context: Float[Tensor, "b n c"]
    ) -> tuple[Float[Tensor, "b 1 n e"], Float[Tensor, "b 1 n e"]]:
        """Return the keys and values of a context."""
        k, v = self.to_kv(self.context_norm(context))[:, None].chunk(2, dim=-1)
        return k, v

    def forward(
        self, x: Float[Tensor, "#b l d"], k: Float[Tensor, "b 1 n e"], v: Float[Tensor, "b 1 n e"]
    ) -> Float[Tensor, "b l d"]:
        """Return what `x` reads from the context (plus the feed-forward of `x`)."""
        x = self.norm(x)
        q = rearrange(self.to_q(x), "b l (h e) -> b h l e", h=self.num_heads)
        shared = (-1, self.num_heads, -1, -1)
        mixed = attention(q.expand(k.shape[0], -1, -1, -1), k.expand(shared), v.expand(shared))
        read = self.to_out(rearrange(mixed, "b h l e -> b l (h e)"))
        return read if self.ff is None else read + self.ff(x)


class Residual(nn.Module):
    """A function whose result is added to its input."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(
        self, x: Float[Tensor, "b l d"], *others: Tensor | KeyValueCache | None
    ) -> Float[Tensor, "b l d"]:
        """Return `x + fn(x, …)`."""
        return x + self.fn(x, *others)


class CaptionLayer(nn.ModuleList):
    """Self-attention, then cross attention to the clip; each with its feed-forward, residual."""

    activation_checkpointing = False

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__(
            [
                Residual(ParallelSelfAttention(width, num_heads)),
                Residual(CrossAttention(width, num_heads, width, feed_forward=True)),
            ]
        )

    @property
    def cross_attention(self) -> CrossAttention:
        """The attention to the clip."""
        return self[1].fn  # type: ignore[union-attr,return-value]

    @checkpointable
    def forward(
        self,
        x: Float[Tensor, "b l d"],
        k: Float[Tensor, "b 1 q e"],
        v: Float[Tensor, "b 1 q e"],
        cache: KeyValueCache | None = None,
    ) -> Float[Tensor, "b l d"]:
        """Return the text tokens after the layer."""
        return self[1](self[0](x, cache), k, v)


class CaptionDecoder(nn.Module):
    """Predicts the next token of a text about a clip.

    Args:
        config: the shape.
    """

    def __init__(self, config: CaptionDecoderConfig) -> None:
        super().__init__()
        self.config = config
        width, heads = config.width, config.num_heads
        self.visual_queries = nn.Parameter(torch.empty(config.num_queries, width))
        self.visual_attn_pooler = CrossAttention(
            width, heads, config.context_width, norm_context=True
        )
        self.visual_pooler_norm = nn.LayerNorm(width)
        self.text_norm = nn.LayerNorm(width)
        self.multimodal_layers = nn.ModuleList(
            CaptionLayer(width, heads) for _ in range(config.depth)
        )
        self.predictor = (
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, width),
                nn.GELU(),
                nn.LayerNorm(width),
                nn.Linear(width, config.vocab_size),
            )
            if config.writes
            else nn.Identity()
        )
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw all weights as the reference does: linear layers from N(0, 0.02²)."""
        nn.init.normal_(self.visual_queries, std=self.config.width**-0.5)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm | GammaNorm | RotaryEmbedding):
                module.reset_parameters()

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the layers: the units to checkpoint, compile or shard."""
        yield from self.multimodal_layers

    def pool(self, video: Float[Tensor, "b n c"]) -> Float[Tensor, "b q d"]:
        """Pool the tokens of clips, in any order, to the visual queries."""
        keys_values = self.visual_attn_pooler.keys_values(video)
        pooled = self.visual_attn_pooler(self.visual_queries[None], *keys_values)
        return self.visual_pooler_norm(pooled)

    def read(self, video: Float[Tensor, "b n c"]) -> ClipMemory:
        """Return what all layers read of the clips; it serves any number of texts about them."""
        pooled = self.pool(video)
        pairs = [
            layer.cross_attention.keys_values(pooled)  # type: ignore[operator]
            for layer in self.multimodal_layers
        ]
        return ClipMemory(keys=tuple(k for k, _ in pairs), values=tuple(v for _, v in pairs))

    def decode(
        self,
        text: Float[Tensor, "b l d"],
        memory: ClipMemory,
        caches: Sequence[KeyValueCache] | None = None,
    ) -> Float[Tensor, "b l d"]:
        """Return the text tokens after all layers, before the predictor.

        Args:
            text: tokens of the text tower after its `ln_final`.
            memory: of the clips, from `read`.
            caches: one a layer, with the positions before `text`; they are extended.
        """
        x = self.text_norm(text)
        for index, layer in enumerate(self.multimodal_layers):
            cache = None if caches is None else caches[index]
            x = layer(x, memory.keys[index], memory.values[index], cache)
        return x

    def forward(
        self, text: Float[Tensor, "b l d"], video: Float[Tensor, "b n c"]
    ) -> Float[Tensor, "b l v"]:
        """Return the logits of the token that follows each position."""
        return self.predictor(self.decode(text, self.read(video)))


def caption_loss(logits: Float[Tensor, "b k v"], ids: Int[Tensor, "b l"]) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of the next token over all words and end tokens of a batch.

    Args:
        logits: of the tokens after positions 0 … l-2, so `k = l - 1`.
        ids: the texts; padding behind the end token does not count.
    """
    targets = ids[:, 1:].masked_fill(padding_mask(ids)[:, 1:], _IGNORED).long()
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=_IGNORED)
