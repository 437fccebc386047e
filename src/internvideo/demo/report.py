"""What a model makes of clips of the world: rates beside chance and beside those of a control."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from internvideo.evaluation.accuracy import RecognitionReport, VideoPrediction
from internvideo.evaluation.report import Share, wilson_interval
from internvideo.world import ACTIONS, COLORS, World, action_prompts, reversal_of

__all__ = ["MEASURES", "ActionRow", "Rate", "WorldReport", "world_report"]

MEASURES: dict[str, tuple[str, str]] = {
    "accuracy": (
        "Action",
        "The true action scores highest of all actions.",
    ),
    "pair_accuracy": (
        "Action against its time reversal",
        "Clips whose action has a reversal: the true action scores above it. "
        "A model that ignores the order of the frames cannot beat a coin.",
    ),
    "merged_accuracy": (
        "Action or its reversal",
        "The true action or its time reversal scores highest of all actions.",
    ),
    "color_accuracy": (
        "Colour",
        "Clips with a single object: its colour scores highest of all colours.",
    ),
    "single_frame_accuracy": (
        "Control: action from one frame",
        "The same model sees one random frame of the clip, repeated. It must stay near chance, "
        "or the actions could be guessed without watching.",
    ),
    "single_frame_pair_accuracy": (
        "Control: pair from one frame",
        "Action against its reversal, from one repeated frame.",
    ),
}
"""Name of a measure → (title, what it means)."""

_CHANCE = 1 / len(ACTIONS)
# The number of each action's reversal, or its own where it has none.
_REVERSE = [ACTIONS.index(reversal_of(action) or action) for action in ACTIONS]


@dataclass(frozen=True, slots=True)
class Rate(Share):
    """A share of clips, and the share that a guesser expects, 0 to 1."""

    chance: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as shares of 1; the value is None where nothing was asked."""
        return {
            "value": self.correct / self.total if self.total else None,
            "interval95": list(wilson_interval(self.correct, self.total)),
            "correct": self.correct,
            "total": self.total,
            "chance": self.chance,
        }


class ActionRow(NamedTuple):
    """How one action fared.

    Attributes:
        action: its name.
        reversal: the action that is this one played backwards, if any.
        accuracy: its clips that were named correctly.
        pair_accuracy: its clips where it scored above its reversal; None without a reversal.
        mistaken_for: the most frequent wrong answer, None if there was none.
    """

    action: str
    reversal: str | None
    accuracy: Rate
    pair_accuracy: Rate | None
    mistaken_for: str | None


@dataclass(frozen=True, kw_only=True)
class WorldReport(RecognitionReport):
    """What a model makes of unseen clips of the world.

    Attributes:
        control: what it says of one frame of each clip, repeated.
        color: clips with a single object whose colour was named, if colours were asked.
        seed: seed of the world.
        source: "rendered in memory" or "decoded from mp4".
        seconds: time for reading and encoding the clips, controls included.
    """

    columns: ClassVar = ("measure", "result", "95 % interval", "chance", "clips")

    control: tuple[VideoPrediction, ...]
    color: Rate | None = None
    seed: int = 0
    source: str = "rendered in memory"
    seconds: float = 0.0

    @property
    def prompts_per_action(self) -> int:
        """How many held-out sentences describe an action to a two-tower model, at least."""
        return min(len(action_prompts(action)) for action in self.labels)

    @property
    def title(self) -> str:
        """What was asked."""
        return f"Zero-shot on {self.num_answered} unseen world clips ({self.source})"

    @cached_property
    def rates(self) -> dict[str, Rate]:
        """The keys of `MEASURES`, those that were asked."""
        count = len(self.predictions)
        paired = [each for each in self.predictions if _has_reversal(each)]
        merged = sum(p.best[0] in (p.label, _REVERSE[p.label]) for p in self.predictions)
        still = sum(not each.rank for each in self.control)
        return {
            "accuracy": Rate(self.hits().correct, count, _CHANCE),
            "pair_accuracy": _pairs(self.predictions),
            "merged_accuracy": Rate(merged, count, _CHANCE * (1 + len(paired) / max(count, 1))),
            **({} if self.color is None else {"color_accuracy": self.color}),
            "single_frame_accuracy": Rate(still, len(self.control), _CHANCE),
            "single_frame_pair_accuracy": _pairs(self.control),
        }

    @property
    def per_action(self) -> Iterator[ActionRow]:
        """One row an action."""
        mistaken = {true: said for true, said, _ in reversed(self.confusions(len(ACTIONS) ** 2))}
        for number, row in enumerate(self.classes):
            reversal = reversal_of(row.name)
            mine = [each for each in self.predictions if each.label == number]
            yield ActionRow(
                row.name,
                reversal,
                Rate(row.correct, row.total, _CHANCE),
                _pairs(mine) if reversal else None,
                mistaken.get(row.name),
            )

    def numbers(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "num_clips": self.num_answered,
            "num_actions": len(self.labels),
            "seed": self.seed,
            "source": self.source,
            "prompts_per_action": self.prompts_per_action,
            "seconds": round(self.seconds, 3),
            "rates": {name: rate.to_dict() for name, rate in self.rates.items()},
            "per_action": [
                {**row._asdict(), "accuracy": row.accuracy.to_dict(),
                 "pair_accuracy": row.pair_accuracy and row.pair_accuracy.to_dict()}
                for row in self.per_action
            ],
            "actions": list(self.labels),
            "confusion": self.confusion.tolist(),
        }  # fmt: skip

    def rows(self) -> Iterator[Sequence[str]]:
        """Yield the rows of the table."""
        for name, rate in self.rates.items():
            low, high = rate.interval
            yield (
                MEASURES[name][0],
                f"{rate.percent:.1f}%" if rate.total else "–",
                f"{low:.1f}% … {high:.1f}%",
                f"{rate.chance:.1%}",
                str(rate.total),
            )


def world_report(scores: Float[Tensor, "n 2 k"], world: World) -> WorldReport:
    """Count what a model says of the first clips of a world, see `ask_clips`.

    Args:
        scores: of the actions, and then perhaps of the colours, for each clip and its still.
        world: knows the truth.
    """
    scenes = [world.scene(number) for number in range(len(scores))]
    actions, colors = scores[:, :, : len(ACTIONS)], scores[:, 0, len(ACTIONS) :]
    truths = [ACTIONS.index(scene.action) for scene in scenes]
    color = None
    if colors.shape[1]:
        lone = [number for number, scene in enumerate(scenes) if len(scene.actors) == 1]
        said = colors.argmax(dim=1).tolist()
        palette = list(COLORS)
        hits = sum(palette[said[number]] == scenes[number].actors[0].color for number in lone)
        color = Rate(hits, len(lone), 1 / len(COLORS))
    return WorldReport(
        labels=ACTIONS,
        predictions=_predictions(actions[:, 0], truths),
        control=_predictions(actions[:, 1], truths),
        color=color,
        seed=world.seed,
    )


def _predictions(
    scores: Float[Tensor, "n a"], truths: Sequence[int]
) -> tuple[VideoPrediction, ...]:
    """Return the actions of each clip, best first; their scores are kept as they are."""
    orders = torch.argsort(scores, dim=1, descending=True, stable=True).tolist()
    return tuple(
        VideoPrediction(
            index=number,
            video=f"clip {number}",
            label=truth,
            rank=order.index(truth),
            best=tuple(order),
            probabilities=(),
            num_views=1,
            scores=tuple(row),
        )
        for number, (order, truth, row) in enumerate(
            zip(orders, truths, scores.tolist(), strict=True)
        )
    )


def _has_reversal(prediction: VideoPrediction) -> bool:
    return _REVERSE[prediction.label] != prediction.label


def _pairs(predictions: Sequence[VideoPrediction]) -> Rate:
    """Count the clips whose action scores above its reversal, of those that have one; no ties."""
    paired = [each for each in predictions if _has_reversal(each)]
    won = sum(each.scores[each.label] > each.scores[_REVERSE[each.label]] for each in paired)
    return Rate(won, len(paired), 0.5)
