"""The numbers of a zero-shot report on the world: rates beside chance, with their interval."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from internvideo.evaluation.report import wilson_interval

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["MEASURES", "ActionRow", "Rate", "WorldReport", "wilson_interval"]

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


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of clips.

    Attributes:
        correct: clips that count.
        total: clips that were asked.
        chance: expected share of a guesser.
    """

    correct: int
    total: int
    chance: float

    @property
    def value(self) -> float:
        """The share; NaN where nothing was asked."""
        return self.correct / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval."""
        return wilson_interval(self.correct, self.total)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; the value is None where nothing was asked."""
        return {
            "value": self.value if self.total else None,
            "interval95": list(self.interval),
            "correct": self.correct,
            "total": self.total,
            "chance": self.chance,
        }

    def __str__(self) -> str:
        if not self.total:
            return "no clips"
        low, high = self.interval
        return (
            f"{self.value:.1%} [{low:.1%}, {high:.1%}] of {self.total} (chance {self.chance:.1%})"
        )


@dataclass(frozen=True, slots=True)
class ActionRow:
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

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "action": self.action,
            "reversal": self.reversal,
            "accuracy": self.accuracy.to_dict(),
            "pair_accuracy": self.pair_accuracy.to_dict() if self.pair_accuracy else None,
            "mistaken_for": self.mistaken_for,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldReport:
    """What a model makes of unseen clips of the world, without having been told their actions.

    Attributes:
        rates: the keys of `MEASURES`, without the controls where those were not asked for.
        actions: the names of all classes, in the order of `confusion`.
        per_action: one row an action.
        confusion: clips of action (row) that were given the answer (column).
        num_clips: clips that were looked at.
        seed: seed of their world.
        source: "rendered in memory" or "decoded from mp4".
        prompts_per_action: held-out sentences whose scores are averaged, at least so many.
        seconds: time for reading and encoding the clips, controls included.
    """

    rates: Mapping[str, Rate]
    actions: tuple[str, ...]
    per_action: tuple[ActionRow, ...]
    confusion: tuple[tuple[int, ...], ...]
    num_clips: int
    seed: int
    source: str
    prompts_per_action: int
    seconds: float

    def __getitem__(self, measure: str) -> Rate:
        """Return one of the rates by its name."""
        return self.rates[measure]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "num_clips": self.num_clips,
            "num_actions": len(self.actions),
            "seed": self.seed,
            "source": self.source,
            "prompts_per_action": self.prompts_per_action,
            "seconds": round(self.seconds, 3),
            "rates": {name: rate.to_dict() for name, rate in self.rates.items()},
            "per_action": [row.to_dict() for row in self.per_action],
            "actions": list(self.actions),
            "confusion": [list(row) for row in self.confusion],
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """Return `to_dict()` as JSON."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)

    def table(self) -> Table:
        """Return the rates as a Rich table."""
        from rich.table import Table

        table = Table(title=f"Zero-shot on {self.num_clips} unseen world clips ({self.source})")
        table.add_column("measure")
        for heading in ("result", "95 % interval", "chance", "clips"):
            table.add_column(heading, justify="right")
        for name, rate in self.rates.items():
            low, high = rate.interval
            value = f"{rate.value:.1%}" if rate.total else "–"
            table.add_row(
                MEASURES[name][0],
                value,
                f"{low:.1%} … {high:.1%}",
                f"{rate.chance:.1%}",
                str(rate.total),
            )
        return table

    def __rich__(self) -> Table:
        return self.table()
