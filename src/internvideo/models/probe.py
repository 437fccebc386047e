"""A frozen video encoder with a small trained head: what do its features already tell?

    clip ──► VideoViT (frozen) ──► mean of the tokens ──► BatchNorm without affine ─┐
                               └─► one learned query over the tokens ───────────────┴──► linear

`features` is the frozen part, `classify` the trained one; what the first gives may be kept on disk
and reused, the second then trains in seconds.

Shapes: b batch, c channels, (t, y, x) frames, rows and columns of the clip; n tokens, h
heads, d width, k classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.models import vit
from internvideo.models.contract import VideoEncoder, VideoFeatures
from internvideo.models.layers import attention, init_module
from internvideo.models.vit import VideoViT, VideoViTConfig

__all__ = ["SIZES", "AttentivePool", "ProbeClassifier", "ProbeClassifierConfig"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeClassifierConfig:
    """Shape of a `ProbeClassifier`.

    Attributes:
        encoder: the frozen encoder; its `final_norm` as in the file that it comes from.
        num_classes: outputs of the head.
        head: "linear" on the mean of the tokens, or "attentive" on a learned query's answer.
        batch_norm: normalise the mean, without affine, by the statistics of the training clips.
        num_heads: of the attentive head.
    """

    encoder: VideoViTConfig
    num_classes: int = 400
    head: Literal["linear", "attentive"] = "linear"
    batch_norm: bool = True
    num_heads: int = 8

    def __post_init__(self) -> None:
        if self.head not in ("linear", "attentive"):
            raise ValueError(f"head {self.head!r} is not one of 'linear', 'attentive'")
        if self.num_classes < 1:
            raise ValueError(f"num_classes {self.num_classes} must be at least 1")
        if self.head == "attentive" and self.encoder.width % self.num_heads:
            raise ValueError(
                f"num_heads {self.num_heads} does not divide the encoder's width "
                f"{self.encoder.width}"
            )


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
        query = repeat(self.query, "1 1 (h d) -> b h 1 d", b=tokens.shape[0], h=self.num_heads)
        pooled = attention(query.to(keys.dtype), keys, values)
        return self.proj(rearrange(pooled, "b h 1 d -> b (h d)"))


class ProbeClassifier(VideoEncoder, nn.Module):
    """Video classifier on a frozen encoder; call it with a normalised clip to get its logits.

    The encoder needs no gradients and stays in evaluation mode whatever `train` says.

    Example:
        >>> model = ProbeClassifier(ProbeClassifierConfig(encoder=vit.SIZES["S"], num_classes=10))
        >>> model.eval()(torch.randn(1, 3, 16, 224, 224)).shape
        torch.Size([1, 10])
    """

    capabilities = frozenset({"features", "embed", "classes"})
    encoder_class: type[nn.Module] = VideoViT

    def __init__(self, config: ProbeClassifierConfig) -> None:
        super().__init__()
        self.config = config
        width = config.encoder.width
        self.encoder: Any = self.encoder_class(config.encoder).requires_grad_(False).eval()
        self.pool = AttentivePool(width, config.num_heads) if config.head == "attentive" else None
        normalised = config.head == "linear" and config.batch_norm
        self.norm = nn.BatchNorm1d(width, affine=False, eps=1e-6) if normalised else nn.Identity()
        self.head = nn.Linear(width, config.num_classes)
        self._reset_head()

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.encoder.reset_parameters()
        if self.pool is not None:
            self.pool.reset_parameters()
        self._reset_head()

    def _reset_head(self) -> None:
        if isinstance(self.norm, nn.BatchNorm1d):
            self.norm.reset_running_stats()
        init_module(self.head, linear=partial(nn.init.trunc_normal_, std=0.01))

    def reset_buffers(self) -> None:
        """Make the fixed position table, see `VideoViT.reset_buffers`."""
        self.encoder.reset_buffers()

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks: the units to checkpoint, compile or shard."""
        yield from self.encoder.block_modules()

    def train(self, mode: bool = True) -> ProbeClassifier:
        """Set the mode of the head; the encoder stays in evaluation mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward_features(
        self, video: Float[Tensor, "b c t y x"], *, layers: Sequence[int] = ()
    ) -> VideoFeatures:
        """Encode a clip; see `VideoViT.forward_features`."""
        return self.encoder.forward_features(video, layers=layers)

    def example_inputs(self, batch: int = 2) -> tuple[Tensor]:
        """Return random clips."""
        return self.encoder.example_inputs(batch)

    @property
    def frozen(self) -> dict[str, nn.Module]:
        """The frozen part, by name."""
        return {"encoder": self.encoder}

    @property
    def feature_kind(self) -> str:
        """What `features` returns: the "mean" of the tokens, or all "tokens"."""
        return "mean" if self.pool is None else "tokens"

    @torch.no_grad()
    def features(self, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b *n d"]:
        """Return what the head looks at: the mean of the tokens, or all of them ("attentive")."""
        found = self.encoder(video)
        return found.pool("mean") if self.pool is None else found.tokens

    def classify(self, features: Float[Tensor, "b *n d"]) -> Float[Tensor, "b k"]:
        """Return the logits for `features`."""
        pooled = features if self.pool is None else self.pool(features)
        return self.head(self.norm(pooled))

    def forward(self, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b k"]:
        """Return the logits."""
        return self.classify(self.features(video))


SIZES: dict[str, ProbeClassifierConfig] = {
    name: ProbeClassifierConfig(encoder=encoder) for name, encoder in vit.SIZES.items()
}
"""A linear head on the published encoders, for the 400 classes of Kinetics-400."""
