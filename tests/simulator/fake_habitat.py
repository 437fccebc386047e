"""What the adapter uses of `habitat_sim`, with a square of 8 m in place of a scene."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

HALF = 4.0


class PathFinder:
    is_loaded = False

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)

    def seed(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def get_random_navigable_point(self) -> np.ndarray:
        x, z = self._random.uniform(-HALF, HALF, 2)
        return np.array([x, 0.0, z], np.float32)

    def is_navigable(self, point: np.ndarray) -> bool:
        return bool(abs(point[0]) <= HALF and abs(point[2]) <= HALF and abs(point[1]) < 0.5)

    def snap_point(self, point: np.ndarray) -> np.ndarray:
        return np.array([*np.clip(point[[0, 2]], -HALF, HALF), 0.0], np.float32)[[0, 2, 1]]

    def try_step(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        assert start.dtype == end.dtype == np.float32
        return self.snap_point(end)

    def try_step_no_sliding(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        return end if self.is_navigable(end) else start

    def find_path(self, way: Any) -> bool:
        if not (self.is_navigable(way.requested_start) and self.is_navigable(way.requested_end)):
            return False
        way.points = [way.requested_start, way.requested_end]
        way.geodesic_distance = float(np.linalg.norm(way.requested_end - way.requested_start))
        return True


class Agent:
    state: Any = None

    def set_state(self, state: Any) -> None:
        x, y, z, w = state.rotation
        assert math.isclose(x * x + y * y + z * z + w * w, 1.0)
        self.state = state


class Simulator:
    opened = 0

    def __init__(self, configuration: tuple[Any, list[Any]]) -> None:
        self.world, (self.body,) = configuration
        self.pathfinder, self.agent, self.closed = PathFinder(), Agent(), False
        Simulator.opened += 1

    def recompute_navmesh(self, finder: PathFinder, settings: Any) -> bool:
        finder.is_loaded = settings.agent_radius > 0
        return finder.is_loaded

    def get_agent(self, number: int) -> Agent:
        assert number == 0
        return self.agent

    def get_sensor_observations(self) -> dict[str, np.ndarray]:
        """Depth straight ahead in every pixel; the colour is half the yaw in degrees."""
        state = self.agent.state
        yaw = 2 * math.atan2(state.rotation[1], state.rotation[3]) % (2 * math.pi)
        ahead = np.array([-math.sin(yaw), -math.cos(yaw)])
        at = np.asarray(state.position, np.float64)[[0, 2]]
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = np.min(np.where(ahead == 0, np.inf, (np.sign(ahead) * HALF - at) / ahead))
        seen = {}
        for camera in self.body.sensor_specifications:
            height, width = camera.resolution
            if camera.uuid == "rgb":
                shade = round(math.degrees(yaw)) % 360 // 2
                seen["rgb"] = np.full((height, width, 4), shade, np.uint8)
            else:
                seen["depth"] = np.full((height, width), depth, np.float32)
        return seen

    def close(self) -> None:
        self.closed = True


def module() -> Any:
    """Return what stands for the module `habitat_sim`."""
    return SimpleNamespace(
        Simulator=Simulator,
        SimulatorConfiguration=SimpleNamespace,
        Configuration=lambda world, agents: (world, agents),
        CameraSensorSpec=SimpleNamespace,
        SensorType=SimpleNamespace(COLOR=1, DEPTH=2),
        NavMeshSettings=lambda: SimpleNamespace(set_defaults=lambda: None),
        AgentState=SimpleNamespace,
        ShortestPath=SimpleNamespace,
        agent=SimpleNamespace(AgentConfiguration=SimpleNamespace),
    )
