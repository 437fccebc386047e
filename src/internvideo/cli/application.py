"""The command's entry: the list of verbs, and the one place where errors become exit codes."""

from __future__ import annotations

import importlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import internvideo
from internvideo.cli import (
    classify,
    create,
    data,
    embed,
    extract,
    index,
    models,
    navigate,
    recipes,
    reconstruct,
    reproduce,
    runs,
    search,
    train,
)
from internvideo.cli.terminal import (
    SignalledError,
    add_verb,
    command_help,
    error_line,
    first_sentence,
    note_line,
    stdout_console,
    warning_line,
)
from internvideo.errors import InternVideoError

__all__ = ["app", "main", "run"]

_INTERRUPTED = 130
_CLICK_EXCEPTION: type[Exception] = next(
    cls
    for cls in typer.BadParameter.__mro__
    if issubclass(cls, Exception) and cls.__name__ == "ClickException"
)


class _Deferred(TyperCommand):
    """A command that is made on use, because that loads the tasks, and with them torch."""

    def __init__(self, name: str, help_line: str, build: Callable[[], Any]) -> None:
        super().__init__(name, help=help_line, short_help=help_line)
        self._build = build

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """Return the context of the real command."""
        return self._build().make_context(info_name, args, parent, **extra)


def _group(verb: str) -> Any:
    """Return the verb whose own verbs are made from the tasks."""
    module = importlib.import_module(f"internvideo.cli.{verb}")
    return typer.main.get_group(module.build_app())


def _caption() -> Any:
    from internvideo.cli.verbs import add_predict
    from internvideo.tasks.registry import find_task

    verb = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
    add_predict(verb, find_task("captioning"), name="caption")
    return typer.main.get_command(verb)


def _doctor(
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


_DEFERRED = {
    "caption": ("Say in a sentence what is in each video, or in every stretch of it.", _caption),
    "evaluate": ("Measure a model on annotated videos.", partial(_group, "evaluate")),
    "predict": ("Ask a task's model about your videos.", partial(_group, "predict")),
}


class _Root(TyperGroup):
    """The verbs, some of which are made on use."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all verbs."""
        return [*super().list_commands(ctx), *_DEFERRED]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a verb by its name."""
        if cmd_name in _DEFERRED:
            return _Deferred(cmd_name, *_DEFERRED[cmd_name])
        return super().get_command(ctx, cmd_name)


app = typer.Typer(
    name="internvideo",
    cls=_Root,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _verb in {
    "classify": classify.classify,
    "embed": embed.embed,
    "extract": extract.extract,
    "search": search.search,
    "world": create.world,
    "train": train.train,
    "runs": runs.runs,
    "reconstruct": reconstruct.reconstruct,
    "reproduce": reproduce.reproduce,
    "navigate": navigate.navigate,
    "demo": create.demo,
    "doctor": _doctor,
}.items():
    add_verb(app, _name, _verb)
for _name, _group_of_verbs in {
    "index": index.app,
    "data": data.app,
    "models": models.app,
    "recipes": recipes.app,
}.items():
    app.add_typer(
        _group_of_verbs,
        name=_name,
        short_help=first_sentence(str(_group_of_verbs.info.help)),
    )

_HELP = """Say what is in a video; train and extend the models that do.

Start here:
  internvideo doctor
  internvideo demo --out demo
  internvideo classify clip.mp4 --labels "something moves left" --labels "something grows"

`internvideo VERB --help` shows examples of each verb.
"""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"internvideo {internvideo.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True, help=command_help(_HELP))
def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def run(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line and return its exit code."""
    with warnings.catch_warnings(), _log_on_stderr():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("default", module=r"internvideo\.")
        warnings.showwarning = _show_warning
        try:
            code = app(args=arguments, prog_name="internvideo", standalone_mode=False)
            sys.stdout.flush()
        except InternVideoError as error:
            return error_line(str(error))
        except _CLICK_EXCEPTION as error:
            return error_line(_usage_message(error))
        except SignalledError as stop:
            return stop.code
        except (KeyboardInterrupt, typer.Abort):
            code = _INTERRUPTED
        except BrokenPipeError:
            # The reader (such as `head`) has seen enough; Python would complain again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except OSError as error:
            return error_line(str(error))
    if code == _INTERRUPTED:  # newer typers make this code of the exception themselves
        error_line("interrupted")
    return code if isinstance(code, int) else 0


def main() -> None:
    """Run the `internvideo` command with the arguments of the process."""
    # PyTorch's switch: large tensors get large pages, and with them fewer page faults
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names that a terminal cannot show are spelt out
            stream.reconfigure(errors="backslashreplace")
    code = run()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        _leave_group(code)
    sys.exit(code)


def _leave_group(code: int) -> None:
    """End one of several processes at once, without the clean-up of the interpreter.

    There a thread of PyTorch's process group now and then aborts a process that has done its work,
    and torchrun reports a failure.
    """
    distributed = sys.modules.get("torch.distributed")
    # after a failure the others may never come to say goodbye
    if code == 0 and distributed is not None and distributed.is_initialized():
        distributed.destroy_process_group()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _usage_message(error: Any) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "internvideo"
    message = error.format_message().rstrip(".")
    return f"{message}{'' if message.endswith('?') else ';'} see `{command} --help`"


class _LineHandler(logging.Handler):
    """Prints log records as one line each."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            warning_line(record.getMessage())
        elif os.environ.get("RANK", "0") == "0":  # of several processes the first speaks for all
            note_line(record.getMessage())


@contextmanager
def _log_on_stderr() -> Iterator[None]:
    """Print what the library logs while the block runs."""
    logger, handler = logging.getLogger("internvideo"), _LineHandler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _show_warning(message: Warning | str, *_: Any) -> None:
    warning_line(str(message))
