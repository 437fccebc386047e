"""`internvideo doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from internvideo.cli.terminal import stdout_console

__all__ = ["doctor"]


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Show what this installation has, and test it.

    The test encodes a clip, decodes it, and runs a model on it. The exit code is 0 when all that
    is needed works.

    Example:
      internvideo doctor
    """
    from internvideo.doctor import examine

    findings = examine()
    if as_json:
        print(findings.to_json())
    else:
        stdout_console().print(findings)
    raise typer.Exit(0 if findings.ok else 1)
