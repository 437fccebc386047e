"""`internvideo recipes`: which there are, and what one says."""

from __future__ import annotations

import json
import shutil
import sys
from fnmatch import fnmatch
from typing import Annotated

import typer

from internvideo.cli.options import recipe_names
from internvideo.cli.terminal import (
    DefaultVerb,
    add_verb,
    command_help,
    stdout_console,
)
from internvideo.errors import UnknownNameError

__all__ = ["app"]


class _OrList(DefaultVerb):
    default = "list"


app = typer.Typer(
    cls=_OrList,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help=command_help(
        """List the recipes that come with the library, or show one.

        Examples:
          internvideo recipes
          internvideo recipes "k400_*"
          internvideo recipes show k400_videomae-b
          internvideo recipes show my.yaml optim.lr=1e-4
        """
    ),
)


def list_all(
    pattern: Annotated[
        str,
        typer.Argument(
            help="Part of a name, or a pattern such as '*videomae*'.", autocompletion=recipe_names
        ),
    ] = "*",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
) -> None:
    """List the recipes that come with the library.

    Examples:
      internvideo recipes
      internvideo recipes "k400_*" --json
    """
    from internvideo.recipe import list_recipes, load_recipe

    wanted = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    names = [name for name in list_recipes() if fnmatch(name, wanted)]
    if not names:
        raise UnknownNameError(f"no recipe matches '{pattern}'; `internvideo recipes` lists all")
    loaded = [(name, load_recipe(name)) for name in names]
    rows = [(name, recipe.task.kind, recipe.description) for name, recipe in loaded]
    if as_json:
        keys = ("name", "task", "description")
        print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], ensure_ascii=False))
    elif not sys.stdout.isatty():
        for row in rows:
            print("\t".join(row))
    else:
        _print_table(rows)


def _print_table(rows: list[tuple[str, str, str]]) -> None:
    """Print a row a recipe: names are never broken, what does not fit is left out or folded."""
    from rich.markup import escape
    from rich.table import Table

    console = stdout_console()
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("recipe", no_wrap=True)
    table.add_column("what it does", overflow="fold")
    for name, task, text in rows:
        table.add_row(escape(name), escape(text or task))
    console.print(table)


def show(
    name: Annotated[
        str, typer.Argument(help="A recipe's name or file.", autocompletion=recipe_names)
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Values to replace, such as optim.lr=1e-4."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
) -> None:
    """Show a recipe with all its keys: value, what it means, and where the value comes from.

    A value without a source is the default. What is printed is a recipe itself. The keys of all
    recipes are in docs/recipe-keys.md.

    Examples:
      internvideo recipes show k400_videomae-b
      internvideo recipes show k400_videomae-b data.dataset=k600 > mine.yaml
    """
    from internvideo.recipe.explain import explain, explained_yaml

    settings = explain(name, overrides or [])
    if as_json:
        print(json.dumps([each._asdict() for each in settings], ensure_ascii=False))
        return
    colour = sys.stdout.isatty()
    width = min(shutil.get_terminal_size((100, 24)).columns, 100)
    from rich.text import Text

    console = stdout_console()
    for text, comment in explained_yaml(settings, width=width):
        if colour:
            console.print(Text.assemble(text, (comment, "dim")), soft_wrap=True)
        else:
            print(f"{text}{comment}")


for _name, _verb in {"list": list_all, "show": show}.items():
    add_verb(app, _name, _verb)
