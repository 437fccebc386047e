"""The answer of a model to a user's question about a video."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from internvideo.evaluation.answer import VideoAnswer

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["VideoReply"]

_BAR_WIDTH = 24
_ANSWER_WIDTH = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoReply(VideoAnswer):
    """What a model answers to a question about one video.

    Attributes:
        question: as it was asked.
        answers: the likeliest first; one where it was written.
        probabilities: among all answers that the model knows; empty where it was written.
    """

    question: str
    answers: tuple[str, ...]
    probabilities: tuple[float, ...] = ()

    headings: ClassVar[tuple[str, ...]] = ("answer", "share")
    """Of the columns of a table of many videos, see `summary`."""
    max_tables: ClassVar[int] = 3
    """Up to so many videos have a table each."""

    @property
    def text(self) -> str:
        """The answer."""
        return self.answers[0]

    def summary(self) -> tuple[str, ...]:
        """Return the answer as cells of one row."""
        return self.text, f"{self.probabilities[0]:.1%}" if self.probabilities else ""

    def contents(self) -> dict[str, Any]:
        """Return the question and the answers."""
        if not self.probabilities:
            return {"question": self.question, "answer": self.text}
        rows = zip(self.answers, self.probabilities, strict=True)
        answers = [{"answer": answer, "probability": share} for answer, share in rows]
        return {"question": self.question, "answer": self.text, "answers": answers}

    def __rich__(self) -> Table:
        from rich.markup import escape

        table = self.empty_table()
        table.add_column(escape(self.question), overflow="fold", min_width=_ANSWER_WIDTH)
        if not self.probabilities:
            table.add_row(escape(self.text))
            return table
        table.add_column("probability", justify="right")
        table.add_column("")
        for answer, share in zip(self.answers, self.probabilities, strict=True):
            table.add_row(escape(answer), f"{share:.1%}", "█" * round(share * _BAR_WIDTH))
        return table
