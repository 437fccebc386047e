"""The classes of an evaluation, from the hardest on."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from internvideo.results.intervals import wilson_interval
from internvideo.results.recognition import RecognitionReport

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["class_table"]


def class_table(report: RecognitionReport, *, most: int | None = None) -> Table:
    """Return a Rich table with a row for each class that occurs, the hardest first.

    Args:
        report: the evaluation.
        most: rows at most; None shows all.
    """
    from rich.markup import escape
    from rich.table import Table

    said: dict[int, Counter[int]] = {}
    for prediction in report.predictions:
        if prediction.rank:
            said.setdefault(prediction.label, Counter())[prediction.best[0]] += 1
    rows = [(number, row) for number, row in enumerate(report.classes) if row.total]
    rows.sort(key=lambda pair: (pair[1].share, pair[0]))
    hidden = 0 if most is None else max(len(rows) - most, 0)
    table = Table(caption=f"and {hidden} easier class{'es' * (hidden > 1)}" if hidden else None)
    table.add_column("class", overflow="fold")
    for heading in ("recognised", "videos", "percent", "95 % interval"):
        table.add_column(heading, justify="right")
    table.add_column("taken most often for", overflow="fold")
    for number, row in rows[: len(rows) - hidden]:
        low, high = wilson_interval(row.correct, row.total)
        mistaken = said[number].most_common(1)[0] if number in said else None
        table.add_row(
            escape(row.name),
            str(row.correct),
            str(row.total),
            f"{100 * row.share:.1f}",
            f"{100 * low:.1f} … {100 * high:.1f}",
            escape(f"{report.labels[mistaken[0]]} ({mistaken[1]})") if mistaken else "",
        )
    return table
