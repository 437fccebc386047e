"""Commands that are made of functions: `evaluate TASK` and `predict TASK` from the tasks' records.

The options that all tasks share stand in front; those of a task are the keyword-only parameters of
its function, with the help that their `Option` gives.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from internvideo.cli.answers import prepare_files, show_all
from internvideo.cli.labels import read_labels
from internvideo.cli.options import Card, Device, JsonLines, Model, Videos
from internvideo.cli.terminal import command_help
from internvideo.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from internvideo.pipeline import VideoModel
    from internvideo.tasks.task import AnswerFile, Option, Task

__all__ = ["add_predict", "load_default", "make_verb", "room_help"]


def make_verb(
    run: Callable[..., None], room: Callable[..., Any] | None, *, skip: Sequence[str] = ()
) -> Callable[..., None]:
    """Return a function that typer makes a command of: shared options, then those of a room.

    Args:
        run: called with all options by name; its own signature has the shared ones, and takes those
            of the room as `options`.
        room: whose keyword-only parameters are options, unless they are among `skip`, or have no
            `Option`.
        skip: parameters that are no options.
    """
    parameters = dict(inspect.signature(run).parameters)
    hints = typing.get_type_hints(run, include_extras=True)
    shared = [
        each.replace(annotation=hints[name])
        for name, each in parameters.items()
        if name != "options"
    ]
    own = _options_of(room, skip) if room is not None else {}
    from_files = [name for name, (_, option) in own.items() if option.from_files]
    names = [each.name for each in shared]

    def verb(**values: Any) -> None:
        options = {name: value for name, value in values.items() if name not in names}
        for name in from_files:
            options[name] = read_labels(options[name])
        run(**{name: values[name] for name in names}, options=options)

    verb.__signature__ = inspect.Signature([*shared, *(each for each, _ in own.values())])  # type: ignore[attr-defined]
    verb.__annotations__ = {
        each.name: each.annotation
        for each in verb.__signature__.parameters.values()  # type: ignore[attr-defined]
    }
    return verb


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
        info = typer.Option(*flags, help=option.help, min=option.minimum, callback=check)
        annotation = Annotated[_plain(kind), info]
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


def load_default(model: str, *, default: str | None, card: str | None, device: str) -> VideoModel:
    """Load the model that was named, or the default, which an installation may lack.

    Raises:
        ConfigError: the default is not part of this installation.
    """
    from internvideo.pipeline import load

    try:
        return load(model, device=device, card=card)
    except UnknownNameError:
        if model != default:
            raise
        raise ConfigError(
            f"the default model {default} is not part of this installation; give --model, such as "
            "a folder that `internvideo train` wrote"
        ) from None


def add_predict(app: typer.Typer, task: Task, *, name: str, command: str) -> None:
    """Add the verb that asks a task about the videos of a user."""
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
        prepare_files(targets, videos)
        from internvideo.video.opening import expand_videos

        loaded = load_default(model, default=task.default_model, card=card, device=device)
        paths, failures = expand_videos(videos)
        results = predict(loaded.loaded, paths, **options)
        code = show_all(
            results, paths, failures, description=task.name, as_json=as_json, targets=targets
        )
        raise typer.Exit(code)

    verb = with_files(make_verb(run, predict), task.files)
    help_text = room_help(predict, task.predict_examples, command=command)
    app.command(name, help=help_text)(verb)


def with_files(verb: Callable[..., None], files: Sequence[AnswerFile]) -> Callable[..., None]:
    """Return a command with an option for each kind of file that answers can be written to."""
    signature = inspect.signature(verb)
    parameters = list(signature.parameters.values())
    for kind in files:
        annotation = Annotated[Path | None, typer.Option(f"--{kind.option}", help=kind.help)]
        parameters.append(
            inspect.Parameter(
                kind.option, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
            )
        )
    verb.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    verb.__annotations__ = {each.name: each.annotation for each in parameters}
    return verb
