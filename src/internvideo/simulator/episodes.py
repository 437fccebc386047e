"""Episodes of VLN-CE: the files of R2R-CE and RxR-CE, read and written, and leader-board entries.

Files are `SPLIT.json.gz` with episodes, and `SPLIT_gt.json.gz` with the true walks. The layout is
one for both data sets; RxR-CE says more about an instruction and has no vocabulary.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from internvideo.errors import DataError
from internvideo.files import json_text, write_whole
from internvideo.simulator.backend import Position
from internvideo.simulator.metrics import SUCCESS_DISTANCE, densify

__all__ = [
    "Episode",
    "EpisodeFile",
    "Truth",
    "read_episodes",
    "read_truth",
    "start_rotation",
    "vector",
    "write_episodes",
    "write_leader_board",
    "write_truth",
]

Vector = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One instruction in one house.

    Attributes:
        episode_id: its number; unique in a file.
        scene_id: as the simulator opens it, such as `mp3d/ID/ID.glb` or `rooms/7.json`.
        start_position: of the feet, in metres.
        start_rotation: a quaternion x, y, z, w about the vertical.
        instruction: the words.
        goal: where to stop; None where that is kept secret, as in test splits.
        goal_radius: metres from the goal that count as there.
        reference_path: the way that the instruction describes; empty where it is kept secret.
        trajectory_id: of the path, which several instructions share.
        geodesic_distance: from start to goal in metres.
        details: what else the file says of the instruction, such as tokens or a language.
    """

    episode_id: str
    scene_id: str
    start_position: Vector
    start_rotation: tuple[float, float, float, float]
    instruction: str
    goal: Vector | None = None
    goal_radius: float = SUCCESS_DISTANCE
    reference_path: tuple[Vector, ...] = ()
    trajectory_id: int | str = 0
    geodesic_distance: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def dense_reference(self, truth: Mapping[str, Truth]) -> Float[np.ndarray, "points 3"] | None:
        """Return the path to be walked at 0.25 m: the true walk where it is known; None: secret."""
        if self.episode_id in truth:
            return truth[self.episode_id].locations
        return densify(np.array(self.reference_path)) if self.reference_path else None

    @property
    def start_yaw(self) -> float:
        """The heading at the start in radians to the left of −z."""
        _, y, _, w = self.start_rotation
        return 2 * math.atan2(y, w)


@dataclass(frozen=True, slots=True)
class EpisodeFile:
    """What a file held.

    Attributes:
        episodes: those that can be used.
        problems: a line for each that cannot.
        vocabulary: of the tokens; None in RxR-CE.
    """

    episodes: list[Episode]
    problems: list[str] = field(default_factory=list[str])
    vocabulary: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Truth:
    """A true walk: positions at every step forward, the start first, and the actions."""

    locations: Float[np.ndarray, "points 3"]
    actions: tuple[int, ...] = ()


def start_rotation(yaw: float) -> tuple[float, float, float, float]:
    """Return the quaternion x, y, z, w of a heading."""
    return 0.0, math.sin(yaw / 2), 0.0, math.cos(yaw / 2)


# ---------------------------------------------------------------- reading


def read_episodes(path: Path) -> EpisodeFile:
    """Read a file of episodes.

    Raises:
        DataError: it is no such file, or no episode of it can be used.
    """
    content = _read(path)
    records: Any = content.get("episodes")
    if not isinstance(records, list):
        raise DataError(f"{path}: no list 'episodes'; expected a file of R2R-CE or RxR-CE")
    episodes: list[Episode] = []
    problems: list[str] = []
    for number, record in enumerate(records):
        try:
            episodes.append(_episode(record))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            problems.append(f"{path}: episode at place {number}: {reason}")
    if problems and not episodes:
        raise DataError(f"{problems[0]} (and so are all {len(problems)} episodes)")
    return EpisodeFile(episodes, problems, content.get("instruction_vocab"))


def read_truth(path: Path) -> dict[str, Truth]:
    """Read the true walks of `SPLIT_gt.json.gz`, by the number of the episode.

    Raises:
        DataError: it is no such file.
    """
    try:
        return {
            number: Truth(
                np.array(record["locations"], np.float64).reshape(-1, 3),
                tuple(record.get("actions", ())),
            )
            for number, record in _read(path).items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: expected true walks with 'locations'; {error}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
        content = json.loads(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except (EOFError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON, gzipped or not: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected an object, as in the files of R2R-CE")
    return content


def vector(values: Iterable[Any]) -> Vector:
    """Return a position as a record has it; raises ValueError where it is not finite."""
    x, y, z = (float(value) for value in values)
    if not all(map(math.isfinite, (x, y, z))):
        raise ValueError(f"a position is not finite: {[x, y, z]}")
    return x, y, z


def _episode(record: dict[str, Any]) -> Episode:
    words = dict(record["instruction"])
    goals, rotation = record.get("goals") or [], record["start_rotation"]
    x, y, z, w = (float(value) for value in rotation)
    return Episode(
        episode_id=str(record["episode_id"]),
        scene_id=str(record["scene_id"]),
        start_position=vector(record["start_position"]),
        start_rotation=(x, y, z, w),
        instruction=str(words.pop("instruction_text")),
        goal=vector(goals[0]["position"]) if goals else None,
        goal_radius=float(goals[0].get("radius") or SUCCESS_DISTANCE)
        if goals
        else SUCCESS_DISTANCE,
        reference_path=tuple(vector(point) for point in record.get("reference_path") or ()),
        trajectory_id=record.get("trajectory_id", 0),
        geodesic_distance=(record.get("info") or {}).get("geodesic_distance"),
        details=words,
    )


# ---------------------------------------------------------------- writing


def write_episodes(
    path: Path, episodes: Iterable[Episode], vocabulary: Mapping[str, Any] | None = None
) -> None:
    """Write a file of episodes that is read by whatever reads R2R-CE."""
    content: dict[str, Any] = {"episodes": [_record(episode) for episode in episodes]}
    if vocabulary is not None:
        content["instruction_vocab"] = vocabulary
    _write(path, content)


def write_truth(path: Path, truth: Mapping[str, Truth]) -> None:
    """Write the true walks, by the number of the episode."""
    _write(
        path,
        {
            number: {
                "locations": each.locations.tolist(),
                "forward_steps": len(each.locations) - 1,
                "actions": list(each.actions),
            }
            for number, each in truth.items()
        },
    )


def _write(path: Path, content: Any) -> None:
    write_whole(path, gzip.compress(json_text(content).encode(), mtime=0))


def _number(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _record(episode: Episode) -> dict[str, Any]:
    record: dict[str, Any] = {
        "episode_id": _number(episode.episode_id),
        "trajectory_id": episode.trajectory_id,
        "scene_id": episode.scene_id,
        "start_position": list(episode.start_position),
        "start_rotation": list(episode.start_rotation),
        "instruction": {"instruction_text": episode.instruction, **episode.details},
    }
    if episode.goal is not None:
        record["info"] = {"geodesic_distance": episode.geodesic_distance}
        record["goals"] = [{"position": list(episode.goal), "radius": episode.goal_radius}]
        record["reference_path"] = [list(point) for point in episode.reference_path]
    return record


def write_leader_board(
    path: Path,
    walks: Mapping[str, Sequence[tuple[Position, float]]],
    episodes: Iterable[Episode],
    *,
    layout: str = "r2r",
) -> None:
    """Write walks as the servers of the leader boards take them.

    Args:
        path: the file.
        walks: for every episode the poses (position, yaw), the start first.
        episodes: those that were walked.
        layout: `r2r` is one object with positions, headings and the last stop; `rxr` is a line for
            every instruction, with its positions alone and none twice in a row.

    Raises:
        DataError: an episode that was not walked, or in RxR has no `instruction_id`.
    """
    lines: list[str] = []
    entries: dict[str, list[dict[str, Any]]] = {}
    for episode in episodes:
        poses = walks.get(episode.episode_id)
        if not poses:
            raise DataError(f"no walk of episode {episode.episode_id}; walk all before you hand in")
        states = [
            {
                "position": np.asarray(position, np.float64).tolist(),
                "heading": math.remainder(yaw, 2 * math.pi),
                "stop": number == len(poses) - 1,
            }
            for number, (position, yaw) in enumerate(poses)
        ]
        entries[episode.episode_id] = states
        if layout == "rxr":
            if "instruction_id" not in episode.details:
                raise DataError(f"episode {episode.episode_id} has no instruction_id, as RxR has")
            places = [state["position"] for state in states]
            path_ = [p for p, before in zip(places, [None, *places], strict=False) if p != before]
            number = int(episode.details["instruction_id"])
            lines.append(json_text({"instruction_id": number, "path": path_}) + "\n")
    write_whole(path, "".join(lines) if layout == "rxr" else json_text(entries))
