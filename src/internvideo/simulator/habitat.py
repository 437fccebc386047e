"""Habitat-Sim, where it is installed, behind the same protocol as the embedded simulator.

It has no wheel: it comes from conda or is built from source. From version 0.2 on everything that is
needed here is in `habitat_sim` itself. Published numbers on R2R-CE belong to the navigation meshes
`SCENE.navmesh` that lie beside the scenes of Matterport3D; where there is none, one is computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from internvideo.errors import DataError, MissingExtraError
from internvideo.simulator.backend import BODY, VIEWS, Panorama, Position, Sensors, scene_path

__all__ = ["HabitatBackend"]


@dataclass(frozen=True, slots=True)
class _Open:
    simulator: Any
    scene_id: str
    sensors: Sensors


class HabitatBackend:
    """Habitat-Sim as a `Backend`.

    Args:
        scenes: the folder below which the files of scenes lie.
        sliding: whether an agent that meets a wall at an angle slides along it.
        radius: of the agent in metres, where a navigation mesh must be computed.

    Raises:
        MissingExtraError: `habitat_sim` is not installed.
    """

    def __init__(self, *, scenes: str = "", sliding: bool = True, radius: float = 0.1) -> None:
        try:
            import habitat_sim  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise MissingExtraError(
                "the simulator 'habitat' needs Habitat-Sim 0.2 or later, which is not on PyPI; "
                "install it from conda (conda install habitat-sim headless -c conda-forge -c "
                "aihabitat), or use the simulator 'rooms'"
            ) from error
        self._library: Any = habitat_sim
        self._folder, self._sliding, self._radius = scenes, sliding, radius
        self._open: _Open | None = None

    def load(self, scene_id: str) -> None:
        """Open a scene; DataError: there is no such file."""
        if self._open is None or self._open.scene_id != scene_id:
            self._start(scene_id, self._open.sensors if self._open else Sensors())

    def _start(self, scene_id: str, sensors: Sensors) -> None:
        library = self._library
        path = scene_path(scene_id, self._folder)
        if self._open is not None:
            self._open.simulator.close()
            self._open = None
        world = library.SimulatorConfiguration()
        world.scene_id = str(path)
        world.allow_sliding = self._sliding
        world.enable_physics = False
        agent = library.agent.AgentConfiguration()
        agent.height, agent.radius = BODY, self._radius
        agent.sensor_specifications = [
            self._camera(name, kind, side, sensors)
            for name, kind, side in (
                ("rgb", library.SensorType.COLOR, sensors.rgb),
                ("depth", library.SensorType.DEPTH, sensors.depth),
            )
            if side
        ]
        simulator = library.Simulator(library.Configuration(world, [agent]))
        if not simulator.pathfinder.is_loaded:
            settings = library.NavMeshSettings()
            settings.set_defaults()
            settings.agent_radius, settings.agent_height = self._radius, BODY
            if not simulator.recompute_navmesh(simulator.pathfinder, settings):
                simulator.close()
                raise DataError(
                    f"cannot use the scene {path}: no navigation mesh, and none can be computed"
                )
        self._open = _Open(simulator, scene_id, sensors)

    def _camera(self, name: str, kind: Any, side: int, sensors: Sensors) -> Any:
        camera = self._library.CameraSensorSpec()
        camera.uuid, camera.sensor_type = name, kind
        camera.resolution = [side, side]
        camera.position = [0.0, sensors.height, 0.0]
        camera.hfov = sensors.field_of_view
        return camera

    @property
    def _simulator(self) -> Any:
        if self._open is None:
            raise DataError("no scene is open; load one first, such as 'mp3d/ID/ID.glb'")
        return self._open.simulator

    def render(self, position: Position, yaw: float, sensors: Sensors) -> Panorama:
        """Return what an agent sees; other sensors than before open the scene again.

        Holes of a scan have depth 0, as Habitat's own sensors give it.
        """
        if self._open is not None and self._open.sensors != sensors:
            self._start(self._open.scene_id, sensors)
        agent = self._simulator.get_agent(0)
        rgb = np.zeros((VIEWS, sensors.rgb, sensors.rgb, 3), np.uint8)
        depth = np.zeros((VIEWS, sensors.depth, sensors.depth, 1), np.float32)
        for view in range(VIEWS) if sensors.rgb or sensors.depth else ():
            half = (yaw + view * 2 * math.pi / VIEWS) / 2
            state = self._library.AgentState()
            state.position = np.asarray(position, np.float32)
            state.rotation = [0.0, math.sin(half), 0.0, math.cos(half)]  # x, y, z, w
            agent.set_state(state)
            seen = self._simulator.get_sensor_observations()
            if sensors.rgb:
                rgb[view] = np.asarray(seen["rgb"])[..., :3]
            if sensors.depth:
                depth[view, ..., 0] = sensors.scaled(np.asarray(seen["depth"], np.float32))
        return Panorama(rgb, depth)

    def forward(self, position: Position, yaw: float, distance: float) -> tuple[Position, bool]:
        """Return where a step forward ends, and whether something was in the way."""
        finder = self._simulator.pathfinder
        step = finder.try_step if self._sliding else finder.try_step_no_sliding
        ahead = np.array([-math.sin(yaw), 0.0, -math.cos(yaw)]) * distance
        start = np.asarray(position, np.float32)
        end = np.asarray(step(start, (start + ahead).astype(np.float32)), np.float64)
        walked = math.hypot(end[0] - position[0], end[2] - position[2])
        return end, walked < distance - 1e-4

    def _way(self, start: Position, end: Position) -> Any:
        way = self._library.ShortestPath()
        way.requested_start = np.asarray(start, np.float32)
        way.requested_end = np.asarray(end, np.float32)
        return way if self._simulator.pathfinder.find_path(way) else None

    def geodesic(self, start: Position, end: Position) -> float:
        """Return the length of the shortest way in metres; inf where there is none."""
        way = self._way(start, end)
        return math.inf if way is None else float(way.geodesic_distance)

    def shortest_path(self, start: Position, end: Position) -> Float[np.ndarray, "points 3"]:
        """Return the corners of the shortest way, both ends included; none where there is none."""
        way = self._way(start, end)
        return np.zeros((0, 3)) if way is None else np.stack(way.points).astype(np.float64)

    def is_navigable(self, position: Position) -> bool:
        """Return whether an agent can stand there."""
        return bool(self._simulator.pathfinder.is_navigable(np.asarray(position, np.float32)))

    def random_point(self, rng: np.random.Generator) -> Position:
        """Draw a place where an agent can stand."""
        finder = self._simulator.pathfinder
        finder.seed(int(rng.integers(2**31)))
        return np.asarray(finder.get_random_navigable_point(), np.float64)

    def snap(self, position: Position) -> Position:
        """Return the nearest place where an agent can stand."""
        finder = self._simulator.pathfinder
        return np.asarray(finder.snap_point(np.asarray(position, np.float32)), np.float64)
