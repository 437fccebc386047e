"""One walk, as a user asks for it: a map, a video of what the agent saw, a plot, and JSON."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from internvideo.evaluation.pictures import BAR_COLOR, LINE_COLOR, Drawn
from internvideo.files import write_whole
from internvideo.simulator.backend import Backend, Sensors
from internvideo.simulator.drawing import draw_map
from internvideo.simulator.episodes import Episode
from internvideo.simulator.pool import make_environment
from internvideo.tasks.navigation.evaluate import agent_of
from internvideo.tasks.navigation.report import Walked
from internvideo.tasks.navigation.walkers import PolicyWalker, sensors_of
from internvideo.video.writer import write_video
from internvideo.zoo.hub import LoadedModel

__all__ = ["Journey", "go"]

_SIDE = 320  # of the video, in pixels
_FPS = 4.0


@dataclass(frozen=True, kw_only=True)
class Journey(Drawn):
    """A walk.

    Attributes:
        episode: what the agent was told, and where it began.
        walked: where it went.
        choices: at every decision, how sure it was of its choice, and how sure to stop.
        stopped: whether it stopped by itself.
        backend: the house, open.
        model: name of the agent.
    """

    episode: Episode
    walked: Walked
    choices: tuple[tuple[float, float], ...]
    stopped: bool
    backend: Backend
    model: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        episode = self.episode
        return {
            "model": self.model, "scene": episode.scene_id, "instruction": episode.instruction,
            "stopped": self.stopped, **self.walked.to_dict(), "choices": self.choices,
            "goal": episode.goal, "reference_path": episode.reference_path,
        }  # fmt: skip

    @property
    def outcome(self) -> str:
        """What became of it, in a line."""
        walked = self.walked.metrics
        end = "stopped" if self.stopped else "was cut off"
        end += f" after {len(self.choices)} decisions"
        if not walked:
            return f"{end}; the goal is not known"
        success = "success" if walked["success"] else "no success"
        return (
            f"{end}, {walked['distance_to_goal']:.2f} m from the goal: {success}, "
            f"{walked['path_length']:.1f} m walked"
        )

    def save(self, folder: Path) -> list[Path]:
        """Write `map.png`, `walk.mp4`, `choices.png` and `walk.json` into a folder; return them."""
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / name for name in ("map.png", "walk.mp4", "choices.png", "walk.json")]
        house = getattr(getattr(self.backend, "scene", None), "house", None)
        draw_map(
            self.backend,
            [np.array(pose[:3]) for pose in self.walked.poses],
            reference=[np.array(point) for point in self.episode.reference_path],
            goal=None if self.episode.goal is None else np.array(self.episode.goal),
            house=house,
        ).save(files[0])
        write_video(files[1], self._frames(), fps=_FPS)
        self.plot(files[2])
        write_whole(files[3], json.dumps(self.to_dict(), ensure_ascii=False) + "\n")
        return files

    def _frames(self) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        sensors = Sensors(rgb=_SIDE, depth=0)
        for pose in self.walked.poses:
            yield self.backend.render(np.array(pose[:3]), pose[3], sensors).rgb[0]

    def draw(self) -> Any:
        """Draw how sure the agent was at every decision."""
        figure = self.figure(7, 3.5)
        axes = figure.subplots()
        chosen, stop = (100 * np.array(part) for part in zip(*self.choices, strict=True))
        numbers = range(1, len(self.choices) + 1)
        axes.bar(numbers, chosen, color=BAR_COLOR, label="its choice")
        axes.plot(numbers, stop, color=LINE_COLOR, marker="o", label="to stop")
        axes.set(xlabel="decision", ylabel="probability in %", ylim=(0, 105))
        axes.set_title(self.episode.instruction[:90], fontsize=9)
        axes.set_xticks(list(numbers))
        axes.legend()
        return figure


def go(
    model: LoadedModel,
    episode: Episode,
    *,
    backend: str = "rooms",
    scenes: str = "",
    max_steps: int = 25,
) -> Journey:
    """Let an agent walk an episode.

    Raises:
        ConfigError: the model does not navigate.
        DataError: the episode cannot be walked: no instruction or one that is too long, an unknown
            scene, a start in a wall.
        MissingExtraError: the extra "navigation" is not installed.
    """
    agent = agent_of(model)
    environment = make_environment(
        [episode], sensors_of(agent), backend=backend, scenes=scenes, max_steps=max_steps
    )
    agent.ids([episode.instruction])  # an instruction that is too long for it is refused here
    walker = PolicyWalker(agent)
    walker.begin(0)
    seen, info = environment.reset()
    over, stopped = False, False
    while not over:
        seen, _, stopped, truncated, info = environment.step(walker.act({0: seen})[0])
        over = stopped or truncated
    return Journey(
        episode=episode,
        walked=Walked.of(episode, info),
        choices=tuple(walker.choices[0]),
        stopped=stopped,
        backend=environment.backend,
        model=model.name,
    )
