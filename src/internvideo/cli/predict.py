"""`internvideo predict …`: ask a task's model about your videos; a verb for each task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from internvideo.cli.classify import name_actions
from internvideo.cli.options import Card, Device, JsonLines, Model
from internvideo.cli.terminal import (
    add_verb,
    command_help,
)
from internvideo.cli.verbs import add_predict, answer_videos, make_verb, room_help

if TYPE_CHECKING:
    from internvideo.tasks.task import Shortcut, Task

__all__ = ["build_app"]

_HELP = """Ask a model about your videos.

Examples:
  internvideo predict actions clip.mp4
  internvideo predict actions long.mp4 --stream --window 4 --stride 2
  internvideo predict captioning film.mp4 --every 2 --srt film.srt
  internvideo predict answer clip.mp4 "what color is the star?"
  internvideo predict query film.mp4 "when does the red square vanish?"
  internvideo predict moments film.mp4 --plot moments.png
"""


def build_app() -> typer.Typer:
    """Return the group with a verb for each task that answers questions about single videos."""
    from internvideo.tasks.registry import TASKS

    app = typer.Typer(
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
        help=command_help(_HELP),
    )
    for task in TASKS:
        if task.predict is None:
            continue
        ask = name_actions if task.name == "recognition" else None
        add_predict(app, task, name=task.verb or task.name, group="predict ", ask=ask)
        if task.verb:
            add_predict(app, task, name=task.name, group="predict ", ask=ask, hidden=True)
        if task.shortcut is not None:
            _add_shortcut(app, task, task.shortcut)
    return app


def _add_shortcut(app: typer.Typer, task: Task, shortcut: Shortcut) -> None:
    """Add the verb that asks a task about one video, with one value of an option behind it."""
    assert task.predict is not None
    default: Any = task.default_model or ...
    about = typer.Argument(metavar=shortcut.option.upper(), help=shortcut.help)

    def run(
        video: Annotated[str, typer.Argument(metavar="VIDEO", help="File or URL.")],
        value: str = about,
        model: Model = default,
        card: Card = None,
        as_json: JsonLines = False,
        device: Device = "auto",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        options = {**(options or {}), shortcut.option: [value]}
        targets = {
            kind: path for kind in task.files if (path := options.pop(kind.option)) is not None
        }
        answer_videos(
            lambda loaded, paths: loaded.predict(task.name, iter(paths), **options),
            [video], model=model, default=task.default_model, card=card, device=device,
            description=task.name, as_json=as_json, targets=targets,
        )  # fmt: skip

    text = room_help(task.predict, shortcut.examples, command=f"predict {shortcut.name}")
    verb = make_verb(run, task.predict, skip=(shortcut.option,), files=task.files)
    add_verb(app, shortcut.name, verb, text=text)
