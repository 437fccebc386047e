"""A policy that follows instructions (Chen et al. 2021, HAMT; InternVideo's VLN-CE agent).

    instruction ──► BERT ──────────────────────────────────────────────► text tokens ──┐
    past panoramas, chosen directions ──► a token a step ──► history ────────────────┐ │
    candidates, stop, the other views ──► a token each ──► observation ──► cross layers ──► logits

A view is what is seen in a direction; there are twelve, counter-clockwise from the heading. Names
are those of the released files.

Letters: b batch, l text length, m history length, v views, n observed tokens, d width; c width of
the video features, i of the image features, e of what is seen, k of what is measured (depth).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from internvideo.models.classifier import VideoClassifier
from internvideo.models.contract import Capability
from internvideo.models.depth_resnet import DepthResNet
from internvideo.models.navigation_layers import (
    CANDIDATE,
    GEOMETRY,
    OTHER,
    STOP,
    CrossEncoder,
    CrossLayer,
    EncodersConfig,
    LanguageEmbeddings,
    NavigationPolicyConfig,
    Observation,
    ObservedTokens,
    RememberedStep,
    observe,
    view_angles,
)
from internvideo.models.viclip import ViCLIP
from internvideo.models.waypoints import NUM_VIEWS

__all__ = [
    "CANDIDATE",
    "OTHER",
    "RELEASED",
    "STOP",
    "EncodersConfig",
    "NavigationPolicy",
    "NavigationPolicyConfig",
    "Observation",
    "observe",
    "view_angles",
]

_MASKED = -10000.0
_VALUE_WIDTH = 512

RELEASED = {
    "base": NavigationPolicyConfig(view_order="mirrored"),
    "large": NavigationPolicyConfig(view_order="mirrored", video_width=1024),
}
"""The released policies, without their encoders."""


class _Transformer(nn.Module):
    def __init__(self, config: NavigationPolicyConfig) -> None:
        super().__init__()
        self.embeddings = LanguageEmbeddings(config.bert)
        self.img_embeddings = ObservedTokens(config)
        self.hist_embeddings = RememberedStep(config)
        self.encoder = CrossEncoder(config)
        width = config.width
        net = nn.Sequential(
            nn.Linear(width, width),
            nn.ReLU(),
            nn.LayerNorm(width, eps=config.bert.norm_eps),
            nn.Dropout(config.drop_rate),
            nn.Linear(width, 1),
        )
        self.next_action = nn.ModuleDict({"net": net})


def _critic(width: int) -> nn.ModuleDict:
    layers = (
        nn.Linear(width, _VALUE_WIDTH), nn.ReLU(), nn.Dropout(0.5), nn.Linear(_VALUE_WIDTH, 1)
    )  # fmt: skip
    return nn.ModuleDict({"state2value": nn.Sequential(*layers)})


class NavigationPolicy(nn.Module):
    """Chooses where to go next: one of the candidates, or to stop.

    Example:
        >>> policy = NavigationPolicy(NavigationPolicyConfig()).eval()
        >>> text, mask = policy.read(ids)                       # once an episode
        >>> seen = policy.fuse(video, image)                    # at every step
        >>> logits, state = policy.decide(text, mask, history, observe(seen, depth, waypoints))
    """

    capabilities: frozenset[Capability] = frozenset({"navigation"})

    def __init__(self, config: NavigationPolicyConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.vln_bert = _Transformer(config)
        self.rgb_embedding_projection = nn.Linear(config.video_width + config.image_width, width)
        self.drop_seen = nn.Dropout(config.feature_drop_rate)
        self.rgb_projection = nn.Linear(width, width)
        self.critic = _critic(width) if config.critic else None
        if config.encoders is not None:
            self.depth_encoder = nn.ModuleDict(
                {"visual_encoder": DepthResNet(config.encoders.depth)}
            )
            self.rgb_encoder = nn.ModuleDict({"model": VideoClassifier(config.encoders.video)})
            self.clip_encoder = nn.ModuleDict({"model": ViCLIP(config.encoders.image)})
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for module in self._own_modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
                if isinstance(module, nn.Linear):
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
        nn.init.zeros_(self.vln_bert.hist_embeddings.cls_token)
        for encoder in self._encoders():
            encoder.reset_parameters()

    def reset_buffers(self) -> None:
        """Make the tables of the encoders anew."""
        for encoder in self._encoders():
            encoder.reset_buffers()

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the layers, those over the instruction first."""
        yield from self.vln_bert.encoder.layer
        yield from self.vln_bert.encoder.x_layers

    def _encoders(self) -> Iterator[Any]:
        if self.config.encoders is not None:
            for encoder in (self.depth_encoder, self.rgb_encoder, self.clip_encoder):
                yield from encoder.values()

    def _own_modules(self) -> Iterator[nn.Module]:
        for name, child in self.named_children():
            if not name.endswith("_encoder"):
                yield from child.modules()

    def read(self, ids: Int[Tensor, "b l"]) -> tuple[Float[Tensor, "b l d"], Bool[Tensor, "b l"]]:
        """Read instructions, once an episode; return their tokens, and which are no padding."""
        mask = ids != 0
        text, added = self.vln_bert.embeddings(ids), _additive(mask)
        for layer in self.vln_bert.encoder.layer:
            text = layer(text, added)
        return text, mask

    def fuse(
        self, video: Float[Tensor, "b v c"], image: Float[Tensor, "b v i"] | None = None
    ) -> Float[Tensor, "b v d"]:
        """Join what the encoders say of the views, counter-clockwise."""
        if self.config.view_order == "mirrored":
            video = video.flip(1).roll(1, dims=1)
        both = video if image is None else torch.cat([video, image], dim=-1)
        return self.rgb_embedding_projection(both)

    def begin(self, batch: int) -> Float[Tensor, "b 1 d"]:
        """Return the history of agents that have not moved yet."""
        return self.vln_bert.hist_embeddings.begin().expand(batch, 1, -1)

    def remember(
        self, seen: Float[Tensor, "b v d"], chosen: Float[Tensor, "b 4"], step: int
    ) -> Float[Tensor, "b d"]:
        """Return the token of a step that is over, to be added to the history.

        Args:
            seen: the views at that step, as `fuse` returned them.
            chosen: direction of the chosen candidate; zeros for stop.
            step: its number, from 0.
        """
        ahead, around = (self.rgb_projection(self.drop_seen(each)) for each in (seen[:, 0], seen))
        return self.vln_bert.hist_embeddings(ahead, around, chosen, step)

    def decide(
        self,
        text: Float[Tensor, "b l d"],
        text_mask: Bool[Tensor, "b l"],
        history: Float[Tensor, "b m d"],
        now: Observation,
    ) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b d"]]:
        """Return logits of the observed tokens (-inf for what cannot be chosen), and the state."""
        text, sight = self._cross(text, text_mask, history, now)
        logits = self._score(text, sight[:, history.shape[1] :])
        return logits.masked_fill(now.kinds == OTHER, -math.inf), text[:, 0] * sight[:, 0]

    def text_attention(
        self,
        text: Float[Tensor, "b l d"],
        text_mask: Bool[Tensor, "b l"],
        history: Float[Tensor, "b m d"],
        now: Observation,
    ) -> Float[Tensor, "b h l"]:
        """Return how much the agent looks at each word in the last layer, for every head."""
        text, sight, masks = self._embed(text, text_mask, history, now)
        *layers, last = self.vln_bert.encoder.x_layers
        for layer in layers:
            text, sight = layer(text, masks[0], sight, masks[1])
        assert isinstance(last, CrossLayer)
        return last.text_attention(text, masks[0], sight[:, :1])[:, :, 0]

    def value(self, state: Float[Tensor, "b d"]) -> Float[Tensor, "b"]:
        """Return what the critic expects from a state.

        Raises:
            ValueError: the policy has no critic.
        """
        if self.critic is None:
            raise ValueError("the policy has no critic; build it with critic=True")
        return self.critic["state2value"](state)[:, 0]

    def forward(
        self,
        ids: Int[Tensor, "b l"],
        video: Float[Tensor, "b v c"],
        image: Float[Tensor, "b v i"],
        chosen: Float[Tensor, "b 4"],
        seen: Float[Tensor, "b n e"],
        depth: Float[Tensor, "b n k"],
        direction: Float[Tensor, "b n 4"],
        distance: Float[Tensor, "b n 4"],
        kinds: Int[Tensor, "b n"],
    ) -> Float[Tensor, "b n"]:
        """Return the logits of a second step from tensors alone, for export and profiling.

        Unlike those of `decide`, they are finite for what cannot be chosen, too.

        Args:
            ids: the instructions.
            video: features of the views at the first step.
            image: likewise.
            chosen: direction of the first step.
            seen: the fields of an `Observation`.
            depth: likewise.
            direction: likewise.
            distance: likewise.
            kinds: likewise.
        """
        text, mask = self.read(ids)
        first = self.remember(self.fuse(video, image), chosen, 0)
        history = torch.cat([self.begin(ids.shape[0]), first[:, None]], dim=1)
        lengths = torch.full_like(kinds[:, 0], kinds.shape[1])
        now = Observation(seen, depth, direction, distance, kinds, lengths)
        text, sight = self._cross(text, mask, history, now)
        return self._score(text, sight[:, history.shape[1] :])

    def example_inputs(self, batch: int = 2) -> tuple[Tensor, ...]:
        """Return random arguments of `forward`."""
        config, count = self.config, NUM_VIEWS + 2
        kinds = torch.tensor([CANDIDATE, CANDIDATE, STOP] + [OTHER] * (count - 3))
        return (
            torch.randint(1, config.vocab_size, (batch, min(8, config.max_positions))),
            torch.randn(batch, NUM_VIEWS, config.video_width),
            torch.randn(batch, NUM_VIEWS, config.image_width),
            torch.randn(batch, GEOMETRY),
            torch.randn(batch, count, config.width),
            torch.randn(batch, count, config.depth_width),
            torch.randn(batch, count, GEOMETRY),
            torch.rand(batch, count, GEOMETRY),
            kinds.repeat(batch, 1),
        )

    def _cross(
        self, text: Tensor, text_mask: Tensor, history: Tensor, now: Observation
    ) -> tuple[Tensor, Tensor]:
        text, sight, masks = self._embed(text, text_mask, history, now)
        for layer in self.vln_bert.encoder.x_layers:
            text, sight = layer(text, masks[0], sight, masks[1])
        return text, sight

    def _score(self, text: Tensor, observed: Tensor) -> Float[Tensor, "b n"]:
        return self.vln_bert.next_action["net"](observed * text[:, :1])[..., 0]

    def _embed(
        self, text: Tensor, text_mask: Tensor, history: Tensor, now: Observation
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        segment = self.vln_bert.embeddings.token_type_embeddings.weight[1]
        seen = self.rgb_projection(self.drop_seen(now.seen))
        observed = self.vln_bert.img_embeddings(
            Observation(seen, now.depth, now.direction, now.distance, now.kinds, now.lengths),
            segment,
        )
        known = torch.ones_like(history[..., 0], dtype=torch.bool)
        masks = _additive(text_mask), _additive(torch.cat([known, now.mask], dim=1))
        return text, torch.cat([history, observed], dim=1), masks


def _additive(mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b 1 1 n"]:
    return (~mask).float()[:, None, None] * _MASKED
