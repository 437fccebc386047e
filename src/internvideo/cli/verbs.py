"""Commands that are made of functions: `evaluate TASK` and `predict TASK` from the tasks' records.

The options that all tasks share stand in front; those of a task are the keyword-only parameters of
its function, with the help that their `Option` gives.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from pydantic import TypeAdapter, ValidationError

from internvideo.cli.answers import prepare_files, show_all
from internvideo.cli.labels import read_labels
from internvideo.cli.options import Card, Device, JsonLines, Model, Videos
from internvideo.cli.terminal import (
    add_verb,
    command_help,
    note_line,
    warning_line,
)
from internvideo.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from internvideo.pipeline import VideoModel
    from internvideo.tasks.task import AnswerFile, Option, Task

__all__ = ["add_predict", "answer_videos", "make_verb", "room_help"]


def make_verb(
    run: Callable[..., None],
    room: Callable[..., Any],
    *,
    skip: Sequence[str] = (),
    files: Sequence[AnswerFile] = (),
    hidden: Sequence[str] = (),
) -> Callable[..., None]:
    """Return a function that typer makes a command of: shared options, then those of a room.

    Args:
        run: called with all options by name; its own signature has the shared ones, and takes those
            of the room as `options`.
        room: whose keyword-only parameters are options, unless they are among `skip`, or have no
            `Option`.
        skip: parameters that are not options.
        files: kinds of files that answers can be written to; each is an option.
        hidden: shared options that this room does not have.
    """
    parameters = dict(inspect.signature(run).parameters)
    hints = typing.get_type_hints(run, include_extras=True)
    shared = [
        each.replace(annotation=hints[name])
        for name, each in parameters.items()
        if name != "options" and name not in hidden
    ]
    own = _options_of(room, skip)
    from_files = [name for name, (_, option) in own.items() if option.from_files]
    names = [each.name for each in shared]

    def verb(**values: Any) -> None:
        options = {name: value for name, value in values.items() if name not in names}
        for name in from_files:
            options[name] = read_labels(options[name])
        run(**{name: values[name] for name in names}, options=options)

    signature = [*shared, *(each for each, _ in own.values()), *map(_file_option, files)]
    verb.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]
    verb.__annotations__ = {each.name: each.annotation for each in signature}
    return verb


def _file_option(kind: AnswerFile) -> inspect.Parameter:
    annotation = Annotated[Path | None, typer.Option(f"--{kind.option}", help=kind.help)]
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(kind.option, keyword, default=None, annotation=annotation)


def _options_of(
    room: Callable[..., Any], skip: Sequence[str]
) -> dict[str, tuple[inspect.Parameter, Option]]:
    """Return the options of a room's function as typer reads them."""
    from internvideo.tasks.task import Option

    hints = typing.get_type_hints(room, include_extras=True)
    found = {}
    for name, parameter in inspect.signature(room).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY or name in skip:
            continue
        kind, *extra = typing.get_args(hints[name]) or (hints[name],)
        option = next((each for each in extra if isinstance(each, Option)), None)
        if option is None:
            continue
        spelling = f"--{name.replace('_', '-')}"
        long = [flag for flag in option.flags if flag.startswith("--")]
        flags = [*(long or [spelling]), *(flag for flag in option.flags if flag not in long)]
        limits = tuple(each for each in extra if each is not option)
        check = _within(Annotated[(kind, *limits)]) if limits else None
        plain = _plain(kind)
        one = name.rstrip("s").upper() if plain == list[str] | None else None
        info: Any = typer.Option(
            *flags, help=option.help, min=option.minimum, callback=check, metavar=one
        )
        if option.is_argument:
            info = typer.Argument(metavar=name.upper(), help=option.help, callback=check)
        annotation = Annotated[plain, info]
        found[name] = (parameter.replace(annotation=annotation), option)
    return found


def _within(kind: Any) -> Callable[[Any], Any]:
    """Return what refuses values outside the limits that a type carries, before the work."""

    def check(value: Any) -> Any:
        try:
            return TypeAdapter(kind).validate_python(value)
        except ValidationError as error:
            message = error.errors()[0]["msg"].replace("Input should be", "expected", 1)
            raise typer.BadParameter(f"{message}, got {value!r}") from None

    return check


def _plain(kind: Any) -> Any:
    """Return a type that typer knows: of a union the text, of a sequence a list."""
    choices = [each for each in typing.get_args(kind) if each is not type(None)]
    if typing.get_origin(kind) in (typing.Union, type(int | str)):
        if str in choices:
            return str | None
        sequences = [each for each in choices if typing.get_origin(each) is not None]
        if (
            len(choices) == 1
            and sequences
            and typing.get_origin(sequences[0]) is not typing.Literal
        ):
            return list[str] | None
    return kind


def room_help(function: Callable[..., Any], examples: Sequence[str], *, command: str) -> str:
    """Return the docstring of a room's function as the help of a command, with its examples."""
    text = re.split(r"\n\s*(?:Args|Returns|Yields|Raises):\n", inspect.getdoc(function) or "")[0]
    lines = "".join(f"\n  internvideo {command} {example}" for example in examples)
    return command_help(f"{text.strip()}\n\nExamples:{lines}" if examples else text)


def answer_videos(
    ask: Callable[[VideoModel, Sequence[str]], Iterable[Any]],
    videos: Sequence[str],
    *,
    model: str,
    default: str | None,
    card: str | None,
    device: str,
    description: str,
    as_json: bool,
    targets: Mapping[AnswerFile, Path],
) -> NoReturn:
    """Load a model, ask it about videos, show the answers, and exit.

    Raises:
        ConfigError: the default model is not part of this installation, or an answer cannot be
            written.
    """
    prepare_files(targets, videos)
    from internvideo.pipeline import load
    from internvideo.pipeline.auto import what_it_never_saw
    from internvideo.video.opening import expand_videos

    try:
        loaded = load(model, device=device, card=card)
    except UnknownNameError:
        if model != default:
            raise
        raise ConfigError(
            f"the default model {default} is not part of this installation; give --model, such as "
            "a folder that `internvideo train` wrote"
        ) from None
    known = loaded.loaded.card
    paths, failures = expand_videos(videos)
    if strange := what_it_never_saw(loaded.loaded, paths):
        warning_line(strange)
    elif known is not None and (model == "auto" or (model == default and known.embedded)):
        note_line(f"asked {loaded.name}: {known.description}; --model names another")
    code = show_all(
        ask(loaded, paths), paths, failures, description=description, as_json=as_json,
        targets=targets,
    )  # fmt: skip
    raise typer.Exit(code)


def add_predict(
    app: typer.Typer,
    task: Task,
    *,
    name: str,
    group: str = "",
    ask: Callable[..., Iterable[Any]] | None = None,
    hidden: bool = False,
) -> None:
    """Add the verb that asks a task about the videos of a user.

    Args:
        app: takes the verb.
        task: with a `predict`, whose options the verb has.
        name: of the verb.
        group: what stands before the name on the command line.
        ask: model, videos, options → answers, in place of the task's `predict`.
        hidden: not in the list of verbs.
    """
    assert task.predict is not None
    predict = task.predict
    model_default: Any = task.default_model or ...

    def run(
        videos: Videos,
        model: Model = model_default,
        card: Card = None,
        as_json: JsonLines = False,
        device: Device = "auto",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        options = dict(options or {})
        targets = {
            kind: path for kind in task.files if (path := options.pop(kind.option)) is not None
        }

        def answers(loaded: VideoModel, paths: Sequence[str]) -> Iterable[Any]:
            if ask is not None:
                return ask(loaded, paths, **options)
            return loaded.predict(task.name, iter(paths), **options)

        answer_videos(
            answers, videos, model=model, default=task.default_model, card=card, device=device,
            description=task.name, as_json=as_json, targets=targets,
        )  # fmt: skip

    help_text = room_help(predict, task.predict_examples, command=f"{group}{name}")
    verb = make_verb(run, predict, files=task.files)
    add_verb(app, name, verb, text=help_text, hidden=hidden)
