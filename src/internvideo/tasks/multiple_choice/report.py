"""How often a model picks the right one of some sentences for a video."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internvideo.errors import require
from internvideo.evaluation.pictures import label_fonts, save_figure
from internvideo.evaluation.report import wilson_interval

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["ChoiceAnswer", "MultipleChoiceReport"]

_MAX_MISTAKES = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceAnswer:
    """What a model said to one question.

    Attributes:
        video: name of the video.
        options: the sentences.
        answer: number of the true one.
        scores: of the options; the largest is the model's choice.
        kind: what the wrong options differ in, where the data tells it.
    """

    video: str
    options: tuple[str, ...]
    answer: int
    scores: tuple[float, ...]
    kind: str = ""

    @property
    def chosen(self) -> int:
        """Number of the option with the largest score; of equal ones the first."""
        return max(range(len(self.scores)), key=self.scores.__getitem__)

    @property
    def correct(self) -> bool:
        """Whether the true option was chosen."""
        return self.chosen == self.answer

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "options": list(self.options), "answer": self.answer, "chosen": self.chosen,
            "scores": list(self.scores), "kind": self.kind,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, video: str, values: Mapping[str, Any]) -> ChoiceAnswer:
        """Build an answer from plain data."""
        return cls(
            video=video,
            options=tuple(values["options"]),
            answer=int(values["answer"]),
            scores=tuple(values["scores"]),
            kind=values["kind"],
        )


@dataclass(frozen=True, kw_only=True)
class MultipleChoiceReport:
    """An evaluation on multiple-choice questions.

    A video that cannot be read has no answer: it is listed in `failures`, its questions are not
    part of `accuracy`, and count as misses in `accuracy_of_all`.

    Attributes:
        answers: one for each question about a video that could be read.
        failures: (video, reason) of the others.
        num_unanswered: questions about those.
        left_out: why rows of the file were left out, as the published evaluation does.
        protocol: how the videos were looked at.
        model: name of the model.
        data: name of the data.
    """

    answers: tuple[ChoiceAnswer, ...]
    failures: tuple[tuple[str, str], ...] = ()
    num_unanswered: int = 0
    left_out: tuple[str, ...] = ()
    protocol: str = ""
    model: str = ""
    data: str = ""

    @property
    def num_correct(self) -> int:
        """Questions that were answered rightly."""
        return sum(answer.correct for answer in self.answers)

    @property
    def accuracy(self) -> float:
        """Percentage of the answered questions that were answered rightly."""
        return 100 * self.num_correct / len(self.answers) if self.answers else 0.0

    @property
    def accuracy_of_all(self) -> float:
        """Percentage over all questions; one about a video that cannot be read is a miss."""
        total = len(self.answers) + self.num_unanswered
        return 100 * self.num_correct / total if total else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of `accuracy`, in percent."""
        low, high = wilson_interval(self.num_correct, len(self.answers))
        return 100 * low, 100 * high

    @property
    def chance(self) -> float:
        """Percentage that a guesser expects."""
        shares = [1 / len(answer.options) for answer in self.answers]
        return 100 * sum(shares) / len(shares) if shares else 0.0

    @cached_property
    def kinds(self) -> dict[str, MultipleChoiceReport]:
        """The questions of each kind, where the data tells it."""
        groups: dict[str, list[ChoiceAnswer]] = {}
        for answer in self.answers:
            if answer.kind:
                groups.setdefault(answer.kind, []).append(answer)
        return {kind: MultipleChoiceReport(answers=tuple(groups[kind])) for kind in sorted(groups)}

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: the numbers, by kind too, some mistakes, the failures."""
        mistakes = [answer for answer in self.answers if not answer.correct][:_MAX_MISTAKES]
        return {
            "model": self.model,
            "data": self.data,
            "protocol": self.protocol,
            **self._numbers(),
            "accuracy_of_all": self.accuracy_of_all,
            "num_unanswered": self.num_unanswered,
            "num_failed": len(self.failures),
            "kinds": {kind: part._numbers() for kind, part in self.kinds.items()},
            "mistakes": [
                {
                    "video": answer.video,
                    "answer": answer.options[answer.answer],
                    "chosen": answer.options[answer.chosen],
                }
                for answer in mistakes
            ],
            "left_out": list(self.left_out),
            "failures": [{"video": video, "reason": reason} for video, reason in self.failures],
        }

    def _numbers(self) -> dict[str, Any]:
        return {
            "num_questions": len(self.answers),
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "chance": self.chance,
        }

    def to_json(self) -> str:
        """Return `to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def __rich__(self) -> Table:
        from rich.markup import escape
        from rich.table import Table

        title = " on ".join(part for part in (self.model, self.data) if part)
        table = Table(title=escape(title) or None, caption=escape(self.protocol) or None)
        table.add_column("measure", overflow="fold")
        for heading in ("result", "95 % interval", "chance", "questions"):
            table.add_column(heading, justify="right")
        for name, part in {"accuracy": self, **self.kinds}.items():
            low, high = part.interval
            table.add_row(
                escape(name),
                f"{part.accuracy:.2f} %",
                f"{low:.2f} … {high:.2f}",
                f"{part.chance:.2f} %",
                str(len(part.answers)),
            )
        if self.failures:
            table.add_section()
            count = f"{len(self.failures)} video{'s' * (len(self.failures) > 1)}"
            table.add_row(
                f"{count} could not be read; their questions as misses",
                f"{self.accuracy_of_all:.2f} %", "", "",
                str(len(self.answers) + self.num_unanswered), style="bold red",
            )  # fmt: skip
        return table

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw the accuracy, of each kind of question too, with its interval, beside chance.

        Args:
            path: also write the picture there; the suffix decides the format.

        Returns:
            The matplotlib figure.

        Raises:
            MissingExtraError: matplotlib is not installed.
            ConfigError: the suffix is none of a picture.
        """
        figure_type = require("matplotlib.figure", extra="plot").Figure
        parts = {"all": self, **self.kinds}
        figure = figure_type(figsize=(7, 1.4 + 0.4 * len(parts)), layout="constrained")
        axes = figure.subplots()
        for place, part in enumerate(parts.values()):
            low, high = part.interval
            reach = [[max(part.accuracy - low, 0)], [max(high - part.accuracy, 0)]]
            axes.barh(place, part.accuracy, color="#2563a8", xerr=reach, capsize=3)
            axes.annotate(
                f"{part.accuracy:.1f}",
                (max(part.accuracy, high), place),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
            )
            axes.plot([part.chance] * 2, [place - 0.4, place + 0.4], color="#c0392b")
        axes.set_yticks(range(len(parts)), list(parts), parse_math=False, fontfamily=label_fonts())
        axes.invert_yaxis()
        axes.set_xlim(0, 112)
        axes.set_xticks(range(0, 101, 20))
        axes.set_xlabel("right answers, percent; the red line is chance")
        if path is not None:
            save_figure(figure, path)
        return figure
