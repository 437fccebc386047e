"""`internvideo predict …`: ask a task's model about your videos; a verb for each task."""

from __future__ import annotations

import typer

from internvideo.cli.classify import name_actions
from internvideo.cli.terminal import command_help
from internvideo.cli.verbs import add_predict

__all__ = ["build_app"]

_HELP = """Ask a model about your videos.

Examples:
  internvideo predict recognition clip.mp4
  internvideo predict recognition long.mp4 --stream --window 4 --stride 2
  internvideo predict captioning film.mp4 --every 2 --srt film.srt
  internvideo predict answer clip.mp4 "what color is the star?"
"""


def build_app() -> typer.Typer:
    """Return the group with a verb for each task that answers questions about single videos."""
    from internvideo.tasks.registry import TASKS, find_task

    app = typer.Typer(
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
        help=command_help(_HELP),
    )
    add_predict(app, find_task("recognition"), name="actions", group="predict ", ask=name_actions)
    for task in TASKS:
        if task.predict is None:
            continue
        add_predict(app, task, name=task.verb or task.name, group="predict ")
        if task.verb:
            add_predict(app, task, name=task.name, group="predict ", hidden=True)
    return app
