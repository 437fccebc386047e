"""How well agents follow instructions, beside those that do not read."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from internvideo.evaluation.report import Report, interval_over_groups
from internvideo.simulator.episodes import Episode
from internvideo.simulator.metrics import average

__all__ = ["NavigationReport", "Walked"]

_NAMES = {
    "success": "SR", "spl": "SPL", "oracle_success": "OS", "ndtw": "nDTW", "sdtw": "SDTW",
    "cls": "CLS", "distance_to_goal": "NE", "path_length": "TL", "collisions": "collisions",
}  # fmt: skip
_IN_METRES = ("NE", "TL")


@dataclass(frozen=True, slots=True)
class Walked:
    """One walk.

    Attributes:
        episode_id: as its file names it.
        scene_id: the house; intervals draw whole houses.
        metrics: of the walk, see `metrics.measure`; empty where the goal is secret.
        poses: x, y, z and heading of every state, the start first.
    """

    episode_id: str
    scene_id: str
    metrics: Mapping[str, float]
    poses: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, episode: Episode, info: Mapping[str, Any]) -> Walked:
        """Return the walk that the environment tells of at the end of an episode."""
        poses = tuple(
            (*(round(float(side), 4) for side in position), round(float(yaw), 5))
            for position, yaw in info["poses"]
        )
        return cls(episode.episode_id, episode.scene_id, dict(info["metrics"]), poses)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; an unreachable goal is at no distance."""
        finite = {k: v if math.isfinite(v) else None for k, v in self.metrics.items()}
        return {
            "episode": self.episode_id, "scene": self.scene_id, "metrics": finite,
            "poses": [list(pose) for pose in self.poses],
        }  # fmt: skip

    @classmethod
    def from_dict(cls, line: Mapping[str, Any]) -> Walked:
        """Return the walk of `to_dict`."""
        metrics = {k: math.inf if v is None else float(v) for k, v in line["metrics"].items()}
        return cls(line["episode"], line["scene"], metrics, tuple(map(tuple, line["poses"])))


@dataclass(frozen=True, kw_only=True)
class NavigationReport(Report):
    """An evaluation on episodes.

    Attributes:
        walks: of the agent.
        baselines: of agents that do not read the instruction.
        num_left_out: episodes of the file that cannot be used.
    """

    walks: tuple[Walked, ...]
    baselines: Mapping[str, tuple[Walked, ...]] = field(
        default_factory=dict[str, tuple[Walked, ...]]
    )
    num_left_out: int = 0

    @property
    def num_answered(self) -> int:
        """Number of episodes that were walked."""
        return len(self.walks)

    def metrics(self) -> dict[str, float]:
        """Return shares in percent and lengths in metres; SR decides."""
        return _measured(self.walks)

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Return 95 % bootstrap intervals over houses of SR and SPL, in percent."""
        return _intervals(self.walks)

    def numbers(self) -> dict[str, Any]:
        """Return all numbers, and those of the baselines."""
        return {
            **_with_intervals(self.walks),
            "baselines": {name: _with_intervals(walks) for name, walks in self.baselines.items()},
            "num_episodes": len(self.walks),
            "num_houses": len({each.scene_id for each in self.walks}),
            "num_left_out": self.num_left_out,
        }

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """Headings of the table."""
        return ("measure", "result", *self.baselines)

    def rows(self) -> Iterator[Sequence[str]]:
        """Yield the rows of the table."""
        all_walks = (self.walks, *self.baselines.values())
        measured, known = (
            [_measured(each) for each in all_walks],
            [_intervals(e) for e in all_walks],
        )
        for name in measured[0]:
            values = (_shown(name, each[name]) for each in measured)
            if name not in known[0]:
                yield name, *values
                continue
            ranges = (each[name] for each in known)
            pairs = zip(values, ranges, strict=True)
            yield name, *(f"{value} ({low:.1f} … {high:.1f})" for value, (low, high) in pairs)
        yield ()
        houses = len({each.scene_id for each in self.walks})
        counted = f"{len(self.walks)} in {houses} scenes"
        yield "episodes", counted, *("" for _ in self.baselines)

    def notes(self) -> Sequence[str]:
        """Say what does not count."""
        notes: list[str] = []
        if self.num_left_out:
            notes.append(
                f"{self.num_left_out} episodes of the file cannot be used and are left out"
            )
        if self.walks and not self.metrics():
            notes.append("the goals are secret, so nothing is measured; --submission writes walks")
        return notes


def _measured(walks: Sequence[Walked]) -> dict[str, float]:
    means = average([dict(each.metrics) for each in walks if each.metrics])
    return {
        name: means[key] * (1 if name in _IN_METRES else 100)
        for key, name in _NAMES.items()
        if key in means
    }


def _intervals(walks: Sequence[Walked]) -> dict[str, tuple[float, float]]:
    known = [each for each in walks if each.metrics]
    if not known:
        return {}
    _, houses = np.unique([each.scene_id for each in known], return_inverse=True)
    values = 100 * np.array([[e.metrics["success"], e.metrics["spl"]] for e in known]).T
    low, high = interval_over_groups(values, houses)
    return dict(zip(("SR", "SPL"), zip(low.tolist(), high.tolist(), strict=True), strict=True))


def _with_intervals(walks: Sequence[Walked]) -> dict[str, Any]:
    intervals = {name: list(pair) for name, pair in _intervals(walks).items()}
    return {**_measured(walks), "intervals": intervals}


def _shown(name: str, value: float) -> str:
    return f"{value:.2f} m" if name in _IN_METRES else f"{value:.1f} %"
