"""The text tower of CLIP: a causal transformer read out at the end-of-text token.

Token and position embeddings → causal blocks → `ln_final` → the token at the position of the
LARGEST id (the end-of-text id is the largest of the vocabulary; the first one counts) →
`text_projection`. Padding (id 0) needs no mask: it stands behind the end-of-text token, and a
causal transformer never looks there. Names are those of the OpenAI checkpoints.

Letters: B batch, L token positions (at most the context length), D width, E joint dimension.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from internvideo.models.clip_layers import Activation, CLIPLayerNorm, CLIPTransformer
from internvideo.models.kv_cache import KeyValueCache

__all__ = ["SIZES", "CLIPTextConfig", "CLIPTextEncoder", "TextFeatures"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CLIPTextConfig:
    """Shape of a CLIP text tower.

    Attributes:
        vocab_size: number of token ids; the largest id must be the end-of-text token.
        context_length: number of position embeddings, the longest text in tokens.
        width: width of the tokens.
        depth: number of blocks.
        num_heads: attention heads per block.
        embed_dim: dimension of the space shared with the video tower.
        activation: inside the blocks; "gelu" in most models that open_clip trained.
    """

    vocab_size: int = 49408
    context_length: int = 77
    width: int = 512
    depth: int = 12
    num_heads: int = 8
    embed_dim: int = 512
    activation: Activation = "quick-gelu"

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context_length", "width", "depth", "num_heads", "embed_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}")


@dataclass(frozen=True)
class TextFeatures:
    """What the text tower knows about a batch of texts.

    Attributes:
        tokens: all positions after `ln_final`, `b l d`.
        embedding: the projected end-of-text token, `b e`, not normalised.
    """

    tokens: Float[Tensor, "b l d"]
    embedding: Float[Tensor, "b e"]


class CLIPTextEncoder(nn.Module):
    """Text tower of CLIP, ViCLIP and InternVideo-MM.

    Args:
        config: the shape of the tower.
        projection_norm: `"batch"` puts a BatchNorm without affine parameters in front of
            `text_projection` (`internvideo.models.viclip` says why); official models have `"none"`.
        projection: False has no `text_projection`: the embedding is the pooled token, `e = d`.
    """

    text_projection: nn.Parameter | None

    def __init__(
        self,
        config: CLIPTextConfig,
        *,
        projection_norm: Literal["none", "batch"] = "none",
        projection: bool = True,
    ):
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        self.positional_embedding = nn.Parameter(torch.empty(config.context_length, config.width))
        self.transformer = CLIPTransformer(
            config.width, config.depth, config.num_heads, causal=True, activation=config.activation
        )
        self.ln_final = CLIPLayerNorm(config.width)
        self.norm = (
            nn.BatchNorm1d(config.width, affine=False)
            if projection_norm == "batch"
            else nn.Identity()
        )
        self.text_projection = (
            nn.Parameter(torch.empty(config.width, config.embed_dim)) if projection else None
        )
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise as CLIP does (ViCLIP's code leaves positions and projection unset)."""
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        if self.text_projection is not None:
            nn.init.normal_(self.text_projection, std=self.config.width**-0.5)
        self.transformer.reset_parameters()
        self.ln_final.reset_parameters()
        if isinstance(self.norm, nn.BatchNorm1d):
            self.norm.reset_parameters()

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the transformer blocks."""
        yield from self.transformer.block_modules()

    def forward(
        self,
        ids: Int[Tensor, "b l"],
        *,
        masked: Bool[Tensor, "b l"] | None = None,
        mask_embedding: Float[Tensor, "1 1 d"] | None = None,
    ) -> TextFeatures:
        """Encode token ids; fewer positions than the context length are allowed.

        Args:
            ids: token ids.
            masked: words to hide: `mask_embedding` stands in their places (masked language
                modelling); the positions are still known.
            mask_embedding: see `masked`.

        Raises:
            ValueError: the texts are longer than the context length.
        """
        length = ids.shape[1]
        if length > self.config.context_length:
            raise ValueError(
                f"texts of {length} tokens do not fit into the context of "
                f"{self.config.context_length}; tokenize with context_length="
                f"{self.config.context_length}"
            )
        words = self.token_embedding(ids)
        if masked is not None and mask_embedding is not None:
            words = torch.where(masked[..., None], mask_embedding.to(words.dtype), words)
        x = words + self.positional_embedding[:length]
        tokens = self.ln_final(self.transformer(x))
        return TextFeatures(tokens=tokens, embedding=self.project(self.pool(tokens, ids)))

    def extend(
        self, ids: Int[Tensor, "b n"], caches: Sequence[KeyValueCache]
    ) -> Float[Tensor, "b n d"]:
        """Encode the next positions of texts whose earlier ones are in the caches, one a block.

        Returns:
            The new positions after `ln_final`: what `forward` gives for the whole text.
        """
        start = caches[0].length
        places = self.positional_embedding[start : start + ids.shape[1]]
        return self.ln_final(self.transformer(self.token_embedding(ids) + places, caches))

    def pool(self, tokens: Float[Tensor, "b l d"], ids: Int[Tensor, "b l"]) -> Float[Tensor, "b d"]:
        """Pick the end-of-text token: the first position of the largest id."""
        end = ids.argmax(dim=-1)
        return tokens[torch.arange(tokens.shape[0], device=tokens.device), end]

    def project(self, pooled: Float[Tensor, "b d"]) -> Float[Tensor, "b e"]:
        """Map the pooled token into the joint space."""
        normed = self.norm(pooled)
        return normed if self.text_projection is None else normed @ self.text_projection


SIZES: dict[str, CLIPTextConfig] = {
    "b16": CLIPTextConfig(width=512, depth=12, num_heads=8, embed_dim=512),
    "l14": CLIPTextConfig(width=768, depth=12, num_heads=12, embed_dim=768),
}
