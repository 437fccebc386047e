"""Options that several verbs share."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "Card",
    "Database",
    "Device",
    "FirstLabel",
    "JsonLines",
    "Model",
    "Videos",
    "model_names",
    "recipe_names",
]


def recipe_names(incomplete: str) -> list[str]:
    """Return the recipes of the library that a word may become, for the shell's completion."""
    from internvideo.recipe import list_recipes

    return [name for name in list_recipes() if name.startswith(incomplete)]


def model_names(incomplete: str) -> list[str]:
    """Return the models of the zoo that a word may become; no weights and no torch are read."""
    from internvideo.zoo.registry import all_cards

    names = (name for card in all_cards() for name in (card.name, *card.aliases))
    return [name for name in names if name.startswith(incomplete)]


Videos = Annotated[list[str], typer.Argument(metavar="VIDEO", help="Files, folders, or URLs.")]
Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="Name, file, folder or hub id of the model.",
        autocompletion=model_names,
    ),
]  # fmt: skip
Card = Annotated[
    str | None,
    typer.Option(
        help="For a weight file: the released model that it is.", autocompletion=model_names
    ),
]
FirstLabel = Annotated[
    int, typer.Option(min=0, max=1, help="What numbers of classes count from in the list.")
]
JsonLines = Annotated[
    bool, typer.Option("--json", help="Print one JSON object a line for each video.")
]
Database = Annotated[
    str,
    typer.Option(
        "--db",
        help="The library: a folder such as videos.lance, an address in an object store, or "
        "http://host:19530/collection of a Milvus server.",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
