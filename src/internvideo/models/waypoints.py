"""Waypoints around an agent, found in the depth that it sees (Hong et al. 2022).

    12 depth maps, clockwise ──► 12 tokens ──► ring of attention ──► heat map of 120 x 12 places
    heat map ──► softmax ──► non-maximum suppression ──► at most 5 (angle, distance)

A place of the heat map is an angle of 3 degrees, clockwise from the heading, and a distance of 0.25
to 3 metres. Names are those of the released file.

Letters: b batch, v views, d channels and (h, w) places of a depth map, a angles, r distances.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from internvideo.models.bert_layers import BertConfig, BertLayer
from internvideo.models.contract import Capability

__all__ = [
    "NUM_ANGLES",
    "NUM_DISTANCES",
    "NUM_VIEWS",
    "SIZES",
    "STEP",
    "WaypointPredictor",
    "WaypointPredictorConfig",
    "Waypoints",
    "find_waypoints",
    "jitter",
    "sector_logits",
    "suppress",
]

NUM_VIEWS, NUM_ANGLES, NUM_DISTANCES = 12, 120, 12
STEP = 0.25
"""Metres between two distances."""

_PER_VIEW = NUM_ANGLES // NUM_VIEWS
_HALF_VIEW = _PER_VIEW // 2
_MASKED = -10000.0


@dataclass(frozen=True, kw_only=True, slots=True)
class WaypointPredictorConfig:
    """Shape of a `WaypointPredictor`.

    Attributes:
        depth_features: numbers of the depth map of one view.
        width: of the tokens.
        depth: number of layers.
        num_heads: attention heads.
        mlp_hidden: width inside the feed-forward.
        drop_rate: dropout of every residual branch and in front of the classifier.
        attention_drop_rate: dropout of the attention weights.
    """

    depth_features: int = 2048
    width: int = 768
    depth: int = 2
    num_heads: int = 12
    mlp_hidden: int = 3072
    drop_rate: float = 0.3
    attention_drop_rate: float = 0.1


SIZES = {"released": WaypointPredictorConfig()}


@dataclass(frozen=True, eq=False, slots=True)
class Waypoints:
    """Places that one agent may go to, in the order of angle and distance.

    Attributes:
        angles: clockwise from the heading, in 3 degrees.
        distances: 0 to 11; 0 is 0.25 m.
    """

    angles: Int[Tensor, "n"]
    distances: Int[Tensor, "n"]

    @property
    def turns(self) -> Float[Tensor, "n"]:
        """What to turn by, counter-clockwise, in radians."""
        return 2 * math.pi - self._clockwise

    @property
    def metres(self) -> Float[Tensor, "n"]:
        """How far they are."""
        return (self.distances + 1) * STEP

    @property
    def views(self) -> Int[Tensor, "n"]:
        """The counter-clockwise view that shows each of them."""
        return (NUM_VIEWS - self.sectors) % NUM_VIEWS

    @property
    def sectors(self) -> Int[Tensor, "n"]:
        """The clockwise view that shows each of them."""
        return (self.angles + _HALF_VIEW) // _PER_VIEW % NUM_VIEWS

    @property
    def angle_features(self) -> Float[Tensor, "n 4"]:
        """Direction as the policy reads it."""
        clockwise = self._clockwise
        still = torch.zeros_like(clockwise)
        return torch.stack([clockwise.sin(), clockwise.cos(), still, still + 1], dim=-1)

    @property
    def distance_features(self) -> Float[Tensor, "n 4"]:
        """Distance as the policy reads it, in the longest one."""
        return (self.metres / (NUM_DISTANCES * STEP))[:, None].expand(-1, 4)

    @property
    def _clockwise(self) -> Float[Tensor, "n"]:
        return self.angles / NUM_ANGLES * 2 * math.pi


class WaypointPredictor(nn.Module):
    """Heat map of the places around an agent that can be walked to.

    Example:
        >>> model = WaypointPredictor(SIZES["released"]).eval()
        >>> find_waypoints(model(torch.randn(1, 12, 128, 4, 4)))[0].turns
    """

    capabilities: frozenset[Capability] = frozenset({"navigation"})

    def __init__(self, config: WaypointPredictorConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.visual_fc_depth = nn.Sequential(
            nn.Flatten(2), nn.Linear(config.depth_features, width), nn.ReLU()
        )
        bert = BertConfig(
            width=width,
            depth=config.depth,
            num_heads=config.num_heads,
            mlp_hidden=config.mlp_hidden,
            fusion_layer=config.depth,
            drop_rate=config.drop_rate,
            attention_drop_rate=config.attention_drop_rate,
        )
        layers = nn.ModuleList(BertLayer(bert, fusion=False) for _ in range(config.depth))
        encoder = nn.ModuleDict({"layer": layers})
        self.waypoint_TRM = nn.ModuleDict({"bert": nn.ModuleDict({"encoder": encoder})})
        self.drop = nn.Dropout(config.drop_rate)
        self.vis_classifier = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, _PER_VIEW * NUM_DISTANCES)
        )
        # COMPAT: the released file holds these two, which nothing reads.
        self.visual_merge = nn.Sequential(nn.Linear(2 * width, width)).requires_grad_(False)
        self.mergefeats_LayerNorm = nn.LayerNorm(width, eps=1e-12).requires_grad_(False)
        self.near: Tensor
        self.register_buffer("near", neighbours(), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()

    def reset_buffers(self) -> None:
        """Make the mask of the ring anew."""
        self.near = neighbours().to(self.mergefeats_LayerNorm.weight.device)

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the layers, the first one first."""
        yield from self.waypoint_TRM.get_submodule("bert.encoder.layer").children()

    def forward(self, depth: Float[Tensor, "b v d h w"]) -> Float[Tensor, "b a r"]:
        """Return logits; row r of the heat map is the angle r, seen in the middle of a view.

        Args:
            depth: maps of the 12 views, clockwise.
        """
        tokens = self.visual_fc_depth(depth)
        mask = (~self.near).to(tokens.dtype)[None, None] * _MASKED
        for layer in self.block_modules():
            tokens = layer(tokens, mask)
        heat = self.vis_classifier(self.drop(tokens)).unflatten(2, (_PER_VIEW, NUM_DISTANCES))
        return heat.flatten(1, 2).roll(-_HALF_VIEW, dims=1)

    def example_inputs(self, batch: int = 2) -> tuple[Tensor]:
        """Return random arguments of `forward`."""
        channels = self.config.depth_features
        return (torch.randn(batch, NUM_VIEWS, channels, 1, 1),)


def neighbours() -> Bool[Tensor, "v v"]:
    """Tell which views look at each other: each at itself and the two beside it."""
    places = torch.arange(NUM_VIEWS)
    apart = (places[:, None] - places).abs()
    return (apart <= 1) | (apart == NUM_VIEWS - 1)


def suppress(
    heat: Float[Tensor, "b a r"],
    *,
    most: int = 5,
    sigma: tuple[float, float] = (7.0, 5.0),
    gaussian: bool = False,
) -> Float[Tensor, "b a r"]:
    """Keep the peaks of heat maps, and nothing else.

    Each round keeps the highest place that is left and takes its neighbourhood off.

    COMPAT: the row of a place is a fraction, its number in the map over the width, so that mostly
    ten rows are taken off and not eleven; columns wrap on one side only (fixture `vln-nms`).

    Args:
        heat: probabilities.
        most: rounds.
        sigma: reach along distances and along angles.
        gaussian: damp the neighbourhood instead of taking it off.
    """
    batch, rows, columns = heat.shape
    left, kept, flat = heat.clone(), torch.zeros_like(heat), heat.flatten(1)
    row = torch.arange(rows, dtype=heat.dtype, device=heat.device)[None, :, None]
    column = torch.arange(columns, dtype=heat.dtype, device=heat.device)[None, None]
    for _ in range(most):
        place = left.flatten(1).argmax(dim=1, keepdim=True)
        kept.view(batch, -1).scatter_(1, place, flat.gather(1, place))
        aside = column - (place % columns)[:, :, None]
        aside = torch.minimum(aside.abs(), (aside + columns).abs())
        above = row - (place / columns)[:, :, None]
        if gaussian:
            left = left * (
                1 - torch.exp(-0.5 * ((aside / sigma[0]) ** 2 + (above / sigma[1]) ** 2))
            )
        else:
            left = left * ~((aside <= sigma[0]) & (above.abs() <= sigma[1]))
    return kept.clamp(min=0)


def find_waypoints(logits: Float[Tensor, "b a r"], *, most: int = 5) -> list[Waypoints]:
    """Return the waypoints of each agent; one or more, as the map has peaks.

    The first and the last angle are neighbours: the map gets a row more at either end before the
    peaks are found, and what is found there does not count.
    """
    heat = logits.flatten(1).softmax(dim=1).unflatten(1, logits.shape[1:])
    wrapped = torch.cat([heat[:, -1:], heat, heat[:, :1]], dim=1)
    peaks = suppress(wrapped, most=most)[:, 1:-1]
    return [Waypoints(*each.nonzero(as_tuple=True)) for each in peaks]


def sector_logits(
    logits: Float[Tensor, "a r"], sectors: Int[Tensor, "n"]
) -> Float[Tensor, "n 120"]:
    """Return the logits of all places that the clockwise views `sectors` show."""
    return logits.roll(_HALF_VIEW, dims=0).unflatten(0, (NUM_VIEWS, _PER_VIEW))[sectors].flatten(1)


def jitter(
    logits: Float[Tensor, "a r"],
    waypoints: Waypoints,
    *,
    generator: torch.Generator | None = None,
) -> Waypoints:
    """Draw another place for each waypoint, in the view that shows it: augmentation in training.

    The reference draws places of the view ahead five angles too far to the right; not so here.
    """
    odds = sector_logits(logits, waypoints.sectors).softmax(dim=1)
    return placed(waypoints.sectors, torch.multinomial(odds, 1, generator=generator)[:, 0])


def placed(sectors: Int[Tensor, "n"], cells: Int[Tensor, "n"]) -> Waypoints:
    """Return waypoints by the clockwise view that shows them and the number of the place in it."""
    angles = sectors * _PER_VIEW - _HALF_VIEW + cells // NUM_DISTANCES
    return Waypoints(angles % NUM_ANGLES, cells % NUM_DISTANCES)
