"""Who walks: the policy, and two that do not read, in the same actions.

All choose among the waypoints that `candidates` finds, or stop.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from internvideo.models.navigation import observe
from internvideo.models.navigator import Navigator
from internvideo.models.waypoints import Waypoints
from internvideo.simulator.backend import Sensors
from internvideo.tasks.navigation.candidates import open_waypoints

__all__ = ["BASELINES", "PolicyWalker", "RandomWalker", "StraightWalker", "Walker", "sensors_of"]

_STOP = {"stop": 1, "angle": 0.0, "distance": 0.0}
_FAR = 10.0
_STRAIGHT_WAY = 9.0

Seen = Mapping[str, Any]


class Walker(Protocol):
    """Acts in several episodes at once, each in a slot (`pool.Agent`)."""

    def begin(self, slot: int) -> None:
        """Forget what was in a slot: a new episode begins there."""
        ...

    def act(self, observations: Mapping[int, Seen]) -> Mapping[int, dict[str, Any]]:
        """Return an action of the environment for the observation of each slot."""
        ...


def sensors_of(agent: Navigator) -> Sensors:
    """Return the cameras that an agent looks through."""
    config = agent.config
    return Sensors(rgb=config.image_size, depth=config.depth_size)


def _go(places: Waypoints, choice: int) -> dict[str, Any]:
    """Return the action to go to a waypoint; the number behind the last one is to stop."""
    if choice == len(places.angles):
        return _STOP
    angle = float(places.turns[choice]) % (2 * math.pi)
    return {"stop": 0, "angle": angle, "distance": float(places.metres[choice])}


def _waypoints(observations: Sequence[Seen], most: int) -> list[Waypoints]:
    depth = torch.from_numpy(np.stack([seen["depth"][..., 0] for seen in observations]))
    return open_waypoints(depth * _FAR, most=most)


class PolicyWalker:
    """Follows its instruction: the likeliest choice at every step.

    Attributes:
        choices: in each slot, at every step, how sure it was of its choice, and how sure to stop.
    """

    def __init__(self, agent: Navigator) -> None:
        self.agent = agent
        self.choices: dict[int, list[tuple[float, float]]] = {}
        self._told: dict[int, tuple[Tensor, Tensor]] = {}
        self._past: dict[int, Tensor] = {}

    def begin(self, slot: int) -> None:
        """Forget what was in a slot."""
        self._told.pop(slot, None)
        self._past.pop(slot, None)
        self.choices[slot] = []

    @torch.inference_mode()
    def act(self, observations: Mapping[int, Seen]) -> Mapping[int, dict[str, Any]]:
        """Return an action for each slot; instructions are read at their first observation."""
        policy = self.agent.policy
        for slot, seen in observations.items():
            if slot not in self._told:
                self._told[slot] = policy.read(self.agent.ids([str(seen["instruction"])]))
                self._past[slot] = policy.begin(1)
        return {slot: self._choose(slot, seen) for slot, seen in observations.items()}

    def _choose(self, slot: int, observed: Seen) -> dict[str, Any]:
        (places,) = _waypoints([observed], self.agent.config.most)
        seen, depth = self.agent.look([observed])
        past = self._past[slot]
        now = observe(seen, depth, [places])
        logits, _ = self.agent.policy.decide(*self._told[slot], past, now)
        step = past.shape[1] - 1
        choice, odds = int(logits.argmax()), logits[0].float().softmax(dim=0)
        self.choices[slot].append((float(odds[choice]), float(odds[len(places.angles)])))
        if step >= self.agent.config.policy.max_steps:  # it knows no number for this step
            return _STOP
        if choice < len(places.angles):
            chosen = now.direction[:, choice]
            token = self.agent.policy.remember(seen, chosen, step)
            self._past[slot] = torch.cat([past, token[:, None]], dim=1)
        return _go(places, choice)


class RandomWalker:
    """Takes every waypoint, and to stop, for equally good; the same episode is walked alike."""

    def __init__(self, most: int = 8) -> None:
        self._most = most
        self._draws: dict[int, np.random.Generator] = {}

    def begin(self, slot: int) -> None:
        """Forget what was in a slot."""
        self._draws.pop(slot, None)

    def act(self, observations: Mapping[int, Seen]) -> Mapping[int, dict[str, Any]]:
        """Return an action for each slot."""
        actions: dict[int, dict[str, Any]] = {}
        for slot, seen in observations.items():
            if slot not in self._draws:
                text = f"{seen['instruction']} {np.asarray(seen['position']).round(3).tolist()}"
                number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
                self._draws[slot] = np.random.default_rng(number)
            (places,) = _waypoints([seen], self._most)
            actions[slot] = _go(places, int(self._draws[slot].integers(len(places.angles) + 1)))
        return actions


class StraightWalker:
    """Goes where it can with the least turn, and stops after nine metres, the mean of R2R-CE."""

    def __init__(self, most: int = 8) -> None:
        self._most = most
        self._walked: dict[int, float] = {}

    def begin(self, slot: int) -> None:
        """Forget what was in a slot."""
        self._walked[slot] = 0.0

    def act(self, observations: Mapping[int, Seen]) -> Mapping[int, dict[str, Any]]:
        """Return an action for each slot."""
        actions: dict[int, dict[str, Any]] = {}
        for slot, seen in observations.items():
            (places,) = _waypoints([seen], self._most)
            choice = int(places.turns.cos().argmax())
            if self._walked[slot] >= _STRAIGHT_WAY:
                choice = len(places.angles)
            actions[slot] = _go(places, choice)
            self._walked[slot] += actions[slot]["distance"]
        return actions


BASELINES = {"random": RandomWalker, "straight ahead": StraightWalker}
"""What a policy is measured beside."""
