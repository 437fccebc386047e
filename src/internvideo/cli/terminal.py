"""What the commands share in talking to a terminal: one-line messages and progress bars."""

from __future__ import annotations

import inspect
import re
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from typer.core import TyperGroup

from internvideo.errors import ConfigError

if TYPE_CHECKING:
    import typer
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

__all__ = [
    "DefaultVerb",
    "ProgressBar",
    "SignalledError",
    "add_verb",
    "command_help",
    "counted",
    "error_line",
    "failure_list",
    "first_sentence",
    "folding_table",
    "note_line",
    "output_file",
    "output_folder",
    "print_rows",
    "progress_bar",
    "stdout_console",
    "warning_line",
]


_EXAMPLE_WIDTH = 76  # help is indented by two
_TIMED = 1.0  # seconds of work that tell how long the rest takes
_WIDE = 120  # columns of a terminal that has room for all there is to tell


class SignalledError(Exception):
    """A signal ended a command, which has said so; carries the exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class DefaultVerb(TyperGroup):
    """A group in which a line that names no verb belongs to the verb `default`."""

    default: ClassVar[str]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default verb in front where the first word is no verb."""
        if ctx.resilient_parsing and not args:  # the shell completes the first word
            return super().parse_args(ctx, args)
        if not self.is_verb(args[0] if args else ""):
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Return what the first word may become: a verb, or what the default verb takes."""
        verb = self.commands[self.default]
        first = next((each for each in verb.params if each.param_type_name == "argument"), None)
        more = first.shell_complete(ctx, incomplete) if first and incomplete[:1] != "-" else []
        return [*super().shell_complete(ctx, incomplete), *more]

    def is_verb(self, word: str) -> bool:
        """Return whether a first word is meant as a verb, or asks for help."""
        return word in self.commands or word in ("-h", "--help")


def add_verb(
    app: typer.Typer,
    name: str,
    verb: Callable[..., Any],
    *,
    text: str | None = None,
    hidden: bool = False,
) -> None:
    """Add a verb whose help is a text, by default its docstring; lists have the first sentence."""
    text = command_help(verb.__doc__ or "") if text is None else text
    app.command(name, help=text, short_help=first_sentence(text), hidden=hidden)(verb)


def first_sentence(text: str) -> str:
    """Return the first sentence of a help in one line."""
    paragraph = " ".join(text.strip().partition("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z])", paragraph)[0]


def command_help(docstring: str) -> str:
    """Return a docstring as the help of a command; the lines of its examples stay as they are.

    Those too long for a terminal of 80 columns go on in a further line, as a shell reads it.
    """
    lines = [
        _folded(line) if line.startswith(("  internvideo ", "  torchrun ")) else line
        for line in inspect.cleandoc(docstring).splitlines()
    ]
    # Click folds paragraphs, except one that starts with a backspace character.
    return re.sub(r"(?m)^(Examples?|Start here):$", "\b\n\\g<0>", "\n".join(lines))


def _folded(line: str) -> str:
    """Return a command in lines that end in a backslash; words in quotes stay whole."""
    word = r"""(?:"[^"]*"|'[^']*'|\S)+"""
    words = re.findall(rf"-\S+ (?!-){word}|{word}", line)  # an option stays with its value
    lines, start = [], "  "
    while words:
        taken = start + words.pop(0)
        while words and len(taken) + 1 + len(words[0]) <= _EXAMPLE_WIDTH - 2 * (len(words) > 1):
            taken += f" {words.pop(0)}"
        lines.append(taken)
        start = "    "
    return " \\\n".join(lines)


def counted(number: int, noun: str) -> str:
    """Return a number and what it counts: "1 video", "2 videos"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def error_line(message: str) -> int:
    """Print `error: …` as one line on stderr and return the exit code 2."""
    print(f"error: {_one_line(message)}", file=sys.stderr)
    return 2


def warning_line(message: str) -> None:
    """Print `warning: …` as one line on stderr."""
    print(f"warning: {_one_line(message)}", file=sys.stderr)


def note_line(message: str) -> None:
    """Print `note: …` as one line on stderr."""
    print(f"note: {_one_line(message)}", file=sys.stderr)


def failure_list(failures: list[tuple[str, str]], *, total: int, items: str = "videos") -> int:
    """List the inputs that failed on stderr; return the exit code.

    Args:
        failures: (input, reason); the failure of a single input is an error of the command.
        total: number of inputs.
        items: what they are.

    Returns:
        0 without failures, 2 where the only input failed, else 1.
    """
    if not failures:
        return 0
    if total == 1:
        return error_line(failures[0][1])
    print(f"{len(failures)} of {total} {items} could not be used:", file=sys.stderr)
    for name, reason in failures:
        reason = _one_line(reason)
        print(f"  {reason if name in reason else f'{name}: {reason}'}", file=sys.stderr)
    return 1


def folding_table(*headings: str, title: str | None = None) -> Table:
    """Return a table whose long cells are folded."""
    from rich.table import Table

    table = Table(title=title)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def stdout_console(width: int = 160) -> Console:
    """Return a console for answers; where the output is no terminal, of so many columns."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=width)


def print_rows(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    title: str | None = None,
    caption: str | None = None,
    spare: Collection[str] = (),
    cut: Collection[str] = (),
    shares: Collection[str] = (),
) -> None:
    """Print one row for each thing: as a table on a terminal, else as lines of tab-separated cells.

    The first cell is a name, which is broken only where it fills most of a terminal; nor does a row
    of a table get a second line for the columns that can be spared or cut.

    Args:
        headings: of the columns.
        rows: as many cells each.
        title: above the table.
        caption: below it.
        spare: columns that are left out where a terminal is narrower than `_WIDE`, else cut.
        cut: columns that end in "…" where there is no room.
        shares: columns of numbers.
    """
    console, rows = stdout_console(), [*rows]
    if not console.is_terminal:
        for row in rows:
            print("\t".join(re.sub(r"\s+", " ", cell) for cell in row))
        return
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    longest = max((len(row[0]) for row in rows), default=0)
    kept = [n for n, each in enumerate(headings) if console.width >= _WIDE or each not in spare]
    table = Table(title=title, caption=caption and escape(caption), box=SIMPLE_HEAD)
    table.caption_justify = "left"
    for number in kept:
        whole = number == 0 and longest < 0.7 * console.width
        justify = "right" if headings[number] in shares else "left"
        table.add_column(headings[number], no_wrap=whole, overflow="fold", justify=justify)
    one_line = [number for number in kept if headings[number] in (*cut, *spare)]
    for row in rows:
        cells = [
            Text(row[number], no_wrap=number in one_line or None,
                 overflow="ellipsis" if number in one_line else None)
            for number in kept
        ]  # fmt: skip
        table.add_row(*cells)
    console.print(table)


class ProgressBar:
    """A bar that moves when it is called with (done, total).

    The time that remains follows from the whole time of a stage until now: items come in batches,
    and the time between two of one batch says nothing.
    """

    def __init__(self, bars: Progress, description: str) -> None:
        self._bars = bars
        self._bar = bars.add_task(description, total=None, left="")
        self._stage, self._began = "", time.monotonic()
        self._before: int | None = None  # what was done before the stage began

    def __call__(self, done: int, total: int) -> None:
        """Move the bar."""
        if self._before is None:
            self._before = max(done - 1, 0)
        elapsed, fresh, left = time.monotonic() - self._began, done - self._before, ""
        if elapsed >= _TIMED and fresh > 0:
            left = str(timedelta(seconds=round(elapsed / fresh * (total - done))))
        self._bars.update(self._bar, completed=done, total=total, left=left)

    def stage(self, description: str, done: int, total: int) -> None:
        """Move, and show the current stage."""
        if description != self._stage:
            self._stage, self._began, self._before = description, time.monotonic(), None
        self._bars.update(self._bar, description=description)
        self(done, total)


@contextmanager
def progress_bar(description: str, *, unit: str = "") -> Iterator[ProgressBar]:
    """Show progress on stderr while the block runs; on anything but a terminal, nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[left]}", style="progress.remaining"),
    )
    bars = Progress(*columns, console=console, transient=True)
    with bars if console.is_terminal else nullcontext():  # off a terminal it would print a blank
        yield ProgressBar(bars, description)


def output_file(path: Path) -> Path:
    """Make the folder of an output file, and check that it can be written.

    Raises:
        ConfigError: the folder cannot be made or written to, or the path is a folder.
    """
    if path.is_dir():
        raise ConfigError(f"cannot write {path}: it is a folder; give the name of a file")
    output_folder(path.absolute().parent)
    return path


def output_folder(path: Path) -> Path:
    """Make an output folder, and check that it can be written to.

    Raises:
        ConfigError: it cannot be made or written to.
    """
    probe = path / ".internvideo-writable"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink(missing_ok=True)  # under torchrun several processes look at once
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"cannot write to the folder {path}: {reason}") from None
    return path


def _one_line(message: str) -> str:
    return re.sub(r"\s*\n\s*", " ", message.strip())
