"""How the measures tell what was found."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

from internvideo.cli.terminal import failure_list, output_file, output_folder, stdout_console
from internvideo.errors import DataError

__all__ = ["prepare_outputs", "tell"]


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
        from internvideo.evaluation.pictures import check_picture

        output_file(check_picture(plot))
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
