"""What a navigation policy is made of: its shape, what an agent sees as tokens, and the layers.

Letters: b batch, l text length, m history length, v views, n observed tokens, d width; e width of
what is seen, k of what is measured (depth).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from internvideo.models.bert_layers import (
    BertAttention,
    BertConfig,
    BertEmbeddings,
    BertIntermediate,
    BertLayer,
    BertProjections,
    BertResidual,
)
from internvideo.models.classifier import VideoClassifierConfig
from internvideo.models.depth_resnet import DepthResNetConfig
from internvideo.models.viclip import ViCLIPConfig
from internvideo.models.waypoints import NUM_VIEWS, Waypoints

__all__ = [
    "CANDIDATE",
    "GEOMETRY",
    "OTHER",
    "STOP",
    "CrossEncoder",
    "CrossLayer",
    "EncodersConfig",
    "LanguageEmbeddings",
    "NavigationPolicyConfig",
    "Observation",
    "ObservedTokens",
    "RememberedStep",
    "observe",
    "view_angles",
]

OTHER, CANDIDATE, STOP = 0, 1, 2
"""Kinds of observed tokens; what is no more than seen, and padding, cannot be chosen."""

GEOMETRY = 4
"""Numbers that tell a direction or a distance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodersConfig:
    """The frozen encoders that a released file holds beside its policy.

    Attributes:
        depth: of the depth pictures.
        video: of the last 16 pictures of each view; its classifier is not used.
        image: CLIP, of whose towers only that of the pictures is used.
    """

    depth: DepthResNetConfig
    video: VideoClassifierConfig
    image: ViCLIPConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class NavigationPolicyConfig:
    """Shape of a `NavigationPolicy`.

    Attributes:
        vocab_size: number of token ids; id 0 is the padding.
        max_positions: the longest instruction in tokens.
        width: of all tokens.
        num_heads: attention heads; they divide `width`.
        mlp_hidden: width inside the feed-forward.
        language_depth: layers over the instruction alone.
        panorama_depth: layers over the views of a past panorama.
        cross_depth: layers in which instruction and sight look at each other.
        max_steps: the longest episode in decisions.
        video_width: features of the video encoder.
        image_width: features of the image encoder; 0 where there is none.
        depth_width: features of the depth encoder.
        drop_rate: dropout of embeddings, branches and the head.
        attention_drop_rate: dropout of the attention weights.
        feature_drop_rate: dropout of what is seen, in front of its second projection.
        view_order: "mirrored" puts the video features of view -k beside the image features of view
            k. COMPAT: released policies were trained so (fixture `vln-policy`).
        critic: whether there is a value of the state, for reinforcement learning.
        encoders: those of a released file; None: features come from elsewhere.
    """

    vocab_size: int = 30522
    max_positions: int = 512
    width: int = 768
    num_heads: int = 12
    mlp_hidden: int = 3072
    language_depth: int = 9
    panorama_depth: int = 2
    cross_depth: int = 4
    max_steps: int = 50
    video_width: int = 768
    image_width: int = 512
    depth_width: int = 128
    drop_rate: float = 0.1
    attention_drop_rate: float = 0.1
    feature_drop_rate: float = 0.4
    view_order: Literal["aligned", "mirrored"] = "aligned"
    critic: bool = False
    encoders: EncodersConfig | None = None

    def __post_init__(self) -> None:
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}")
        if self.view_order not in ("aligned", "mirrored"):
            raise ValueError(f"view_order {self.view_order!r} is not 'aligned' or 'mirrored'")

    @property
    def bert(self) -> BertConfig:
        """Shape of the layers."""
        return BertConfig(
            vocab_size=self.vocab_size,
            max_positions=self.max_positions,
            width=self.width,
            num_heads=self.num_heads,
            mlp_hidden=self.mlp_hidden,
            vision_width=self.width,
            drop_rate=self.drop_rate,
            attention_drop_rate=self.attention_drop_rate,
        )


@dataclass(frozen=True, eq=False, slots=True)
class Observation:
    """What an agent sees now: candidates, stop, and the views that show no candidate.

    Attributes:
        seen: "b n e" features of the pictures; zeros for stop and padding.
        depth: "b n k" features of the distances, likewise.
        direction: "b n 4" sine and cosine of the clockwise angle, 0 and 1.
        distance: "b n 4" in three metres; zeros where nothing can be chosen.
        kinds: "b n" OTHER, CANDIDATE or STOP.
        lengths: "b" tokens that are no padding.
    """

    seen: Float[Tensor, "b n e"]
    depth: Float[Tensor, "b n k"]
    direction: Float[Tensor, "b n 4"]
    distance: Float[Tensor, "b n 4"]
    kinds: Int[Tensor, "b n"]
    lengths: Int[Tensor, "b"]

    @property
    def mask(self) -> Bool[Tensor, "b n"]:
        """Which tokens are no padding."""
        places = torch.arange(self.kinds.shape[1], device=self.kinds.device)
        return places < self.lengths[:, None]


def view_angles(device: torch.device | None = None) -> Float[Tensor, "v 4"]:
    """Return the directions of the views as the policy reads them."""
    clockwise = (1 - torch.arange(NUM_VIEWS, device=device) / NUM_VIEWS) * 2 * math.pi
    still = torch.zeros_like(clockwise)
    return torch.stack([clockwise.sin(), clockwise.cos(), still, still + 1], dim=-1)


def observe(
    seen: Float[Tensor, "b v e"], depth: Float[Tensor, "b v k"], waypoints: Sequence[Waypoints]
) -> Observation:
    """Put together what agents see and where they may go.

    Args:
        seen: features of the views, counter-clockwise.
        depth: likewise, of the distances.
        waypoints: of each agent.
    """
    rows, angles = list[tuple[Tensor, ...]](), view_angles(seen.device)
    for pictures, distances, places in zip(seen, depth, waypoints, strict=True):
        shown = places.views
        rest = torch.ones(NUM_VIEWS, dtype=torch.bool, device=seen.device)
        rest[shown] = False
        count, others = len(shown), int(rest.sum())

        def joined(chosen: Tensor, other: Tensor) -> Tensor:
            return torch.cat([chosen, torch.zeros_like(other[:1]), other])

        kinds = torch.tensor([CANDIDATE] * count + [STOP] + [OTHER] * others, device=seen.device)
        rows.append(
            (
                joined(pictures[shown], pictures[rest]),
                joined(distances[shown], distances[rest]),
                joined(places.angle_features, angles[rest]),
                joined(places.distance_features, torch.zeros_like(angles[rest])),
                kinds,
            )
        )
    parts = (nn.utils.rnn.pad_sequence(list(part), batch_first=True) for part in zip(*rows))  # noqa: B905
    lengths = torch.tensor([len(row[-1]) for row in rows], device=seen.device)
    return Observation(*parts, lengths=lengths)


class LanguageEmbeddings(BertEmbeddings):
    """Word, position and segment; the released files hold no numbers of the places."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        del self.position_ids


def _linear_norm(module: nn.Module, name: str, inputs: int, config: BertConfig) -> None:
    module.add_module(f"{name}_linear", nn.Linear(inputs, config.width))
    module.add_module(f"{name}_layer_norm", nn.LayerNorm(config.width, eps=config.norm_eps))


def _projected(module: nn.Module, name: str, x: Tensor) -> Tensor:
    linear, norm = (module.get_submodule(f"{name}_{part}") for part in ("linear", "layer_norm"))
    return norm(linear(x))


class ObservedTokens(nn.Module):
    """Tokens of what an agent sees now."""

    def __init__(self, config: NavigationPolicyConfig) -> None:
        super().__init__()
        bert = config.bert
        _linear_norm(self, "img", config.width, bert)
        _linear_norm(self, "dep", config.depth_width, bert)
        _linear_norm(self, "ang", GEOMETRY, bert)
        _linear_norm(self, "dis", GEOMETRY, bert)
        self.nav_type_embedding = nn.Embedding(3, config.width)
        self.layer_norm = nn.LayerNorm(config.width, eps=bert.norm_eps)
        self.dropout = nn.Dropout(config.drop_rate)

    def forward(self, now: Observation, segment: Float[Tensor, "d"]) -> Float[Tensor, "b n d"]:
        """Embed an observation; `segment` is what tells sight from words."""
        x = _projected(self, "img", now.seen) + _projected(self, "dep", now.depth)
        x = x + _projected(self, "ang", now.direction) + _projected(self, "dis", now.distance)
        return self.dropout(self.layer_norm(x + segment + self.nav_type_embedding(now.kinds)))


class RememberedStep(nn.Module):
    """The token of a step that is over: what was ahead, what was around, where it went."""

    def __init__(self, config: NavigationPolicyConfig) -> None:
        super().__init__()
        bert = config.bert
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        _linear_norm(self, "img", config.width, bert)
        _linear_norm(self, "ang", GEOMETRY, bert)
        self.position_embeddings = nn.Embedding(config.max_steps, config.width)
        self.type_embedding = nn.Embedding(1, config.width)
        self.layer_norm = nn.LayerNorm(config.width, eps=bert.norm_eps)
        self.dropout = nn.Dropout(config.drop_rate)
        _linear_norm(self, "pano_img", config.width, bert)
        _linear_norm(self, "pano_ang", GEOMETRY, bert)
        layers = nn.ModuleList(BertLayer(bert, fusion=False) for _ in range(config.panorama_depth))
        self.pano_encoder = nn.ModuleDict({"layer": layers})

    def begin(self) -> Float[Tensor, "1 d"]:
        """Return the token of a history without steps."""
        return self.dropout(self.layer_norm(self.cls_token + self.type_embedding.weight))[0]

    def forward(
        self,
        ahead: Float[Tensor, "b d"],
        panorama: Float[Tensor, "b v d"],
        chosen: Float[Tensor, "b 4"],
        step: int,
    ) -> Float[Tensor, "b d"]:
        """Return the token of the step of that number."""
        x = _projected(self, "img", ahead) + _projected(self, "ang", chosen)
        x = x + self.position_embeddings.weight[step] + self.type_embedding.weight[0]
        around = _projected(self, "pano_img", panorama)
        directions = view_angles(around.device).to(around.dtype)
        around = self.dropout(around + _projected(self, "pano_ang", directions))
        nothing_hidden = around.new_zeros(1, 1, 1, NUM_VIEWS)
        for layer in self.pano_encoder["layer"].children():
            around = layer(around, nothing_hidden)
        return self.dropout(self.layer_norm(x + around.mean(dim=1)))


class _CrossAttention(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.att = BertProjections(config, config.width)
        self.output = BertResidual(config, config.width)

    def forward(
        self,
        x: Float[Tensor, "b l d"],
        source: Float[Tensor, "b n d"],
        mask: Float[Tensor, "b 1 1 n"],
    ) -> Float[Tensor, "b l d"]:
        return self.output(self.att(x, source, mask), x)


class CrossLayer(nn.Module):
    """Text and sight look at each other with one set of weights, then each at itself."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.lang_self_att = BertAttention(config, config.width)
        self.lang_inter = BertIntermediate(config)
        self.lang_output = BertResidual(config, config.mlp_hidden)
        self.visn_self_att = BertAttention(config, config.width)
        self.visn_inter = BertIntermediate(config)
        self.visn_output = BertResidual(config, config.mlp_hidden)
        self.visual_attention = _CrossAttention(config)

    def forward(
        self,
        text: Float[Tensor, "b l d"],
        text_mask: Float[Tensor, "b 1 1 l"],
        sight: Float[Tensor, "b n d"],
        sight_mask: Float[Tensor, "b 1 1 n"],
    ) -> tuple[Float[Tensor, "b l d"], Float[Tensor, "b n d"]]:
        """Return both after the layer; each looks at the other as it was before."""
        text, sight = (
            self.visual_attention(text, sight, sight_mask),
            self.visual_attention(sight, text, text_mask),
        )
        text = self.lang_self_att(text, text, text_mask)
        sight = self.visn_self_att(sight, sight, sight_mask)
        return (
            self.lang_output(self.lang_inter(text), text),
            self.visn_output(self.visn_inter(sight), sight),
        )

    def text_attention(
        self,
        text: Float[Tensor, "b l d"],
        text_mask: Float[Tensor, "b 1 1 l"],
        sight: Float[Tensor, "b n d"],
    ) -> Float[Tensor, "b h n l"]:
        """Return how much each seen token looks at each word, for every head."""
        att = self.visual_attention.att
        q, k = (
            rearrange(each, "b n (h d) -> b h n d", h=att.num_heads)
            for each in (att.query(sight), att.key(text))
        )
        return (q @ k.mT / q.shape[-1] ** 0.5 + text_mask).softmax(dim=-1)


class CrossEncoder(nn.Module):
    """Layers over the instruction alone, then layers over instruction and sight."""

    def __init__(self, config: NavigationPolicyConfig) -> None:
        super().__init__()
        bert = config.bert
        self.layer = nn.ModuleList(
            BertLayer(bert, fusion=False) for _ in range(config.language_depth)
        )
        self.x_layers = nn.ModuleList(CrossLayer(bert) for _ in range(config.cross_depth))
