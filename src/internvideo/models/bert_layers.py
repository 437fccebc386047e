"""The layers of BERT, of which the upper ones also look at a video (Devlin et al. 2018).

Post-norm: every branch ends in `LayerNorm(x + branch)`. Names are those of the BERT files.

Letters: b batch, l text length, n tokens of a source, d text width, k width of the source, e width
inside the feed-forward, v vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from internvideo.models.layers import attention, checkpointable

__all__ = [
    "BertAttention",
    "BertConfig",
    "BertEmbeddings",
    "BertIntermediate",
    "BertLayer",
    "BertPredictions",
    "BertProjections",
    "BertResidual",
]

_NUM_SEGMENTS = 2  # BERT's sentence A and B; captions are all A


@dataclass(frozen=True, kw_only=True, slots=True)
class BertConfig:
    """Shape of a `BertFusionEncoder`.

    Attributes:
        vocab_size: number of token ids; id 0 is the padding.
        max_positions: the longest text in tokens.
        width: of the text tokens.
        depth: number of layers.
        num_heads: attention heads; they divide `width`.
        mlp_hidden: width inside the feed-forward.
        fusion_layer: the first layer that looks at the video; `depth` where none does.
        vision_width: width of the video tokens.
        masked_lm: whether there is a head that predicts hidden words.
        norm_eps: epsilon of every LayerNorm.
        drop_rate: dropout of the embeddings and of every residual branch.
        attention_drop_rate: dropout of the attention weights.
    """

    vocab_size: int = 30522
    max_positions: int = 512
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_hidden: int = 3072
    fusion_layer: int = 9
    vision_width: int = 768
    masked_lm: bool = True
    norm_eps: float = 1e-12
    drop_rate: float = 0.1
    attention_drop_rate: float = 0.1

    def __post_init__(self) -> None:
        for name in ("vocab_size", "max_positions", "width", "depth", "num_heads", "mlp_hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}")
        if not 0 < self.fusion_layer <= self.depth:
            raise ValueError(
                f"fusion_layer {self.fusion_layer} must leave layers below it: 1 to {self.depth}, "
                "which is a text encoder alone"
            )


class BertProjections(nn.Module):
    """Queries from the text, keys and values from a source, and multi-head attention of them."""

    def __init__(self, config: BertConfig, source_width: int) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.drop_rate = config.attention_drop_rate
        self.query = nn.Linear(config.width, config.width)
        self.key = nn.Linear(source_width, config.width)
        self.value = nn.Linear(source_width, config.width)

    def forward(
        self,
        x: Float[Tensor, "b l d"],
        source: Float[Tensor, "b n k"],
        mask: Float[Tensor, "#b 1 #l n"] | None,
    ) -> Float[Tensor, "b l d"]:
        """Attend to the source; heads side by side."""
        q, k, v = (
            rearrange(each, "b n (h d) -> b h n d", h=self.num_heads)
            for each in (self.query(x), self.key(source), self.value(source))
        )
        if mask is not None:
            mask = mask.to(q.dtype)
        mixed = attention(q, k, v, mask=mask, dropout=self.drop_rate if self.training else 0.0)
        return rearrange(mixed, "b h n d -> b n (h d)")


class BertResidual(nn.Module):
    """End of a branch: `norm(x + drop(dense(branch)))`."""

    def __init__(self, config: BertConfig, hidden: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, config.width)
        self.LayerNorm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.dropout = nn.Dropout(config.drop_rate)

    def forward(
        self, branch: Float[Tensor, "b l e"], x: Float[Tensor, "b l d"]
    ) -> Float[Tensor, "b l d"]:
        """Return the normed sum of `x` and what the branch found."""
        return self.LayerNorm(x + self.dropout(self.dense(branch)))


class BertAttention(nn.Module):
    """Attention to the text itself, or to a source of another width, and its residual."""

    def __init__(self, config: BertConfig, source_width: int) -> None:
        super().__init__()
        self.self = BertProjections(config, source_width)
        self.output = BertResidual(config, config.width)

    def forward(
        self,
        x: Float[Tensor, "b l d"],
        source: Float[Tensor, "b n k"],
        mask: Float[Tensor, "#b 1 #l n"] | None = None,
    ) -> Float[Tensor, "b l d"]:
        """Attend to the source, and add that to `x`."""
        return self.output(self.self(x, source, mask), x)


class BertIntermediate(nn.Module):
    """First half of the feed-forward: a wider layer and the exact GELU."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.width, config.mlp_hidden)

    def forward(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l e"]:
        """Return the wider activations."""
        return F.gelu(self.dense(x))


class BertLayer(nn.Module):
    """One layer: self-attention, in the upper layers attention to the video, feed-forward."""

    activation_checkpointing = False

    def __init__(self, config: BertConfig, *, fusion: bool) -> None:
        super().__init__()
        self.attention = BertAttention(config, config.width)
        self.crossattention = BertAttention(config, config.vision_width) if fusion else None
        self.intermediate = BertIntermediate(config)
        self.output = BertResidual(config, config.mlp_hidden)

    @checkpointable
    def forward(
        self,
        x: Float[Tensor, "b l d"],
        mask: Float[Tensor, "#b 1 #l l"],
        vision: Float[Tensor, "b n k"] | None = None,
    ) -> Float[Tensor, "b l d"]:
        """Return the text tokens after the layer; an upper layer needs the video tokens."""
        x = self.attention(x, x, mask)
        if self.crossattention is not None:
            x = self.crossattention(x, vision)
        return self.output(self.intermediate(x), x)


class BertEmbeddings(nn.Module):
    """Word, position and segment, then a norm."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.width, padding_idx=0)
        self.position_embeddings = nn.Embedding(config.max_positions, config.width)
        self.token_type_embeddings = nn.Embedding(_NUM_SEGMENTS, config.width)
        self.LayerNorm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.dropout = nn.Dropout(config.drop_rate)
        # COMPAT: nothing needs the numbers 0, 1, 2 …, but every released file holds them.
        self.position_ids: Tensor
        self.register_buffer("position_ids", torch.arange(config.max_positions)[None])

    def forward(self, ids: Int[Tensor, "b l"]) -> Float[Tensor, "b l d"]:
        """Embed token ids."""
        places = self.position_embeddings.weight[: ids.shape[1]]
        x = self.word_embeddings(ids) + self.token_type_embeddings.weight[0] + places
        return self.dropout(self.LayerNorm(x))


class _Transform(nn.Module):
    """Dense layer, GELU and norm in front of the vocabulary."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.width, config.width)
        self.LayerNorm = nn.LayerNorm(config.width, eps=config.norm_eps)

    def forward(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        return self.LayerNorm(F.gelu(self.dense(x)))


class BertPredictions(nn.Module):
    """Logits over the vocabulary; `decoder` has the word embeddings as weight (`tie`)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.transform = _Transform(config)
        self.decoder = nn.Linear(config.width, config.vocab_size)

    def forward(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l v"]:
        """Return the logits of the word at each place."""
        return self.decoder(self.transform(x))
