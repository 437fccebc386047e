"""How often a model picks the right one of some sentences for a video."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from internvideo.evaluation.pictures import BAR_COLOR, LINE_COLOR, name_places
from internvideo.evaluation.report import Report, Share, by_kind

__all__ = ["ChoiceAnswer", "MultipleChoiceReport"]

_MAX_MISTAKES = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceAnswer:
    """The answer of a model to one question.

    Attributes:
        video: name of the video.
        question: what is asked; empty where the options are sentences about the video.
        options: the sentences.
        answer: number of the true one.
        scores: of the options; the largest is the model's choice.
        kind: what the wrong options differ in, where the data has it.
    """

    video: str
    options: tuple[str, ...]
    answer: int
    scores: tuple[float, ...]
    question: str = ""
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
            "scores": list(self.scores), "question": self.question, "kind": self.kind,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, video: str, values: Mapping[str, Any]) -> ChoiceAnswer:
        """Build an answer from plain data."""
        return cls(
            video=video,
            options=tuple(values["options"]),
            answer=int(values["answer"]),
            scores=tuple(values["scores"]),
            question=values.get("question", ""),
            kind=values["kind"],
        )


@dataclass(frozen=True, kw_only=True)
class MultipleChoiceReport(Report):
    """An evaluation on multiple-choice questions.

    The questions about a video that cannot be read are not part of `accuracy`, and count as misses
    in `accuracy_of_all`.

    Attributes:
        answers: one for each question about a video that could be read.
        num_unanswered: questions about the others.
        left_out: why rows of the file were left out, as the published evaluation does.
    """

    columns: ClassVar[tuple[str, ...]] = (
        "measure",
        "result",
        "95 % interval",
        "chance",
        "questions",
    )

    answers: tuple[ChoiceAnswer, ...]
    num_unanswered: int = 0
    left_out: tuple[str, ...] = ()

    @property
    def num_answered(self) -> int:
        """Number of videos that could be read."""
        return len({answer.video for answer in self.answers})

    @property
    def right(self) -> Share:
        """How many of the answered questions were answered rightly."""
        return Share(sum(answer.correct for answer in self.answers), len(self.answers))

    @property
    def accuracy(self) -> float:
        """Percentage of the answered questions that were answered rightly."""
        return self.right.percent

    @property
    def accuracy_of_all(self) -> float:
        """Percentage over all questions; one about a video that cannot be read is a miss."""
        return Share(self.right.correct, len(self.answers) + self.num_unanswered).percent

    @property
    def chance(self) -> float:
        """Percentage that a guesser expects."""
        shares = [1 / len(answer.options) for answer in self.answers]
        return 100 * sum(shares) / len(shares) if shares else 0.0

    @cached_property
    def kinds(self) -> dict[str, MultipleChoiceReport]:
        """The questions of each kind, where the data has kinds."""
        groups = by_kind(self.answers)
        return {kind: MultipleChoiceReport(answers=tuple(each)) for kind, each in groups.items()}

    def metrics(self) -> dict[str, float]:
        """Return the numbers alone, for a training log."""
        return {
            "accuracy": self.accuracy,
            "accuracy_of_all": self.accuracy_of_all,
            "num_failed": float(len(self.failures)),
        }

    def numbers(self) -> dict[str, Any]:
        """Return the numbers, by kind too, and some mistakes, as plain data."""
        mistakes = [answer for answer in self.answers if not answer.correct][:_MAX_MISTAKES]
        return {
            **self._counts(),
            "accuracy_of_all": self.accuracy_of_all,
            "num_unanswered": self.num_unanswered,
            "num_failed": len(self.failures),
            "kinds": {kind: part._counts() for kind, part in self.kinds.items()},
            "mistakes": [
                {
                    "video": answer.video,
                    **({"question": answer.question} if answer.question else {}),
                    "answer": answer.options[answer.answer],
                    "chosen": answer.options[answer.chosen],
                }
                for answer in mistakes
            ],
            "left_out": list(self.left_out),
        }

    def _counts(self) -> dict[str, Any]:
        return {
            "num_questions": len(self.answers),
            "accuracy": self.accuracy,
            "interval": list(self.right.interval),
            "chance": self.chance,
        }

    def rows(self) -> Iterator[Sequence[str]]:
        """Yield the rows of the table: all questions, then those of each kind."""
        for name, part in {"accuracy": self, **self.kinds}.items():
            right = part.right
            yield name, str(right), right.range, f"{part.chance:.2f} %", str(right.total)
        if self.failures:
            yield ()
            count = f"{len(self.failures)} video{'s' * (len(self.failures) > 1)}"
            total = str(len(self.answers) + self.num_unanswered)
            yield (
                f"!{count} could not be read; their questions as misses",
                f"{self.accuracy_of_all:.2f} %", "", "", total,
            )  # fmt: skip

    def notes(self) -> Sequence[str]:
        """Return which rows of the file were left out."""
        if not self.left_out:
            return ()
        return (f"{len(self.left_out)} rows are left out, such as {self.left_out[0]}",)

    def draw(self) -> Any:
        """Draw the accuracy, of each kind of question too, with its interval, beside chance."""
        parts = {"all": self, **self.kinds}
        figure = self.figure(7, 1.4 + 0.4 * len(parts))
        axes = figure.subplots()
        for place, part in enumerate(parts.values()):
            low, high = part.right.interval
            reach = [[max(part.accuracy - low, 0)], [max(high - part.accuracy, 0)]]
            axes.barh(place, part.accuracy, color=BAR_COLOR, xerr=reach, capsize=3)
            axes.annotate(
                f"{part.accuracy:.1f}",
                (max(part.accuracy, high), place),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
            )
            axes.plot([part.chance] * 2, [place - 0.4, place + 0.4], color=LINE_COLOR)
        name_places(axes.yaxis, list(parts))
        axes.invert_yaxis()
        axes.set_xlim(0, 112)
        axes.set_xticks(range(0, 101, 20))
        axes.set_xlabel("right answers, percent; the red line is chance")
        return figure
