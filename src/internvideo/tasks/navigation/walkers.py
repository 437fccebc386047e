"""Who walks: the policy, and two that do not read, in the same actions.

All choose among the waypoints that `candidates` finds, or stop.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from internvideo.models.navigation import observe
from internvideo.models.navigator import Navigator
from internvideo.models.waypoints import Waypoints
from internvideo.simulator.backend import Sensors
from internvideo.simulator.candidates import open_waypoints

__all__ = [
    "BASELINES",
    "PolicyWalker",
    "RandomWalker",
    "StraightWalker",
    "sensors_of",
    "waypoints_of",
]

_STOP = {"stop": 1, "angle": 0.0, "distance": 0.0}
_STRAIGHT_WAY = 9.0

Seen = Mapping[str, Any]


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


def waypoints_of(observations: Sequence[Seen], most: int) -> list[Waypoints]:
    """Return where agents can go by the depth that they see."""
    depth = torch.from_numpy(np.stack([seen["depth"][..., 0] for seen in observations]))
    return open_waypoints(depth * Sensors().far, most=most)


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
        (places,) = waypoints_of([observed], self.agent.config.most)
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


class _Unreading:
    """Chooses among the waypoints without a look at its instruction.

    Args:
        most: waypoints at once.
    """

    def __init__(self, most: int = 8) -> None:
        self._most = most
        self._past: dict[int, Any] = {}

    def begin(self, slot: int) -> None:
        """Forget what was in a slot."""
        self._past.pop(slot, None)

    def act(self, observations: Mapping[int, Seen]) -> Mapping[int, dict[str, Any]]:
        """Return an action for each slot."""
        return {
            slot: self._choose(slot, seen, *waypoints_of([seen], self._most))
            for slot, seen in observations.items()
        }

    def _choose(self, slot: int, seen: Seen, places: Waypoints) -> dict[str, Any]:
        raise NotImplementedError


class RandomWalker(_Unreading):
    """Takes every waypoint, and to stop, for equally good; the same episode is walked alike."""

    def _choose(self, slot: int, seen: Seen, places: Waypoints) -> dict[str, Any]:
        if slot not in self._past:
            text = f"{seen['instruction']} {np.asarray(seen['position']).round(3).tolist()}"
            number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
            self._past[slot] = np.random.default_rng(number)
        return _go(places, int(self._past[slot].integers(len(places.angles) + 1)))


class StraightWalker(_Unreading):
    """Goes where it can with the least turn, and stops after nine metres, the mean of R2R-CE."""

    def _choose(self, slot: int, seen: Seen, places: Waypoints) -> dict[str, Any]:
        walked = self._past.get(slot, 0.0)
        if walked >= _STRAIGHT_WAY:
            return _STOP
        action = _go(places, int(places.turns.cos().argmax()))
        self._past[slot] = walked + action["distance"]
        return action


BASELINES = {"random": RandomWalker, "straight ahead": StraightWalker}
"""What a policy is measured beside."""
