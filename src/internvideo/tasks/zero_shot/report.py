"""How well a model recognises classes that it was only told in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from internvideo.evaluation.accuracy import RecognitionReport

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["ZeroShotReport"]


@dataclass(frozen=True, kw_only=True)
class ZeroShotReport(RecognitionReport):
    """An evaluation of a two-tower model on labelled videos.

    Attributes:
        templates: which sentences stood for the classes.
        sentences: some of them, for the first class.
        ensemble: how the sentences of a class were joined: "cosine" or "probability".
        dual_softmax: `top1`, `top5` and `avg` after the dual softmax over all videos, see
            `metrics.dual_softmax`; it needs all of them at once, so it is no number for one video.
    """

    templates: str = ""
    sentences: tuple[str, ...] = ()
    ensemble: str = "cosine"
    dual_softmax: Mapping[str, float] = field(default_factory=dict)

    @property
    def average(self) -> float:
        """The mean of top-1 and top-5, as ViCLIP's tables have it ("AVG")."""
        return (self.top1 + self.top5) / 2

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: that of a `RecognitionReport`, the sentences, the further numbers."""
        whole = super().to_dict()
        return {
            **{name: whole.pop(name) for name in ("model", "data", "protocol")},
            "templates": self.templates,
            "sentences": list(self.sentences),
            "ensemble": self.ensemble,
            "average": self.average,
            "dual_softmax": dict(self.dual_softmax),
            **whole,
        }

    def __rich__(self) -> Table:
        from rich.markup import escape

        table = super().__rich__()
        table.add_section()
        table.add_row("mean of top-1 and top-5", f"{self.average:.2f} %")
        names = {"top1": "top-1", "top5": "top-5", "avg": "their mean"}
        for name, value in self.dual_softmax.items():
            table.add_row(f"{names[name]} after dual softmax over all videos", f"{value:.2f} %")
        table.add_row(escape(f"sentences: {self.templates}"), str(len(self.sentences)))
        return table
