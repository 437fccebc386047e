"""`internvideo evaluate …`: how well a model does what it is for."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from internvideo.cli.evaluate.captioning import captioning
from internvideo.cli.evaluate.classifier import classifier
from internvideo.cli.evaluate.multiple_choice import multiple_choice
from internvideo.cli.evaluate.zero_shot import zero_shot
from internvideo.cli.terminal import command_help

__all__ = ["app"]

_DEFAULT = "classifier"


class _OrClassifier(TyperGroup):
    """A group in which a line that names no measure belongs to `classifier`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first = args[0] if args else ""
        known = {*self.commands, "--help", "-h"}
        if first not in known and not _mistyped(first, list(self.commands)):
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)


def _mistyped(word: str, commands: list[str]) -> bool:
    """Tell whether a word was meant to be one of the commands."""
    close = difflib.get_close_matches(word, commands, n=1, cutoff=0.8)
    return bool(close) and not Path(word).exists()


app = typer.Typer(
    cls=_OrClassifier,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help=command_help(
        """Measure a model on annotated videos.

        `internvideo evaluate RECIPE|MODEL` measures a classifier, as `evaluate classifier` does.

        Examples:
          internvideo evaluate runs/mine/model --data test.csv --views center
          internvideo evaluate zero-shot viclip-l14 --data my-videos/
          internvideo evaluate multiple-choice viclip-l14 --data msrvtt_mc_test.jsonl
        """
    ),
)
for _name, _verb in {
    _DEFAULT: classifier,
    "zero-shot": zero_shot,
    "multiple-choice": multiple_choice,
    "captioning": captioning,
}.items():
    app.command(_name, help=command_help(_verb.__doc__ or ""))(_verb)
