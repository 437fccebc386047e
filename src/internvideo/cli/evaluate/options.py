"""Options that the measures have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from internvideo.cli.options import Card, Device

__all__ = [
    "AsJson",
    "BatchSize",
    "Card",
    "Device",
    "InputProtocol",
    "Model",
    "Out",
    "Plot",
    "Root",
    "Split",
    "Strict",
    "Workers",
]

Model = Annotated[str, typer.Argument(help="Name, file, folder or hub id of the model.")]
Root = Annotated[str | None, typer.Option(help="Folder of the videos; by default that of --data.")]
Split = Annotated[str | None, typer.Option(help="For a --data of several splits.")]
InputProtocol = Annotated[
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
