"""How well a model recognises classes that it knows from words alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from internvideo.evaluation.accuracy import RecognitionReport

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["ZeroShotReport"]

_SHOWN_CLASSES = 40


@dataclass(frozen=True, kw_only=True)
class ZeroShotReport(RecognitionReport):
    """An evaluation of a two-tower model on labelled videos.

    Attributes:
        templates: which sentences stood for the classes.
        sentences: some of them, for the first class.
        ensemble: how the sentences of a class were combined: "cosine" or "probability".
        dual_softmax: `top1`, `top5` and `avg` after the dual softmax over all videos, see
            `ranking.dual_softmax`; it needs all of them at once, so it is no number for one video.
        equal_labels: groups of labels that are the same to the model: which one it says is chance.
    """

    templates: str = ""
    sentences: tuple[str, ...] = ()
    ensemble: str = "cosine"
    dual_softmax: Mapping[str, float] = field(default_factory=dict[str, float])
    equal_labels: tuple[tuple[str, ...], ...] = ()

    @property
    def average(self) -> float:
        """The mean of top-1 and top-5, as ViCLIP's tables have it ("AVG")."""
        return (self.top1 + self.top5) / 2

    def numbers(self) -> dict[str, Any]:
        """Return those of a `RecognitionReport` after the sentences and the further numbers."""
        return {
            "templates": self.templates,
            "sentences": list(self.sentences),
            "ensemble": self.ensemble,
            "average": self.average,
            "dual_softmax": dict(self.dual_softmax),
            "equal_labels": [list(group) for group in self.equal_labels],
            **super().numbers(),
        }

    def rows(self) -> Iterator[Sequence[str]]:
        """Yield the rows of the table."""
        yield from super().rows()
        yield ()
        names = {"top1": "top-1"}
        if self.says_top5:
            yield "mean of top-1 and top-5", f"{self.average:.2f} %"
            names |= {"top5": "top-5", "avg": "their mean"}
        for name, value in self.dual_softmax.items():
            if name in names:
                yield f"{names[name]} after dual softmax over all videos", f"{value:.2f} %"
        yield f"sentences: {self.templates}", str(len(self.sentences))
        for group in self.equal_labels:
            yield f"the same to this model: {', '.join(group)}", f"{len(group)} labels"

    def details(self, *, complete: bool) -> Table:
        """Return a row for each class, of many classes the hardest unless all are asked for."""
        return self.class_table(most=None if complete else _SHOWN_CLASSES)
