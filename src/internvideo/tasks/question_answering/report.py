"""How many questions a model answers rightly, beside always giving the most frequent answer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

from internvideo.evaluation.pictures import BAR_COLOR, LINE_COLOR, name_places
from internvideo.evaluation.report import Report, Share, by_kind

__all__ = ["Accuracies", "AnsweredQuestion", "QuestionReport", "accuracies", "as_number"]

_MAX_MISTAKES = 100
_NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve"),
)


class Accuracies(NamedTuple):
    """Right answers by both rules.

    Attributes:
        official: of the questions whose answer the model can give. The published numbers are these
            (torchmetrics ignores the others).
        strict: of all questions; an answer that the model does not know is a miss.
    """

    official: Share
    strict: Share


def accuracies(right: Sequence[bool], known: Sequence[bool]) -> Accuracies:
    """Return both accuracies.

    Args:
        right: whether each question was answered rightly.
        known: whether its answer is one that the model can give.
    """
    hits = sum(one and other for one, other in zip(right, known, strict=True))
    return Accuracies(Share(hits, sum(known)), Share(hits, len(known)))


def as_number(answer: str) -> float | None:
    """Return the number that an answer is, in digits or as a word; None where it is none.

    >>> as_number("two"), as_number("10"), as_number("red")
    (2.0, 10.0, None)
    """
    word = answer.strip().lower()
    if word in _NUMBERS:
        return float(_NUMBERS.index(word))
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class AnsweredQuestion:
    """A question, its answer, and that of a model.

    Attributes:
        video: name of the video.
        question: what was asked.
        answer: the true answer.
        given: the model's answer.
        right: whether they are the same.
        known: whether the true answer is one that the model can give.
        kind: what the question asks about, where the data has it.
        probability: of the given answer, where the model chose it; else 0.
    """

    video: str
    question: str
    answer: str
    given: str
    right: bool
    known: bool = True
    kind: str = ""
    probability: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, without the video."""
        values = asdict(self)
        del values["video"]
        return values

    @classmethod
    def from_dict(cls, video: str, values: Mapping[str, Any]) -> AnsweredQuestion:
        """Build an answered question from plain data."""
        return cls(video=video, **values)


@dataclass(frozen=True, kw_only=True)
class QuestionReport(Report):
    """An evaluation on questions with one true answer each.

    Attributes:
        answers: one for each question about a video that could be read.
        num_unanswered: questions about the others.
        num_answers: answers that the model chooses from; 0 where it writes them.
        answers_origin: where these come from.
        num_cut: questions that are longer than what the model reads.
    """

    columns: ClassVar[tuple[str, ...]] = (
        "questions about", "accuracy", "95 % interval", "strict", "most frequent answer",
        "questions", "unknown",
    )  # fmt: skip

    answers: tuple[AnsweredQuestion, ...]
    num_unanswered: int = 0
    num_answers: int = 0
    answers_origin: str = ""
    num_cut: int = 0

    @property
    def num_answered(self) -> int:
        """Number of videos that could be read."""
        return len({answer.video for answer in self.answers})

    @cached_property
    def accuracies(self) -> Accuracies:
        """The share of right answers, by both rules."""
        return accuracies([a.right for a in self.answers], [a.known for a in self.answers])

    @property
    def accuracy_of_all(self) -> float:
        """Strict accuracy in percent; a question about a video that cannot be read is a miss."""
        strict = self.accuracies.strict
        return Share(strict.correct, strict.total + self.num_unanswered).percent

    @cached_property
    def kinds(self) -> dict[str, QuestionReport]:
        """The questions of each kind, where the data has kinds."""
        groups = by_kind(self.answers)
        return {kind: QuestionReport(answers=tuple(each)) for kind, each in groups.items()}

    @cached_property
    def guesses(self) -> dict[str, str]:
        """The most frequent answer to the questions of each kind, in these very data."""
        groups: dict[str, Counter[str]] = {}
        for answer in self.answers:
            groups.setdefault(answer.kind, Counter())[answer.answer] += 1
        return {
            kind: min(counts, key=lambda each: (-counts[each], each))
            for kind, counts in groups.items()
        }

    @property
    def guessed(self) -> Share:
        """How many questions have the most frequent answer of their kind: what guessing gets."""
        hits = sum(answer.answer == self.guesses[answer.kind] for answer in self.answers)
        return Share(hits, len(self.answers))

    @cached_property
    def squared_error(self) -> SquaredError | None:
        """The error of counting; None where not all true answers are numbers."""
        return SquaredError.of(self.answers)

    def metrics(self) -> dict[str, float]:
        """Return the numbers alone, for a training log."""
        return {
            "accuracy": self.accuracies.official.percent,
            "accuracy_strict": self.accuracies.strict.percent,
            "num_failed": float(len(self.failures)),
        }

    def numbers(self) -> dict[str, Any]:
        """Return the numbers, by kind too, and some mistakes, as plain data."""
        mistakes = [answer for answer in self.answers if not answer.right][:_MAX_MISTAKES]
        return {
            **self._counts(),
            "accuracy_of_all": self.accuracy_of_all,
            "num_unanswered": self.num_unanswered,
            "num_answers": self.num_answers,
            "answers_origin": self.answers_origin,
            "num_cut": self.num_cut,
            "num_failed": len(self.failures),
            "kinds": {kind: part._counts() for kind, part in self.kinds.items()},
            "mistakes": [{"video": answer.video, **answer.to_dict()} for answer in mistakes],
        }

    def _counts(self) -> dict[str, Any]:
        official, strict = self.accuracies
        error = self.squared_error
        return {
            "num_questions": strict.total,
            "num_unknown": strict.total - official.total,
            "accuracy": official.percent,
            "interval": list(official.interval),
            "accuracy_strict": strict.percent,
            "interval_strict": list(strict.interval),
            "most_frequent_answer": self.guessed.percent,
            **({} if error is None else {"squared_error": error._asdict()}),
        }

    def rows(self) -> Iterator[Sequence[str]]:
        """Yield the rows of the table: all questions, those of each kind, errors of counting."""
        for name, part in {"anything": self, **self.kinds}.items():
            official, strict = part.accuracies
            unknown = strict.total - official.total
            guess = f' "{next(iter(part.guesses.values()))}"' if len(part.guesses) == 1 else ""
            yield (
                name, str(official), official.range, str(strict), f"{part.guessed}{guess}",
                str(strict.total), str(unknown),
            )  # fmt: skip
        counted = {k: e for k, p in self.kinds.items() if (e := p.squared_error) is not None}
        if counted:
            yield ()
        for name, error in counted.items():
            yield (
                f"{name}, squared error", f"{error.model:.3f}", "", "",
                f"{error.guess:.3f}", str(error.total), "",
            )  # fmt: skip
        if self.failures:
            yield ()
            count = f"{len(self.failures)} video{'s' * (len(self.failures) > 1)}"
            total = str(len(self.answers) + self.num_unanswered)
            yield (
                f"!{count} could not be read; their questions as misses",
                "", "", f"{self.accuracy_of_all:.2f} %", "", total, "",
            )  # fmt: skip

    def notes(self) -> Sequence[str]:
        """Return what the answers were chosen from, and which questions were cut."""
        notes: list[str] = []
        if self.num_answers:
            covered = self.accuracies.official.total / max(len(self.answers), 1)
            origin = f" ({self.answers_origin})" if self.answers_origin else ""
            notes.append(
                f"{self.num_answers} answers to choose from{origin}; they cover {covered:.1%} of "
                "the questions: the others do not count in `accuracy`, and are misses in `strict`"
            )
        for kind, part in self.kinds.items():
            error = part.squared_error
            if error is not None and error.not_numbers:
                notes.append(f"{kind}: {error.not_numbers} answers are no number: no squared error")
        if self.num_cut:
            notes.append(f"{self.num_cut} questions are longer than the model reads, and were cut")
        return notes

    def details(self, *, complete: bool) -> Any:
        """Return a table of questions that were answered wrongly, if it was asked for."""
        if not complete:
            return None
        from rich.markup import escape
        from rich.table import Table

        table = Table(title="wrong answers")
        for heading in ("video", "question", "answer", "given"):
            table.add_column(heading, overflow="fold")
        for each in [answer for answer in self.answers if not answer.right][:_MAX_MISTAKES]:
            table.add_row(*map(escape, (each.video, each.question, each.answer, each.given)))
        return table

    def draw(self) -> Any:
        """Draw both accuracies of each kind, with the interval, beside the most frequent answer."""
        parts = {"anything": self, **self.kinds}
        figure = self.figure(7, 1.6 + 0.45 * len(parts))
        axes = figure.subplots()
        for place, part in enumerate(parts.values()):
            official, strict = part.accuracies
            low, high = official.interval
            reach = [[max(official.percent - low, 0)], [max(high - official.percent, 0)]]
            axes.barh(place, official.percent, color=BAR_COLOR, alpha=0.55, xerr=reach, capsize=3)
            axes.barh(place, strict.percent, height=0.4, color=BAR_COLOR)
            guess = part.guessed.percent
            axes.plot([guess] * 2, [place - 0.4, place + 0.4], color=LINE_COLOR)
            axes.annotate(
                f"{official.percent:.1f}",
                (max(official.percent, high), place),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
            )
        name_places(axes.yaxis, list(parts))
        axes.invert_yaxis()
        axes.set_xlim(0, 112)
        axes.set_xticks(range(0, 101, 20))
        axes.set_xlabel("right answers, percent; dark: strict; red: the most frequent answer")
        axes.set_title(self.title, parse_math=False)
        return figure


class SquaredError(NamedTuple):
    """The error of counting.

    Attributes:
        model: mean squared error of the model's numbers.
        guess: that of always giving the most frequent number.
        total: questions that were answered with a number.
        not_numbers: questions that were not.
    """

    model: float
    guess: float
    total: int
    not_numbers: int

    @classmethod
    def of(cls, answers: Iterable[AnsweredQuestion]) -> SquaredError | None:
        """Return the error of answers; None where not all of the true ones are numbers."""
        pairs = [(as_number(answer.answer), as_number(answer.given)) for answer in answers]
        true = [number for number, _ in pairs if number is not None]
        both = [(one, other) for one, other in pairs if one is not None and other is not None]
        if len(true) < len(pairs) or not both:
            return None
        counts = Counter(true)
        guess = min(counts, key=lambda number: (-counts[number], number))
        return cls(
            model=sum((one - other) ** 2 for one, other in both) / len(both),
            guess=sum((number - guess) ** 2 for number in true) / len(true),
            total=len(both),
            not_numbers=len(pairs) - len(both),
        )
