"""Training an agent in procedural houses: it walks, a teacher says at every step where to go.

A batch is a few episodes, walked in the step that trains. The agents go where the teacher says, or
where they would go themselves, by a coin that falls for the teacher less and less often (scheduled
sampling, the on-policy part of DAgger, Ross et al. 2011). Nothing is stored but the episodes.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from internvideo.config import Fraction, config_class
from internvideo.data.samples import EvaluationSource, Sample
from internvideo.data.world import WorldSource
from internvideo.errors import CheckpointError, ConfigError
from internvideo.models.navigation import observe
from internvideo.models.navigator import Navigator, words_of
from internvideo.models.waypoints import Waypoints
from internvideo.simulator.backend import Position, Sensors
from internvideo.simulator.embedded import EmbeddedBackend
from internvideo.simulator.episodes import Episode, read_episodes, write_episodes
from internvideo.simulator.houses import PALETTE
from internvideo.simulator.metrics import SUCCESS_DISTANCE, densify, dtw, ndtw
from internvideo.simulator.moves import goal_teacher, walk
from internvideo.tasks.navigation.houses_source import EpisodeSource, episodes_of_world
from internvideo.tasks.navigation.losses import Outcome, actor_critic_loss, imitation_loss, rewards
from internvideo.tasks.navigation.walkers import sensors_of, waypoints_of
from internvideo.tasks.parts import Parts
from internvideo.train.task import TrainableTask
from internvideo.zoo.load import load_model

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Navigation", "NavigationConfig", "build", "walked_houses"]

_NEARER = 0.1  # metres that a way must gain on the goal to be worth it
_FILE = "episodes.json.gz"


@config_class
class NavigationConfig:
    """Following instructions in houses, taught step by step."""

    kind: Literal["navigation"] = "navigation"
    teacher_share: Fraction = Field(
        default=0.75, description="of the steps of the first epoch; each further one has this share"
    )
    max_steps: PositiveInt = Field(default=8, description="of an episode, after which it is left")
    naming: float = Field(
        default=0.5, ge=0, description="weight of naming the colours of the rooms that are seen"
    )
    reinforcement: float = Field(
        default=0.0, ge=0, description="weight of actor-critic; needs model.policy.critic"
    )
    episodes_per_house: PositiveInt = 12
    kept_houses: PositiveInt = Field(
        default=1000, description="that stay open, each some megabytes"
    )


@dataclass
class _Agent:
    """One agent on its way."""

    episode: Episode
    backend: EmbeddedBackend
    position: Position
    yaw: float
    goal: Position
    path: list[Position] = field(default_factory=list[Position])
    fidelity: float = 0.0

    @property
    def distance(self) -> float:
        """Metres from the goal."""
        return self.backend.geodesic(self.position, self.goal)

    def look(self, sensors: Sensors) -> dict[str, Any]:
        seen = self.backend.render(self.position, self.yaw, sensors)
        return {"rgb": seen.rgb, "depth": seen.depth}

    def taught(self, ways: Sequence[tuple[float, float]]) -> int:
        """Return the best choice: to stop within 1.5 m, or where no way leads nearer within 3 m."""
        best, ends = goal_teacher(self.backend, self.position, self.yaw, ways, self.goal)
        here = self.distance
        return len(ways) if here < SUCCESS_DISTANCE and min(ends) > here - _NEARER else best

    def go(self, angle: float, distance: float) -> None:
        went = walk(self.backend, self.position, self.yaw, angle, distance)
        self.position, self.yaw = went.end
        self.path += went.steps

    def colour_at(self, angle: float, distance: float) -> int:
        """Return the number of the colour of the room that a waypoint lies in."""
        house, yaw = self.backend.scene.house, self.yaw + angle
        assert house is not None
        x = float(self.position[0]) - math.sin(yaw) * distance
        z = float(self.position[2]) - math.cos(yaw) * distance
        return list(PALETTE).index(house.rooms[house.room_at(x, z)].colour)

    def measure_fidelity(self) -> None:
        """Set nDTW of the path so far."""
        reference = densify(np.array(self.episode.reference_path))
        self.fidelity = ndtw(dtw(np.stack(self.path), reference, radius=1), len(reference))


class Navigation(TrainableTask[Navigator]):
    """Trains a `Navigator` on episodes in procedural houses.

    Attributes:
        episodes: what the numbers in a batch stand for; `walked_houses` gives them.
    """

    def __init__(self, model: Navigator, config: NavigationConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.episodes: Sequence[Episode] = ()
        self._open = lru_cache(config.kept_houses)(_opened)

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Return the number of an episode, and a seed for what is drawn in it."""
        number, seed = int(sample.key.rpartition("-")[2]), int(rng.integers(2**31))
        return [{"host_episode": torch.tensor(number), "host_seed": torch.tensor(seed)}]

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Walk the episodes of a batch; return the loss, and how often the agent was right."""
        policy, config = self.model.policy, self.config
        draw = torch.Generator().manual_seed(int(batch["host_seed"][0]))
        agents = [self._begin(self.episodes[int(n)]) for n in batch["host_episode"]]
        text, mask = policy.read(self.model.ids([each.episode.instruction for each in agents]))
        history = policy.begin(len(agents))
        device, sensors = history.device, sensors_of(self.model)
        walking, outcomes = list(range(len(agents))), list[Outcome]()
        taught = named = history.new_zeros(())
        steps = right = arrived = 0
        for step in range(config.max_steps):
            here, moving = torch.tensor(walking, device=device), [agents[n] for n in walking]
            observations = [agent.look(sensors) for agent in moving]
            places = waypoints_of(observations, self.model.config.most)
            ways = [_pairs(each) for each in places]
            seen, distances = self.model.look(observations)
            now = observe(seen, distances, places)
            logits, state = policy.decide(text[here], mask[here], history[here], now)
            if config.naming:
                named = named + self._naming_loss(moving, places, seen)
            lessons = [agent.taught(each) for agent, each in zip(moving, ways, strict=True)]
            teacher = torch.tensor(lessons, device=device)
            taught = taught + imitation_loss(logits, teacher)
            steps, right = steps + len(walking), right + int((logits.argmax(1) == teacher).sum())
            chosen = self._choose(logits.detach().float().cpu(), teacher.cpu(), draw)
            before = [(agent.distance, agent.fidelity) for agent in moving]
            moved, directions = list[int](), torch.zeros(len(walking), 4, device=device)
            for place, agent in enumerate(moving):
                choice = int(chosen[place])
                if choice == len(ways[place]):
                    arrived += agent.distance <= SUCCESS_DISTANCE
                    continue
                directions[place] = now.direction[place, choice]
                agent.go(*ways[place][choice])
                moved.append(place)
            if config.reinforcement:
                stopped = torch.ones(len(walking), dtype=torch.bool)
                stopped[moved] = False
                reward = _rewards(moving, before, stopped).to(device)
                likely, entropy = _likelihood(logits, chosen.to(device))
                outcomes.append(Outcome(here, likely, entropy, policy.value(state), reward))
            if not moved:
                break
            token = policy.remember(seen[moved], directions[moved], step)
            walking = [walking[place] for place in moved]
            added = history.new_zeros(len(agents), history.shape[2])
            added = added.index_copy(0, here[moved], token.to(added.dtype))
            history = torch.cat([history, added[:, None]], dim=1)
        parts = {"imitation": taught / steps}
        total = parts["imitation"]
        if config.naming:
            parts["naming"] = named / steps
            total = total + config.naming * parts["naming"]
        if outcomes:
            parts["reinforcement"] = actor_critic_loss(outcomes)
            total = total + config.reinforcement * parts["reinforcement"]
        # a parameter without any gradient would stop several processes
        total = total + 0 * sum(
            each.sum() for each in self.model.parameters() if each.requires_grad
        )
        parts["right"] = history.new_tensor(right / steps)
        parts["arrived"] = history.new_tensor(arrived / len(agents))
        return {"loss": total, **{name: value.detach() for name, value in parts.items()}}

    def _begin(self, episode: Episode) -> _Agent:
        start, goal = np.array(episode.start_position), np.array(episode.goal)
        backend = self._open(episode.scene_id)
        return _Agent(episode, backend, start, episode.start_yaw, goal, path=[start])

    def _choose(
        self, logits: Float[Tensor, "b n"], teacher: Int[Tensor, "b"], draw: torch.Generator
    ) -> Int[Tensor, "b"]:
        """Return what the agents do: as they are taught, or as they draw themselves."""
        share = self.config.teacher_share ** (self.progress.epoch + 1)
        own = torch.multinomial(logits.softmax(1), 1, generator=draw)[:, 0]
        obeys = torch.rand(len(logits), generator=draw) < share
        return torch.where(obeys & (self.config.reinforcement == 0), teacher, own)

    def _naming_loss(
        self, agents: Sequence[_Agent], places: Sequence[Waypoints], seen: Float[Tensor, "b v d"]
    ) -> Float[Tensor, ""]:
        """Return how badly the views of waypoints name the colours of the rooms that these lie in.

        The names are the embeddings of the words that instructions are made of, so that sight and
        words meet in one space before the policy compares them. The mean, times the agents.
        """
        views, rooms = list[Tensor](), list[int]()
        for row, (agent, ways) in enumerate(zip(agents, places, strict=True)):
            views.append(seen[row, ways.views])
            rooms += [agent.colour_at(*way) for way in _pairs(ways)]
        policy = self.model.policy
        colours = self.model.ids([" ".join(PALETTE)])[0, 1:]
        names = policy.vln_bert.embeddings.word_embeddings.weight[colours]
        logits = policy.rgb_projection(torch.cat(views)) @ names.T
        return F.cross_entropy(logits, torch.tensor(rooms, device=logits.device)) * len(agents)


def _opened(scene_id: str) -> EmbeddedBackend:
    backend = EmbeddedBackend()
    backend.load(scene_id)
    return backend


def _pairs(ways: Waypoints) -> list[tuple[float, float]]:
    return list(zip(ways.turns.tolist(), ways.metres.tolist(), strict=True))


def _rewards(
    agents: Sequence[_Agent], before: Sequence[tuple[float, float]], stopped: Bool[Tensor, "b"]
) -> Float[Tensor, "b"]:
    for agent in agents:
        agent.measure_fidelity()
    last_distance, last_fidelity = torch.tensor(before).T
    distance, fidelity = torch.tensor([(agent.distance, agent.fidelity) for agent in agents]).T
    return rewards(distance, fidelity, last_distance, last_fidelity, stopped)


def _likelihood(
    logits: Float[Tensor, "b n"], chosen: Int[Tensor, "b"]
) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]:
    """Return the log-probability of what was chosen, and the entropy; some are impossible."""
    log = logits.log_softmax(dim=1)
    entropy = -(log.exp() * log.masked_fill(logits == -torch.inf, 0)).sum(dim=1)
    return log.gather(1, chosen[:, None])[:, 0], entropy


def build(config: NavigationConfig, parts: Parts) -> Navigation:
    """Build the task of a recipe.

    Raises:
        ConfigError: a vocabulary that does not fit the policy, or no critic to reinforce by.
        CheckpointError: `init` is no agent of this shape.
    """
    parts.refuse("augmentation", "init_labels")
    model = parts.build_model()
    if config.reinforcement and model.policy.critic is None:
        raise ConfigError("task.reinforcement needs a critic: set model.policy.critic=true")
    if parts.init is not None and parts.with_weights:
        _start(model, parts)
    return Navigation(model, config)


def _start(model: Navigator, parts: Parts) -> None:
    """Give an agent the weights of another one, in place; a critic that this lacks stays fresh."""
    assert parts.init is not None
    state = load_model(parts.init, architectures=parts.architectures).model.state_dict()
    own = model.state_dict()
    lacking = [name for name in own if name not in state and ".critic." not in f".{name}"]
    other = [name for name, each in state.items() if name in own and each.shape != own[name].shape]
    if lacking or other:
        raise CheckpointError(
            f"{parts.init} is no agent of this shape: {(lacking + other)[0]} is missing or differs"
        )
    model.load_state_dict({**own, **{name: each for name, each in state.items() if name in own}})


def walked_houses(
    task: Navigation,
    source: EvaluationSource,
    directory: Path,
    *,
    num_workers: int,
    fabric: Fabric,
) -> EpisodeSource:
    """Draw the episodes of a run, once; they are kept beside its checkpoints.

    Raises:
        ConfigError: the data are not the world, or its instructions have unknown words.
    """
    del num_workers
    if not isinstance(source, WorldSource):
        raise ConfigError("agents learn in procedural houses: data.kind must be world")
    path = directory / _FILE
    if fabric.is_global_zero and not path.is_file():
        made = episodes_of_world(source, per_house=task.config.episodes_per_house)
        write_episodes(path, made)
    fabric.barrier()
    episodes = read_episodes(path).episodes
    known = set(task.model.config.vocabulary)
    unknown = {word for each in episodes for word in words_of(each.instruction)} - known
    if unknown:
        raise ConfigError(
            f"model.vocabulary has no {sorted(unknown)[:5]} of the instructions; add them"
        )
    task.episodes = episodes
    return EpisodeSource(episodes)
