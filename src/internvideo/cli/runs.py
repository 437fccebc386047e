"""`internvideo runs`: several training runs side by side."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from internvideo.cli.terminal import note_line, output_file, stdout_console

if TYPE_CHECKING:
    from internvideo.train.runs import RunSummary

__all__ = ["runs"]

_HEADS = ("run", "best", "at step", "loss", "val loss", "lr", "disk")


def runs(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to look, and below it.")
    ] = Path("runs"),
    plot: Annotated[Path | None, typer.Option(help="Draw their curves into this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
) -> None:
    """Compare training runs: what each has reached, and its curves in one picture.

    The best run comes first. Piped, a run is a row with tabs between its values.

    Examples:
      internvideo runs
      internvideo runs runs/sweep --plot sweep.png
    """
    if plot is not None:
        output_file(plot)
    from internvideo.train.runs import draw_runs, find_runs

    found = find_runs(directory)
    if as_json:
        print(json.dumps([run.to_dict() for run in found], ensure_ascii=False))
    elif not sys.stdout.isatty():
        print("\t".join(_HEADS))
        for run in found:
            print("\t".join(_row(run)))
    else:
        from rich.markup import escape
        from rich.table import Table

        table = Table(box=None, padding=(0, 2, 0, 0))
        for number, head in enumerate(_HEADS):
            table.add_column(head, no_wrap=number == 0, justify="left" if number == 0 else "right")
        for run in found:
            table.add_row(*map(escape, _row(run)))
        stdout_console().print(table)
    if plot is not None:
        note_line(f"the curves are in {draw_runs(found, plot)}")


def _row(run: RunSummary) -> list[str]:
    def shown(value: float | None) -> str:
        return "" if value is None else f"{value:.4g}"

    return [
        str(run.path),
        "" if run.best is None else f"{run.metric} {run.best:.2f}",
        f"{run.best_step if run.best_step is not None else run.steps} of {run.steps}"
        + ("" if run.finished else ", not finished"),
        shown(run.loss),
        shown(run.val_loss),
        shown(run.lr),
        f"{run.size / 1e6:.1f} MB" if run.size < 1e9 else f"{run.size / 1e9:.2f} GB",
    ]
