"""Options that the measures have in common, and how they tell what was found."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from internvideo.cli.options import Card, Device
from internvideo.cli.terminal import failure_list, output_file, output_folder, stdout_console
from internvideo.errors import DataError

__all__ = [
    "AsJson",
    "BatchSize",
    "Card",
    "Device",
    "Model",
    "Out",
    "Plot",
    "Protocol_",
    "Root",
    "Split",
    "Strict",
    "Workers",
    "prepare_outputs",
    "tell",
]

Model = Annotated[str, typer.Argument(help="Name, file, folder or hub id of the model.")]
Root = Annotated[str | None, typer.Option(help="Folder of the videos; by default that of --data.")]
Split = Annotated[str | None, typer.Option(help="For a --data of several splits.")]
Protocol_ = Annotated[
    str | None, typer.Option("--protocol", help="Another input protocol, e.g. viclip-eval.")
]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder for report.json and predictions.jsonl.")
]
Plot = Annotated[Path | None, typer.Option(help="Draw the result into this file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
Strict = Annotated[bool, typer.Option("--strict", help="Fail when a video cannot be read.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Views at once in the model.")]
Workers = Annotated[int, typer.Option(min=0, help="Videos decoded at once.")]


class _Report(Protocol):
    @property
    def failures(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def data(self) -> str: ...
    def to_json(self) -> str: ...
    def plot(self, path: Path) -> Any: ...


def prepare_outputs(out: Path | None, plot: Path | None) -> None:
    """Check that the results can be written, before the work.

    Raises:
        ConfigError: they cannot.
    """
    if plot is not None:
        output_file(plot)
    if out is not None:
        output_folder(out)


def tell(
    report: _Report,
    num_answered: int,
    *,
    as_json: bool,
    plot: Path | None,
    strict: bool,
    further: Any = None,
) -> int:
    """Print a report and what could not be read; return the exit code.

    Args:
        report: what was found.
        num_answered: videos that could be read.
        as_json: print one line of JSON in place of tables.
        plot: also draw it there.
        strict: videos that cannot be read make the exit code 1.
        further: a table to print below.

    Raises:
        DataError: no video could be read.
    """
    failures = list(report.failures)
    if os.environ.get("RANK", "0") != "0":  # under torchrun the first process speaks for all
        return 1 if strict and failures else 0
    if as_json:
        print(report.to_json())
    else:
        stdout_console().print(report)
        if further is not None:
            stdout_console().print(further)
    if plot is not None:
        report.plot(plot)
    code = failure_list(failures, total=num_answered + len(failures))
    if failures and not num_answered:
        raise DataError(f"no video of {report.data} can be read, so nothing was measured")
    return code if strict else 0
