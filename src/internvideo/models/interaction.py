"""InternVideo itself: a masked and a multimodal encoder that look at each other's tokens.

    clip ─┬─► masked encoder (frozen) ──── x_1 … x_S ──► cma × S ──► tokens ──► head ──► logits ─┐
          │                                               ▲ ask        │ are asked          share│
          └─► multimodal encoder (frozen) ─ u_1 … u_S ────┘            ▼                         ├─►
                               └─────────── class token ──────────► cma_last ──► head ──► logits ┘

Cross-model attention (CMA) is attention and an MLP whose changes a tanh gate lets in, closed at
first: an untrained `InternVideo` answers with the mean of its two encoders. What it learns lies in
`cma`, `cma_last`, `alpha`, the heads, and the video token of a UniFormerV2.

    wiring     the answer of a module …                                 gradients go
    ────────   ──────────────────────────────────────────────────────   ───────────────────────
    "insert"   goes on through the masked encoder's next blocks          through frozen blocks
    "side"     is added to the tokens behind the last block              through no frozen block

With "side" all that the encoders give can be computed once and kept: `features`, `recall`, `fuse`.

What the paper leaves open is chosen here: places and number of the modules, their width and heads,
that an encoder without a class token lets all its tokens ask, and the "side" wiring.

Letters: b batch, c channels, (t, y, x) frames, rows and columns of the clip; n tokens that ask, m
tokens that are asked, d and e their widths, s stages, k classes.

Source: InternVideo (arXiv 2212.03191), sections 3.3 and 3.4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.models import classifier, uniformerv2_classifier
from internvideo.models.contract import VideoEncoder, VideoFeatures
from internvideo.models.interaction_towers import (
    InternVideoConfig,
    TowerConfig,
    Wiring,
    answer,
    new_head,
    packed,
    seeing_part,
    stage_blocks,
    unpacked,
)
from internvideo.models.layers import Mlp, attention, checkpointable, init_module
from internvideo.models.uniformerv2 import UniFormerV2

__all__ = [
    "SIZES",
    "CrossModelAttention",
    "Fused",
    "InternVideo",
    "InternVideoConfig",
    "Seen",
    "TowerConfig",
    "Wiring",
]

_NORM_EPS = 1e-6


@dataclass(frozen=True, slots=True)
class Seen:
    """What the frozen encoders give for a batch of clips; see `InternVideo.see`.

    Attributes:
        masked: its `hidden` are the tokens at the stages ("side"), then the layers asked for.
        multimodal: its `hidden` are the tokens at the stages.
        third: logits of the third encoder.
    """

    masked: VideoFeatures
    multimodal: VideoFeatures
    third: Float[Tensor, "b k"] | None = None


@dataclass(frozen=True, slots=True)
class Fused:
    """What comes of two encoders that have looked at each other.

    Attributes:
        features: tokens of the masked encoder; as `cls` what both heads see, side by side.
        masked_logits: of the masked encoder's head.
        multimodal_logits: of the multimodal encoder's head.
        logits: their combination, with the third's.
    """

    features: VideoFeatures
    masked_logits: Float[Tensor, "b k"]
    multimodal_logits: Float[Tensor, "b k"]
    logits: Float[Tensor, "b k"]


class CrossModelAttention(nn.Module):
    """What tokens of one encoder take over from those of another: attention, then an MLP.

        h = x + tanh(g₁) · attention(norm x, norm y),  x' = h + tanh(g₂) · mlp(norm h)

    Args:
        width: of the tokens that ask.
        context_width: of those that are asked.
        head_dim: channels of a head.
        mlp_ratio: width inside the MLP over `width`.
    """

    activation_checkpointing = False

    def __init__(self, width: int, context_width: int, *, head_dim: int, mlp_ratio: float) -> None:
        super().__init__()
        most = max(width // head_dim, 1)
        self.num_heads = next(number for number in range(most, 0, -1) if width % number == 0)
        self.norm_q = nn.LayerNorm(width, eps=_NORM_EPS)
        self.norm_kv = nn.LayerNorm(context_width, eps=_NORM_EPS)
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(context_width, 2 * width)
        self.proj = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width, eps=_NORM_EPS)
        self.mlp = Mlp(width, round(width * mlp_ratio))
        self.gate_attention = nn.Parameter(torch.empty(()))
        self.gate_mlp = nn.Parameter(torch.empty(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew and close the gates."""
        self.apply(partial(init_module, linear=partial(nn.init.trunc_normal_, std=0.02)))
        nn.init.zeros_(self.gate_attention)
        nn.init.zeros_(self.gate_mlp)

    @checkpointable
    def forward(
        self, x: Float[Tensor, "b n d"], y: Float[Tensor, "b m e"]
    ) -> Float[Tensor, "b n d"]:
        """Return what is to be added to the tokens `x` after they have looked at `y`: x' - x."""
        q = rearrange(self.q(self.norm_q(x)), "b n (h d) -> b h n d", h=self.num_heads)
        kv = self.kv(self.norm_kv(y))
        k, v = rearrange(kv, "b m (z h d) -> z b h m d", z=2, h=self.num_heads).unbind(0)
        mixed = self.proj(rearrange(attention(q, k, v), "b h n d -> b n (h d)"))
        mixed = self.gate_attention.tanh() * mixed
        return mixed + self.gate_mlp.tanh() * self.mlp(self.norm_mlp(x + mixed))


class InternVideo(VideoEncoder, nn.Module):
    """Video classifier of two encoders; call it with a clip in 0..1 to get its logits.

    The encoders need no gradients and stay in evaluation mode whatever `train` says. Their names
    lie below `masked.` and `multimodal.`.

    Example:
        >>> from dataclasses import replace
        >>> with torch.device("meta"):  # a billion parameters
        ...     logits = InternVideo(SIZES["d"])(torch.rand(1, 3, 16, 224, 224))
        >>> logits.shape
        torch.Size([1, 400])
    """

    capabilities = frozenset({"features", "embed", "classes"})
    mean: Tensor
    std: Tensor

    def __init__(self, config: InternVideoConfig) -> None:
        super().__init__()
        self.config = config
        self.masked = config.masked.build()
        self.multimodal = config.multimodal.build()
        self.third = None if config.third is None else config.third.build()
        widths = config.masked.seeing.width, config.multimodal.seeing.width
        options = {"head_dim": config.head_dim, "mlp_ratio": config.mlp_ratio}
        self.cma = nn.ModuleList(
            CrossModelAttention(*widths, **options) for _ in range(config.stages)
        )
        self.cma_last = CrossModelAttention(*widths[::-1], **options)
        self.masked_head, self.multimodal_head = (
            new_head(width, config.num_classes) if tower.num_classes is None else None
            for width, tower in zip(widths, (config.masked, config.multimodal), strict=True)
        )
        self.alpha = nn.Parameter(torch.empty(()))
        self.beta = None if self.third is None else nn.Parameter(torch.empty(()))
        self.drop = nn.Dropout(config.head_drop_rate)
        count = len(config.towers)
        self.register_buffer("mean", torch.empty(count, 3, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.empty(count, 3, 1, 1, 1), persistent=False)
        self._freeze()
        self._reset_own()
        self._reset_statistics()

    def _freeze(self) -> None:
        for tower in self._towers():
            tower.requires_grad_(False).eval()
        for head in self.heads:
            head.requires_grad_(True)
        if self.third is not None:
            self.third.requires_grad_(False)
        if self.query is not None:
            self.query.requires_grad_(True)

    @torch.no_grad()
    def _reset_own(self) -> None:
        for module in (*self.cma, self.cma_last):
            module.reset_parameters()  # type: ignore[operator]
        for head in (self.masked_head, self.multimodal_head):
            if head is not None:
                head.apply(partial(init_module, linear=partial(nn.init.trunc_normal_, std=0.02)))
        for share in (self.alpha, self.beta):
            if share is not None:
                nn.init.zeros_(share)

    @torch.no_grad()
    def _reset_statistics(self) -> None:
        for number, tower in enumerate(self.config.towers.values()):
            for table, values in ((self.mean, tower.mean), (self.std, tower.std)):
                table[number, :, 0, 0, 0].copy_(torch.tensor(values, device=table.device))

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for tower in self._towers():
            tower.reset_parameters()
        self._reset_own()
        self._reset_statistics()

    def reset_buffers(self) -> None:
        """Make the tables that are no part of the state, after building on the meta device."""
        for tower in self._towers():
            tower.reset_buffers()
        shape = (len(self.config.towers), 3, 1, 1, 1)
        for name in ("mean", "std"):
            self.register_buffer(
                name, torch.empty(shape, device=self.alpha.device), persistent=False
            )
        self._reset_statistics()

    def _towers(self) -> list[Any]:
        return [each for each in (self.masked, self.multimodal, self.third) if each is not None]

    def train(self, mode: bool = True) -> InternVideo:
        """Set the mode of what is trained; the encoders stay in evaluation mode."""
        super().train(mode)
        for tower in self._towers():
            tower.eval()
        return self

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the encoders' blocks and the modules: the units to checkpoint, compile or shard."""
        for tower in self._towers():
            yield from seeing_part(tower).block_modules()
        yield from self.cma
        yield self.cma_last

    @property
    def heads(self) -> tuple[nn.Linear, ...]:
        """The linear layers whose outputs are the classes, the masked encoder's first."""
        pairs = ((self.masked, self.masked_head), (self.multimodal, self.multimodal_head))
        own = [model.head if new is None else new[1] for model, new in pairs]  # type: ignore[index]
        return (*own, *(() if self.third is None else (self.third.head,)))  # type: ignore[return-value]

    @property
    def head(self) -> nn.Linear:
        """The masked encoder's."""
        return self.heads[0]

    @property
    def query(self) -> nn.Parameter | None:
        """The video token of the multimodal encoder, where it is trained."""
        seeing = seeing_part(self.multimodal)
        trained = self.config.train_query and isinstance(seeing, UniFormerV2)
        return seeing.transformer.temporal_cls_token if trained else None  # type: ignore[return-value]

    # --- forward ------------------------------------------------------------------------------

    def see(self, video: Float[Tensor, "b c t y x"], *, layers: Sequence[int] = ()) -> Seen:
        """Return what the encoders give; nothing of it depends on what is trained, with "side".

        (But for the video token of a UniFormerV2, see `train_query`.)

        Args:
            video: pixels in 0..1.
            layers: blocks of the masked encoder whose tokens are wanted too.
        """
        config = self.config
        views = self.views(video)
        asked = seeing_part(self.multimodal)
        multimodal = asked.forward_features(
            views[1], layers=stage_blocks(asked, config.multimodal.seeing, config.stages)
        )
        masked, options = seeing_part(self.masked), {}
        taps = stage_blocks(masked, config.masked.seeing, config.stages)
        if config.wiring == "insert":
            changes: dict[int, Any] = {
                tap: partial(_changed, cma, y)
                for tap, cma, y in zip(taps, self.cma, multimodal.hidden, strict=True)
            }
            options, taps = {"changes": changes}, ()
        return Seen(
            masked.forward_features(views[0], layers=(*taps, *layers), **options),
            multimodal,
            None if self.third is None else self.third(views[2]),
        )

    def fuse(self, seen: Seen) -> Fused:
        """Return features and logits from what `see` gave."""
        masked, multimodal = seen.masked, seen.multimodal
        hidden = masked.hidden
        if self.config.wiring == "side":
            places, hidden = hidden[: len(self.cma)], hidden[len(self.cma) :]
            change: Any = None
            for cma, x, y in zip(self.cma, places, multimodal.hidden, strict=True):
                changed = cma(x if change is None else x + change, y)
                change = changed if change is None else change + changed
            tokens = masked.tokens + change
            cls = None if masked.cls is None else masked.cls + change.mean(dim=1)
            masked = replace(masked, tokens=tokens, cls=cls)
        multimodal = self._asked_back(multimodal, masked.tokens)
        first, pooled = answer(self.masked, self.masked_head, masked, self.drop)
        second, pooled_too = answer(self.multimodal, self.multimodal_head, multimodal, self.drop)
        share = self.alpha.sigmoid()
        logits = share * first + (1 - share) * second
        if self.beta is not None and seen.third is not None:
            logits = torch.lerp(logits, seen.third, self.beta.sigmoid().to(logits.dtype))
        both = torch.cat([pooled, pooled_too], dim=-1)
        features = replace(masked, cls=both, hidden=hidden, frame_cls=None)
        return Fused(features, first, second, logits)

    @property
    def frozen(self) -> dict[str, nn.Module]:
        """The encoders, by name."""
        return dict(zip(self.config.towers, self._towers(), strict=True))

    @property
    def feature_kind(self) -> str:
        """What `features` returns."""
        return f"tokens at {len(self.cma)} stages"

    @torch.no_grad()
    def features(self, video: Float[Tensor, "b c t y x"]) -> dict[str, Tensor]:
        """Return what the encoders give for clips in 0..1, to be kept: training does not change it.

        Raises:
            ValueError: it does change, with this wiring, or as the video token is trained.
        """
        if self.config.wiring == "insert" or self.query is not None:
            raise ValueError("features can be kept with wiring 'side' and train_query=False only")
        seen = self.see(video)
        kept = {} if seen.third is None else {"third": seen.third}
        return kept | packed("masked", seen.masked) | packed("multimodal", seen.multimodal)

    def recall(self, features: Mapping[str, Tensor]) -> Seen:
        """Return what `features` was made of, for `fuse`."""
        config = self.config
        return Seen(
            unpacked("masked", features, config.masked.seeing),
            unpacked("multimodal", features, config.multimodal.seeing),
            features.get("third"),
        )

    def _asked_back(self, features: VideoFeatures, y: Float[Tensor, "b n e"]) -> VideoFeatures:
        """Let the class token of the multimodal encoder, or else its tokens, look at the others."""
        if features.cls is None:
            return replace(features, tokens=features.tokens + self.cma_last(features.tokens, y))
        encoder, cls = seeing_part(self.multimodal), features.cls
        if not isinstance(encoder, UniFormerV2) or encoder.transformer.balance is None:
            return replace(features, cls=cls + self.cma_last(cls[:, None], y)[:, 0])
        # The feature is a balance of the video token and the class tokens of the frames.
        share = encoder.transformer.balance.sigmoid().to(cls.dtype)
        assert features.frame_cls is not None
        token = (cls - share * features.frame_cls.mean(dim=1)) / (1 - share)
        return replace(features, cls=cls + (1 - share) * self.cma_last(token[:, None], y)[:, 0])

    def forward_features(
        self, video: Float[Tensor, "b c t y x"], *, layers: Sequence[int] = ()
    ) -> VideoFeatures:
        """Encode a clip.

        Args:
            video: pixels in 0..1.
            layers: blocks of the masked encoder whose tokens to return as `hidden`.

        Returns:
            The masked encoder's tokens after they have looked at the multimodal ones, in its grid;
            as `cls` what both heads see, side by side.
        """
        return self.fuse(self.see(video, layers=layers)).features

    def forward(self, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b k"]:
        """Return the logits."""
        return self.fuse(self.see(video)).logits

    def example_inputs(self, batch: int = 2) -> tuple[Tensor]:
        """Return random clips in 0..1."""
        side = self.config.image_size
        return (torch.rand(batch, 3, self.config.num_frames, side, side),)

    def views(self, video: Float[Tensor, "b c t y x"]) -> list[Float[Tensor, "b c u v w"]]:
        """Return a clip in 0..1 as each encoder takes it: its frames, size and scale of pixels."""
        views: list[Tensor] = []
        for number, tower in enumerate(self.config.towers.values()):
            step, side = self.config.num_frames // tower.seeing.num_frames, tower.seeing.image_size
            view = video[:, :, ::step]
            if tower.channel_order == "bgr":
                view = view.flip(1)
            if side != self.config.image_size:
                flat = rearrange(view, "b c t y x -> (b t) c y x")
                size = [extent * side // self.config.image_size for extent in view.shape[-2:]]
                flat = F.interpolate(flat, size=size, mode="bilinear", antialias=True)
                view = rearrange(flat, "(b t) c y x -> b c t y x", b=view.shape[0])
            views.append((view - self.mean[number]) / self.std[number])
        return views


def _changed(cma: nn.Module, y: Tensor, x: Tensor) -> Tensor:
    return x + cma(x, y)


_IMAGENET: Any = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_UNIFORMER: Any = {"mean": (0.45, 0.45, 0.45), "std": (0.225, 0.225, 0.225)}

_D = InternVideoConfig(
    masked=TowerConfig(encoder=classifier.SIZES["H"], **_IMAGENET),
    multimodal=TowerConfig(encoder=uniformerv2_classifier.SIZES["l14"], **_UNIFORMER),
    num_classes=400,
)

SIZES: dict[str, InternVideoConfig] = {
    "d": _D,
    "t": replace(
        _D,
        third=TowerConfig(
            encoder=replace(uniformerv2_classifier.SIZES["l14-336-frozen"], num_frames=32),
            **_UNIFORMER,
        ),
    ),
}
"""InternVideo-D, ViT-H and UniFormerV2-L; InternVideo-T, with a frozen UniFormerV2-L@336 beside."""
