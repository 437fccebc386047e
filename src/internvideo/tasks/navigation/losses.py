"""What a navigating agent learns from: a teacher's choices, or rewards (reference `vln.md`).

Letters: b agents, n observed tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from internvideo.simulator.metrics import SUCCESS_DISTANCE

__all__ = ["Outcome", "actor_critic_loss", "imitation_loss", "rewards"]

_NEAR = 1.0  # metres


def imitation_loss(logits: Float[Tensor, "b n"], teacher: Int[Tensor, "b"]) -> Float[Tensor, ""]:
    """Return the cross-entropy of one step, summed over the agents."""
    return F.cross_entropy(logits, teacher, reduction="sum")


def rewards(
    distance: Float[Tensor, "b"],
    fidelity: Float[Tensor, "b"],
    last_distance: Float[Tensor, "b"],
    last_fidelity: Float[Tensor, "b"],
    stopped: Bool[Tensor, "b"],
) -> Float[Tensor, "b"]:
    """Return the rewards of one step.

    Stopping pays 2 + 2 nDTW within 3 m of the goal, and costs 2 elsewhere. A move pays 1 where it
    leads nearer, costs 1 where it leads away, both with what nDTW changes by, and costs a half
    where the distance stays. Moving away from a goal that was within a metre costs up to 2 more.

    Args:
        distance: geodesic, to the goal, in metres.
        fidelity: nDTW of the path so far.
        last_distance: before the step.
        last_fidelity: before the step.
        stopped: whether the step was to stop.
    """
    nearer, gained = last_distance - distance, fidelity - last_fidelity
    moved = torch.where(nearer == 0, -0.5, nearer.sign() + gained)
    fled = (last_distance <= _NEAR) & (nearer < 0)
    moved = moved - torch.where(fled, 2 * (1 - last_distance), 0.0)
    arrived = torch.where(distance < SUCCESS_DISTANCE, 2 + 2 * fidelity, -2.0)
    return torch.where(stopped, arrived, moved)


@dataclass(frozen=True, eq=False, slots=True)
class Outcome:
    """One step of those agents that had not stopped before.

    Attributes:
        agents: which they are.
        log_prob: of what they did.
        entropy: of their choice.
        value: what the critic expected.
        reward: what they got.
    """

    agents: Int[Tensor, "b"]
    log_prob: Float[Tensor, "b"]
    entropy: Float[Tensor, "b"]
    value: Float[Tensor, "b"]
    reward: Float[Tensor, "b"]


def actor_critic_loss(
    steps: Sequence[Outcome], *, discount: float = 0.9, entropy_weight: float = 0.01
) -> Float[Tensor, ""]:
    """Return the loss of advantage actor-critic, a mean over all actions of all agents."""
    count = 1 + max(int(step.agents.max()) for step in steps)
    returns = steps[0].reward.new_zeros(count)
    loss, actions = steps[0].value.new_zeros(()), 0
    for step in reversed(steps):
        returns[step.agents] = step.reward + discount * returns[step.agents]
        missing = returns[step.agents] - step.value
        loss = (
            loss
            + (
                -step.log_prob * missing.detach() + 0.5 * missing**2 - entropy_weight * step.entropy
            ).sum()
        )
        actions += len(step.agents)
    return loss / actions
