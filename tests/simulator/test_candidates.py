"""Where an agent can go by what it sees."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from internvideo.models.waypoints import NUM_VIEWS, Waypoints
from internvideo.simulator.backend import Sensors
from internvideo.simulator.candidates import free_ways, obstacles, open_waypoints
from internvideo.simulator.embedded import EmbeddedBackend
from internvideo.simulator.moves import walk


def depth_of_a_hall(metres: float, size: int = 24) -> torch.Tensor:
    """Return what one sees in the middle of a round hall without furniture."""
    across = torch.tan(torch.tensor(math.pi / 4)) * ((torch.arange(size) + 0.5) / size * 2 - 1)
    planar = metres / torch.hypot(across, torch.ones(()))
    walls = planar.expand(size, size)
    floor = torch.where(across > 0, 1.25 / across.clamp(min=1e-6), torch.inf)[:, None]
    return torch.minimum(walls, floor).expand(1, NUM_VIEWS, size, size)


def test_obstacles_are_where_the_walls_are():
    nearest = obstacles(depth_of_a_hall(4.0))
    torch.testing.assert_close(nearest, torch.full_like(nearest, 4.0), rtol=1e-3, atol=0)
    ways = free_ways(nearest)
    assert ((ways > 3.5) & (ways < 3.9)).all()
    (places,) = open_waypoints(depth_of_a_hall(4.0), most=6)
    assert len(places.angles) == 6
    assert (places.metres == 3.0).all()
    apart = places.angles[:, None] - places.angles + 120 * torch.eye(6, dtype=torch.long)
    assert torch.minimum(apart % 120, -apart % 120)[~torch.eye(6, dtype=torch.bool)].min() >= 6


def test_an_agent_in_a_nook_still_has_a_way():
    (places,) = open_waypoints(depth_of_a_hall(0.25), most=6)
    assert len(places.angles) == 1
    assert places.metres.tolist() == [0.25]


def test_waypoints_in_houses_can_be_walked_to():
    pytest.importorskip("embreex")
    backend, rng = EmbeddedBackend(), np.random.default_rng(0)
    backend.load("rooms/3-9m.json")
    short = []
    for _ in range(12):
        start, yaw = backend.random_point(rng), float(rng.uniform(0, 6))
        seen = backend.render(start, yaw, Sensors(rgb=0, depth=24)).depth[None, ..., 0]
        (places,) = open_waypoints(torch.from_numpy(seen) * 10, most=6)
        for angle, metres in zip(places.turns.tolist(), places.metres.tolist(), strict=True):
            end, _ = walk(backend, start, yaw, angle, metres).end
            short.append(metres - math.dist(start, end))
    assert np.mean(np.array(short) < 0.3) > 0.9


def test_waypoints_become_actions_to_the_left():
    places = Waypoints(torch.tensor([30, 90]), torch.tensor([3, 11]))
    assert places.turns.tolist() == pytest.approx([1.5 * math.pi, 0.5 * math.pi])
    assert places.metres.tolist() == [1.0, 3.0]
