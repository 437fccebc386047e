"""Where an agent can go, by the geometry of the depth that it sees: no network, nothing learnt.

    12 depth pictures ──► nearest obstacle of each angle ──► how far one can walk ──► peaks

It stands beside the `WaypointPredictor`, for agents whose depth is exact.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from internvideo.models.waypoints import NUM_ANGLES, NUM_DISTANCES, NUM_VIEWS, STEP, Waypoints

__all__ = ["free_ways", "obstacles", "open_waypoints"]

_BAND = (0.1, 1.5)  # metres above the floor: what stands there is in the way
_CLEARANCE = 0.2  # metres that are kept to obstacles
_APART = 6  # angles between two waypoints, at least


@lru_cache(4)
def _rays(
    size: int, tangent: float
) -> tuple[Int[Tensor, "v w"], Float[Tensor, "h"], Float[Tensor, "w"]]:
    """Return the angle of each column of each view, the slope of each row, the reach of columns."""
    across = ((torch.arange(size) + 0.5) / size * 2 - 1) * tangent
    turned = torch.arange(NUM_VIEWS)[:, None] * (2 * math.pi / NUM_VIEWS)
    clockwise = torch.atan(across)[None] - turned
    angle = (clockwise / (2 * math.pi) * NUM_ANGLES).round().long() % NUM_ANGLES
    return angle, -across, torch.hypot(across, torch.ones(()))


def obstacles(
    depth: Float[Tensor, "b v h w"], *, height: float = 1.25, field_of_view: float = 90.0
) -> Float[Tensor, "b a"]:
    """Return the horizontal distance to what stands in the way, for each clockwise angle.

    Args:
        depth: planar, in metres, of the counter-clockwise views.
        height: of the cameras above the floor, in metres.
        field_of_view: in degrees.
    """
    angle, slope, reach = _rays(depth.shape[-1], math.tan(math.radians(field_of_view) / 2))
    above = height + depth * slope[:, None]
    standing = (above > _BAND[0]) & (above < _BAND[1])
    nearest = depth.where(standing, torch.inf).amin(dim=2) * reach
    found = depth.new_full((len(depth), NUM_ANGLES), torch.inf)
    places = angle.flatten().expand(len(depth), -1)
    found = found.scatter_reduce(1, places, nearest.flatten(1), "amin")
    beside = torch.minimum(found.roll(1, dims=1), found.roll(-1, dims=1))
    seen = torch.zeros(NUM_ANGLES, dtype=torch.bool).index_fill(0, angle.flatten(), True)
    found = found.where(seen, beside)  # coarse pictures have no column at some angles
    return found.clamp(max=2 * NUM_DISTANCES * STEP + 4)


def free_ways(nearest: Float[Tensor, "b a"]) -> Float[Tensor, "b a"]:
    """Return how far one can walk straight in each direction without touching an obstacle."""
    turn = torch.arange(NUM_ANGLES) * (2 * math.pi / NUM_ANGLES)
    apart = turn[:, None] - turn
    aside = (nearest[:, None] * apart.sin()).abs()
    ahead = nearest[:, None] * apart.cos()
    blocked = (aside < _CLEARANCE) & (ahead > 0)
    return (ahead.where(blocked, torch.inf).amin(dim=2) - _CLEARANCE).clamp(min=0, max=10)


def open_waypoints(depth: Float[Tensor, "b v h w"], *, most: int = 8) -> list[Waypoints]:
    """Return waypoints where one can walk furthest; one at least, and 18 degrees apart.

    Args:
        depth: planar, in metres, of the counter-clockwise views.
        most: waypoints of an agent.
    """
    ways = free_ways(obstacles(depth))
    steps = (ways / STEP + 1e-4).floor().clamp(max=NUM_DISTANCES).long()
    left, angles = ways.clone(), torch.arange(NUM_ANGLES)
    chosen = torch.zeros(len(ways), NUM_ANGLES, dtype=torch.bool)
    for number in range(most):
        best, place = left.max(dim=1)
        good = best >= (STEP if number else 0)
        chosen[torch.arange(len(ways)), place] |= good
        apart = (angles - place[:, None]).abs()
        left = left.masked_fill(torch.minimum(apart, NUM_ANGLES - apart) < _APART, -1.0)
    return [
        Waypoints(each.nonzero()[:, 0], (far[each] - 1).clamp(min=0))
        for each, far in zip(chosen, steps, strict=True)
    ]
