"""A small agent: a convolutional network looks at the views, a `NavigationPolicy` decides.

    12 colour pictures, 12 of depth ──► a vector a view ──┐
    waypoints, which geometry finds in the depth ─────────┼──► policy ──► a waypoint, or stop
    instruction ──► words ────────────────────────────────┘

Letters: b agents, v views, h w pixels, d width, k numbers of the depth, l words.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from internvideo.errors import DataError
from internvideo.models.contract import Capability
from internvideo.models.navigation import (
    CANDIDATE,
    STOP,
    NavigationPolicy,
    NavigationPolicyConfig,
    Observation,
    view_angles,
)
from internvideo.models.navigation_layers import CrossLayer
from internvideo.models.waypoints import NUM_VIEWS

__all__ = ["SIZES", "Navigator", "NavigatorConfig", "words_of"]

_PADDING, _START = 0, 1
_SPECIAL = 2
_POOLED = 4


def words_of(instruction: str) -> list[str]:
    """Return the words and marks of an instruction, in lower case."""
    return re.findall(r"[^\W_]+|[.,;]", instruction.lower())


@dataclass(frozen=True, kw_only=True, slots=True)
class NavigatorConfig:
    """Shape of a `Navigator`.

    Attributes:
        policy: decides; its `vocab_size` is two more than there are words.
        vocabulary: the words that it knows, in the order of their ids.
        image_size: side of the colour pictures that it looks at, in pixels.
        depth_size: side of the depth pictures, from which waypoints are found.
        channels: of the layers that look, each at half the resolution of the one before.
        most: waypoints at once.
    """

    policy: NavigationPolicyConfig
    vocabulary: tuple[str, ...] = ()
    image_size: int = 24
    depth_size: int = 24
    channels: tuple[int, ...] = (16, 32, 32)
    most: int = 6

    def __post_init__(self) -> None:
        if self.vocabulary and self.policy.vocab_size != _SPECIAL + len(self.vocabulary):
            raise ValueError(
                f"policy.vocab_size is {self.policy.vocab_size}; expected {_SPECIAL} more than the "
                f"{len(self.vocabulary)} words of the vocabulary"
            )


SIZES = {
    "nano": NavigatorConfig(
        policy=NavigationPolicyConfig(
            vocab_size=_SPECIAL,
            max_positions=128,
            width=64,
            num_heads=4,
            mlp_hidden=128,
            language_depth=1,
            panorama_depth=1,
            cross_depth=2,
            max_steps=25,
            video_width=64,
            image_width=0,
            depth_width=_POOLED**2,
            drop_rate=0.0,
            attention_drop_rate=0.0,
            feature_drop_rate=0.0,
        )
    )
}


class _Sight(nn.Module):
    def __init__(self, config: NavigatorConfig) -> None:
        super().__init__()
        widths = (4, *config.channels)
        self.layers = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(4, after), nn.GELU())
                for before, after in itertools.pairwise(widths)
            )
        )
        places = (config.image_size >> len(config.channels)) ** 2
        self.out = nn.Linear(widths[-1] * places, config.policy.video_width)

    def forward(self, pictures: Float[Tensor, "n 4 h w"]) -> Float[Tensor, "n d"]:
        return self.out(self.layers(pictures).flatten(1))


class Navigator(nn.Module):
    """A policy with eyes of its own.

    Example:
        >>> text = agent.policy.read(agent.ids(["Walk into the blue room."]))
        >>> seen, depth = agent.look([observation])
    """

    capabilities: frozenset[Capability] = frozenset({"navigation"})

    def __init__(self, config: NavigatorConfig) -> None:
        super().__init__()
        self.config = config
        self.sight = _Sight(config)
        self.policy = NavigationPolicy(config.policy)
        self.reset_parameters()
        self._places = {word: _SPECIAL + n for n, word in enumerate(config.vocabulary)}

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for module in self.sight.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear, nn.GroupNorm)):
                module.reset_parameters()
        self.policy.reset_parameters()
        for module in self.policy.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
                # A layer norm of nothing but zeros, such as of what "stop" looks like, has a
                # gradient beyond all bounds.
                nn.init.normal_(module.bias, std=0.02)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)

        for layer in self.policy.vln_bert.encoder.x_layers:
            assert isinstance(layer, CrossLayer)
            att = layer.visual_attention.att  # what is alike attends to each other from the start
            att.key.weight.data.copy_(att.query.weight)

    def reset_buffers(self) -> None:
        """There are none."""

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the layers of the policy."""
        yield from self.policy.block_modules()

    def ids(self, instructions: Sequence[str]) -> Int[Tensor, "b l"]:
        """Return instructions as numbers, padded with 0; words that it never learnt are left out.

        Raises:
            DataError: one is empty, has no word that it knows, or more than the policy reads.
        """
        limit, rows = self.config.policy.max_positions, list[Tensor]()
        for instruction in instructions:
            if not instruction.strip():
                raise DataError(
                    'the instruction is empty; say where to go: "Left to the blue bed."'
                )
            words = [self._places[word] for word in words_of(instruction) if word in self._places]
            if not words:
                raise DataError(
                    f"the agent knows no word of the instruction {instruction[:60]!r}; it knows "
                    f"{', '.join(word for word in self._places if word.isalpha())}"
                )
            if len(words) >= limit:
                raise DataError(
                    f"the instruction has {len(words)} words and marks, this agent reads at most "
                    f"{limit - 1}; shorten it: {instruction[:60]!r}"
                )
            rows.append(torch.tensor([_START, *words]))
        padded = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=_PADDING)
        return padded.to(self.sight.out.weight.device)

    def look(
        self, observations: Sequence[Mapping[str, Any]]
    ) -> tuple[Float[Tensor, "b v d"], Float[Tensor, "b v k"]]:
        """Return what the policy reads of panoramas, as the environment gives them."""
        weight = self.sight.out.weight
        rgb, depth = (
            torch.from_numpy(np.stack([seen[name] for seen in observations])).to(weight.device)
            for name in ("rgb", "depth")
        )
        colours = rearrange(rgb, "b v h w c -> b v c h w").to(weight.dtype) / 127.5 - 1
        return self._see(colours, rearrange(depth, "b v h w 1 -> b v 1 h w").to(weight.dtype))

    def _see(
        self, colours: Float[Tensor, "b v 3 h w"], depth: Float[Tensor, "b v 1 y x"]
    ) -> tuple[Float[Tensor, "b v d"], Float[Tensor, "b v k"]]:
        far = depth.flatten(0, 1)
        coarse = F.adaptive_avg_pool2d(far, (colours.shape[3], colours.shape[4]))
        seen = self.sight(torch.cat([colours.flatten(0, 1), coarse], dim=1))
        pooled = F.adaptive_avg_pool2d(far, _POOLED).flatten(1)
        seen, pooled = (each.unflatten(0, (-1, NUM_VIEWS)) for each in (seen, pooled))
        return self.policy.fuse(seen), pooled

    def forward(
        self,
        ids: Int[Tensor, "b l"],
        colours: Float[Tensor, "b v 3 h w"],
        depth: Float[Tensor, "b v 1 y x"],
        chosen: Float[Tensor, "b 4"],
    ) -> Float[Tensor, "b n"]:
        """Return logits of going along each view, and of stopping, where a step led to no change.

        For export and profiling: tensors alone.

        Args:
            ids: the instructions.
            colours: of the views, −1 to 1.
            depth: of the views, 0 to 1 for ten metres.
            chosen: direction of the step before.
        """
        seen, distances = self._see(colours, depth)
        text, mask = self.policy.read(ids)
        first = self.policy.remember(seen, chosen, 0)
        history = torch.cat([self.policy.begin(ids.shape[0]), first[:, None]], dim=1)
        seen, distances = (F.pad(each, (0, 0, 0, 1)) for each in (seen, distances))
        directions = F.pad(view_angles(seen.device).to(seen.dtype), (0, 0, 0, 1))
        directions = directions.expand(ids.shape[0], -1, -1)
        kinds = torch.tensor([CANDIDATE] * NUM_VIEWS + [STOP], device=seen.device)
        kinds = kinds.expand(ids.shape[0], -1)
        lengths = torch.full_like(kinds[:, 0], NUM_VIEWS + 1)
        now = Observation(seen, distances, directions, directions.square(), kinds, lengths)
        return self.policy.decide(text, mask, history, now)[0]

    def example_inputs(self, batch: int = 2) -> tuple[Tensor, ...]:
        """Return random arguments of `forward`."""
        config = self.config
        words = min(8, config.policy.max_positions)
        return (
            torch.randint(1, config.policy.vocab_size, (batch, words)),
            torch.rand(batch, NUM_VIEWS, 3, config.image_size, config.image_size) * 2 - 1,
            torch.rand(batch, NUM_VIEWS, 1, config.depth_size, config.depth_size),
            torch.randn(batch, 4),
        )
