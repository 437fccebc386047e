"""Walking an episode: a Gymnasium environment over any simulator.

    env = NavigationEnv(make_episodes(["rooms/1.json"], 3))
    seen, info = env.reset(seed=0)
    seen, reward, terminated, truncated, info = env.step(
        {"stop": 0, "angle": math.pi / 6, "distance": 1.5}
    )

`gymnasium.make("internvideo.simulator.environment:VLNCE-Rooms-v0", episodes=...)` makes the
same, and functions that do so are what `gymnasium.vector.AsyncVectorEnv` wants. Give that
`shared_memory=False`: from shared memory Gymnasium reads instructions once and never again.
"""

from __future__ import annotations

import math
import string
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import UInt8

from internvideo.errors import ConfigError, DataError
from internvideo.simulator.backend import VIEWS, Backend, Panorama, Position, Sensors
from internvideo.simulator.episodes import Episode, Truth, read_episodes
from internvideo.simulator.metrics import SUCCESS_DISTANCE, measure
from internvideo.simulator.moves import FORWARD, LEFT, STEP, STOP, walk
from internvideo.simulator.opening import open_backend

__all__ = ["ENVIRONMENT_ID", "History", "NavigationEnv", "check_episode"]

ENVIRONMENT_ID = "VLNCE-Rooms-v0"
CONTROLS = ("waypoints", "steps")
MAX_WORDS = 512  # of an instruction; the longest of RxR-CE have some 400
_CHARACTERS = 4096  # in the space of instructions, which vectors of environments must share

Pose = tuple[Position, float]


class History:
    """The last states of an agent, whose pictures are rendered when somebody looks, and once.

    Args:
        length: how many states; before there are as many, the first one stands for the others.
    """

    def __init__(self, length: int) -> None:
        self._poses: deque[Pose] = deque(maxlen=length)
        self._seen: dict[tuple[float, ...], UInt8[np.ndarray, "views rgb rgb 3"]] = {}

    def begin(self, pose: Pose) -> None:
        """Forget everything; the agent stands still."""
        self._seen.clear()
        self._poses.extend([pose] * (self._poses.maxlen or 0))

    def add(self, poses: Sequence[Pose]) -> None:
        """Add what the agent passed through."""
        self._poses.extend(poses)

    def pictures(
        self, backend: Backend, sensors: Sensors
    ) -> UInt8[np.ndarray, "length views rgb rgb 3"]:
        """Return the panoramas, oldest first."""
        keys = [(*map(float, position), yaw) for position, yaw in self._poses]
        for key, (position, yaw) in zip(keys, self._poses, strict=True):
            if key not in self._seen:
                colours = Sensors(
                    rgb=sensors.rgb,
                    depth=0,
                    field_of_view=sensors.field_of_view,
                    height=sensors.height,
                )
                self._seen[key] = backend.render(position, yaw, colours).rgb
        self._seen = {key: self._seen[key] for key in keys}
        return np.stack([self._seen[key] for key in keys])


class NavigationEnv(gymnasium.Env[dict[str, Any], Any]):
    """Episodes one after the other, in the order given.

    An observation has `rgb` (12, s, s, 3) uint8, `depth` (12, s, s, 1) float32 0 to 1, the
    `instruction`, the `position` in metres and the `heading` in radians to the left of −z; and with
    a history `history_rgb` (history, 12, s, s, 3), oldest first, the present the last.

    Actions are, as `control` says, `{"stop": 0 | 1, "angle": radians to the left, "distance":
    metres}`, of which whole steps of 0.25 m are walked, or 0 stop, 1 a step of 0.25 m forward, 2 a
    turn to the left, 3 to the right. The reward is by how many metres of the shortest way the goal
    came nearer. An episode is terminated by stopping, and truncated after `max_steps` actions.

    `info` has `episode_id`, `distance_to_goal`, the `positions` and `collisions` of this action,
    and at the end `metrics` and `poses`, the whole walk.

    Args:
        episodes: records, or a file of R2R-CE or RxR-CE.
        backend: a simulator, or its name: `rooms`, `habitat`.
        scenes: the folder below which scenes lie that are files.
        sensors: the cameras.
        control: `waypoints` or `steps`.
        turn_degrees: of a single turn.
        sliding: whether an agent slides along walls.
        max_steps: actions until an episode is cut off; 25 is usual for way-points, 500 for steps.
        success_distance: metres from the goal.
        history: how many past states are seen; 0 has none, published agents see 16.
        max_words: of an instruction.
        truth: true walks by episode, for nDTW; else the reference paths, made dense.

    Raises:
        ConfigError: an unknown simulator or control, or no episodes.
        DataError: `reset` meets an episode that cannot be walked; the message says why.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012 (gymnasium's name)

    def __init__(
        self,
        episodes: Sequence[Episode] | Path | str,
        *,
        backend: Backend | str = "rooms",
        scenes: str = "",
        sensors: Sensors = Sensors(),  # noqa: B008 (frozen)
        control: str = "waypoints",
        turn_degrees: float = 15.0,
        sliding: bool = True,
        max_steps: int = 25,
        success_distance: float = SUCCESS_DISTANCE,
        history: int = 0,
        max_words: int = MAX_WORDS,
        truth: Mapping[str, Truth] | None = None,
        render_mode: str | None = None,
    ) -> None:
        if control not in CONTROLS:
            raise ConfigError(f"control is '{control}'; expected one of {', '.join(CONTROLS)}")
        if isinstance(episodes, Path | str):
            episodes = read_episodes(Path(episodes)).episodes
        if not episodes:
            raise ConfigError("there are no episodes; expected at least one")
        self.render_mode = render_mode
        self.backend = (
            open_backend(backend, scenes=scenes, sliding=sliding)
            if isinstance(backend, str)
            else backend
        )
        self.sensors, self.control, self.turn_degrees = sensors, control, turn_degrees
        self._episodes = list(episodes)
        self._by_id = {episode.episode_id: episode for episode in episodes}
        self._max_steps, self._success_distance = max_steps, success_distance
        self._max_words, self._truth = max_words, truth or {}
        self._history = History(history) if history else None
        self._next = 0
        self._panorama: Panorama | None = None
        self.observation_space = self._observations(history)
        self.action_space = (
            spaces.Discrete(4)
            if control == "steps"
            else spaces.Dict(
                stop=spaces.Discrete(2),
                angle=spaces.Box(0.0, 2 * math.pi, (), np.float64),
                distance=spaces.Box(0.0, 3.0, (), np.float64),
            )
        )

    def _observations(self, history: int) -> spaces.Dict:
        rgb, depth = self.sensors.rgb, self.sensors.depth
        seen: dict[str, spaces.Space[Any]] = {
            "rgb": spaces.Box(0, 255, (VIEWS, rgb, rgb, 3), np.uint8),
            "depth": spaces.Box(0.0, 1.0, (VIEWS, depth, depth, 1), np.float32),
            "position": spaces.Box(-np.inf, np.inf, (3,), np.float64),
            "heading": spaces.Box(-math.pi, math.pi, (), np.float64),
            "instruction": spaces.Text(
                max(_CHARACTERS, *(len(episode.instruction) for episode in self._episodes)),
                charset=frozenset(string.printable).union(*(e.instruction for e in self._episodes)),
            ),
        }
        if history:
            seen["history_rgb"] = spaces.Box(0, 255, (history, VIEWS, rgb, rgb, 3), np.uint8)
        return spaces.Dict(seen)

    # ------------------------------------------------------------ an episode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin the next episode.

        Args:
            seed: begins the list of episodes anew; simulators leave nothing to chance.
            options: `episode_id` begins that one, `episode` a record that is given.
        """
        super().reset(seed=seed)
        if seed is not None:
            self._next = 0
        options = options or {}
        if "episode" in options:
            episode: Episode = options["episode"]
        elif "episode_id" in options:
            wanted = str(options["episode_id"])
            if wanted not in self._by_id:
                raise DataError(f"no episode '{wanted}' among these {len(self._by_id)}")
            episode = self._by_id[wanted]
        else:
            episode = self._episodes[self._next % len(self._episodes)]
            self._next += 1
        check_episode(self.backend, episode, max_words=self._max_words)
        self.episode = episode
        self.position: Position = np.array(episode.start_position)
        self.yaw = episode.start_yaw
        self.poses: list[Pose] = [(self.position, self.yaw)]
        self._path: list[Position] = [self.position]
        self._collisions: list[bool] = []
        self._distances = [self.distance_to_goal()]
        self._steps = 0
        if self._history:
            self._history.begin(self.poses[0])
        return self._observe(), self._info([self.position], [])

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Act; see the class for actions and what comes back."""
        stop, angle, distance = self._read(action)
        before = self._distances[-1]
        self._steps += 1
        steps: list[Position] = []
        collisions: list[bool] = []
        if not stop:
            went = walk(
                self.backend,
                self.position,
                self.yaw,
                angle,
                distance,
                turn_degrees=self.turn_degrees,
            )
            steps, collisions = went.steps, went.collisions
            self.position, self.yaw = went.end
            self.poses += went.poses
            self._path += steps
            self._collisions += collisions
            if self._history:
                self._history.add(went.poses)
            if steps:
                self._distances.append(self.distance_to_goal())
        truncated = not stop and self._steps >= self._max_steps
        info = self._info(steps, collisions)
        if stop or truncated:
            info["metrics"] = self._measure(stop)
            info["poses"] = list(self.poses)
        reward = before - self._distances[-1] if self.episode.goal is not None else 0.0
        return self._observe(), reward, stop, truncated, info

    def _read(self, action: Any) -> tuple[bool, float, float]:
        """Return whether to stop, the angle and the distance."""
        if self.control == "waypoints":
            return bool(action["stop"]), float(action["angle"]), float(action["distance"])
        number = int(action)
        turn = math.radians(self.turn_degrees)
        if number in (STOP, FORWARD):
            return number == STOP, 0.0, STEP
        return False, turn if number == LEFT else 2 * math.pi - turn, 0.0

    @property
    def goal(self) -> Position:
        """Where to stop; nan where that is kept secret."""
        goal = self.episode.goal
        return np.full(3, np.nan) if goal is None else np.array(goal)

    def distance_to_goal(self, position: Position | None = None) -> float:
        """Return how far the goal is from a position, or from the agent; nan where it is secret."""
        if self.episode.goal is None:
            return math.nan
        start = self.position if position is None else position
        return self.backend.geodesic(start, self.goal)

    def candidate_distance(self, angle: float, distance: float) -> float:
        """Return how far the goal would be after an action; nothing moves, nothing is rendered."""
        end, _ = walk(self.backend, self.position, self.yaw, angle, distance).end
        return self.distance_to_goal(end)

    def render(self) -> UInt8[np.ndarray, "rgb rgb 3"] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return what lies ahead."""
        return None if self._panorama is None else self._panorama.rgb[0]

    def _observe(self) -> dict[str, Any]:
        self._panorama = self.backend.render(self.position, self.yaw, self.sensors)
        seen: dict[str, Any] = {
            "rgb": self._panorama.rgb,
            "depth": self._panorama.depth,
            "position": self.position.astype(np.float64),
            "heading": np.array(math.remainder(self.yaw, 2 * math.pi)),
            "instruction": self.episode.instruction,
        }
        if self._history:
            seen["history_rgb"] = self._history.pictures(self.backend, self.sensors)
        return seen

    def _info(self, positions: list[Position], collisions: list[bool]) -> dict[str, Any]:
        return {
            "episode_id": self.episode.episode_id,
            "distance_to_goal": self._distances[-1],
            "positions": positions,
            "collisions": collisions,
        }

    def _measure(self, stopped: bool) -> dict[str, float]:
        if self.episode.goal is None:
            return {}
        return measure(
            path=np.stack(self._path),
            distances=self._distances,
            stopped=stopped,
            collisions=self._collisions,
            reference=self.episode.dense_reference(self._truth),
            success_distance=self._success_distance,
        )


def check_episode(backend: Backend, episode: Episode, *, max_words: int = MAX_WORDS) -> None:
    """Open the scene of an episode, and say whether it can be walked there.

    Raises:
        DataError: an unknown scene, a start where nobody can stand, a goal that cannot be reached,
            no instruction, or one that is too long.
    """
    name = f"episode {episode.episode_id}"
    words = len(episode.instruction.split())
    if not words:
        raise DataError(f"{name}: the instruction is empty; expected at least a word")
    if words > max_words:
        raise DataError(f"{name}: the instruction has {words} words; expected at most {max_words}")
    try:
        backend.load(episode.scene_id)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    start = np.array(episode.start_position)
    if not backend.is_navigable(start):
        nearest = backend.snap(start).round(2).tolist()
        raise DataError(
            f"{name}: nobody can stand at its start {start.round(2).tolist()} in "
            f"'{episode.scene_id}': a wall, or no floor; the nearest place is {nearest}"
        )
    if episode.goal is not None and math.isinf(backend.geodesic(start, np.array(episode.goal))):
        raise DataError(
            f"{name}: no way leads from its start to its goal "
            f"{[round(each, 2) for each in episode.goal]} in '{episode.scene_id}'"
        )


if ENVIRONMENT_ID not in gymnasium.registry:
    gymnasium.register(  # pyright: ignore[reportUnknownMemberType]
        ENVIRONMENT_ID, entry_point=f"{__name__}:{NavigationEnv.__name__}"
    )
