"""From the scores of a model to rates: right action, right order of time, and what is mistaken."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from internvideo.demo.report import ActionRow, Rate
from internvideo.world import ACTIONS, reversal_of
from internvideo.world.scene import Scene

__all__ = ["ActionTally", "rate"]

_CHANCE = 1 / len(ACTIONS)
# The number of each action's reversal, or its own where it has none.
_REVERSE = torch.tensor([ACTIONS.index(reversal_of(action) or action) for action in ACTIONS])


def rate(hits: Bool[Tensor, " n"], chance: float) -> Rate:
    """Return how many of the clips were hit."""
    return Rate(int(hits.sum()), len(hits), chance)


class ActionTally:
    """Counts how clips of known actions were scored.

    Args:
        truths: the scenes of the clips.
        scores: one row a clip, one column an action in the order of `world.ACTIONS`.
    """

    def __init__(self, truths: Sequence[Scene], scores: Float[Tensor, "n a"]) -> None:
        self.true = torch.tensor([ACTIONS.index(truth.action) for truth in truths])
        self.reverse = _REVERSE[self.true]
        self.answer = scores.argmax(dim=1)
        rows = torch.arange(len(scores))
        # A tie does not count; a clip without a reversal never beats it.
        self.beats_reversal = scores[rows, self.true] > scores[rows, self.reverse]

    @property
    def _hits(self) -> Bool[Tensor, " n"]:
        return self.answer == self.true

    @property
    def _paired(self) -> Bool[Tensor, " n"]:
        return self.reverse != self.true

    def rates(self) -> dict[str, Rate]:
        """Return the rates of actions, of pairs, and of actions or their reversals."""
        merged_chance = _CHANCE * (1 + float(self._paired.float().mean()))
        return {
            "accuracy": rate(self._hits, _CHANCE),
            "pair_accuracy": rate(self.beats_reversal[self._paired], 0.5),
            "merged_accuracy": rate(self._hits | (self.answer == self.reverse), merged_chance),
        }

    def control_rates(self) -> dict[str, Rate]:
        """Return the rates of clips that showed one frame all the time."""
        return {
            "single_frame_accuracy": rate(self._hits, _CHANCE),
            "single_frame_pair_accuracy": rate(self.beats_reversal[self._paired], 0.5),
        }

    def confusion(self) -> Int[Tensor, "a a"]:
        """Count the clips of action (row) that were given the answer (column)."""
        counts = torch.zeros(len(ACTIONS), len(ACTIONS), dtype=torch.int64)
        ones = torch.ones_like(self.true)
        return counts.index_put_((self.true, self.answer), ones, accumulate=True)

    def per_action(self) -> tuple[ActionRow, ...]:
        """Return one row an action."""
        rows = []
        for number, (action, counts) in enumerate(zip(ACTIONS, self.confusion(), strict=True)):
            mine, reversal = self.true == number, reversal_of(action)
            wrong = counts.clone()
            wrong[number] = 0
            rows.append(
                ActionRow(
                    action=action,
                    reversal=reversal,
                    accuracy=Rate(int(counts[number]), int(mine.sum()), _CHANCE),
                    pair_accuracy=rate(self.beats_reversal[mine], 0.5) if reversal else None,
                    mistaken_for=ACTIONS[int(wrong.argmax())] if wrong.any() else None,
                )
            )
        return tuple(rows)
