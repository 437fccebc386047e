"""Tell which model a file is, and what is missing from it or unexpected in it.

The file is a checkpoint of any official make, a folder written by this library, or a key list: a
text file with one `name<TAB>shape` a line, shapes as `[768, 3]` or `(768, 3)`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internvideo.config import config_to_dict
from internvideo.errors import CheckpointError
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.architectures import ARCHITECTURES, find_architecture
from internvideo.zoo.checkpoint import read_checkpoint
from internvideo.zoo.foreign import ForeignConfig, read_foreign
from internvideo.zoo.hub import read_config
from internvideo.zoo.identify import Fit, block_of, fit_config, fit_to, guess_planned, recognise
from internvideo.zoo.resolve import candidates, model_of_run
from internvideo.zoo.shapes import Shapes, merge_fields
from internvideo.zoo.weight_files import WEIGHT_FILES, is_saved_model, weight_files

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Verification", "read_key_list", "verify"]

_LINE = re.compile(r"([^\t]+)\t\s*[\[(]\s*((?:\d+\s*,\s*)*\d*)\s*[\])]\s*(?:\t.*)?")
_MAX_EXTENT = 1 << 40


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What a file is.

    Attributes:
        source: the file.
        ok: everything fits: the library can load it.
        architecture: our architecture, or None when it looks like none.
        size: name of the published size, or None.
        layout: which official naming the tensors have.
        cards: names of the released models that the file can be.
        config: configuration of the model as the shapes tell it.
        num_tensors: tensors in the file.
        num_parameters: numbers in them.
        wrapper: key under which the weights lay.
        stripped: prefixes taken off the names.
        missing: names of the model that the file lacks.
        unexpected: names of the file that the model has no place for → nearest known name or "".
        mismatched: name → (shape in the file, shape in the model).
        assumed: fields of the configuration that nothing told, with their usual values.
        message: the answer in a line.
    """

    source: str
    ok: bool
    architecture: str | None = None
    size: str | None = None
    layout: str | None = None
    cards: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    num_tensors: int = 0
    num_parameters: int = 0
    wrapper: str = ""
    stripped: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: Mapping[str, str] = field(default_factory=dict)
    mismatched: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    assumed: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""

    def problems(self) -> dict[str, list[str]]:
        """Return what does not fit in words, grouped by block."""
        groups: dict[str, list[str]] = {}
        for name in self.missing:
            groups.setdefault(block_of(name), []).append(f"missing {name}")
        for name, near in self.unexpected.items():
            hint = f", nearest known name {near}" if near else ""
            groups.setdefault(block_of(name), []).append(f"unexpected {name}{hint}")
        for name, (found, expected) in self.mismatched.items():
            line = f"{name} is {list(found)}, expected {list(expected)}"
            groups.setdefault(block_of(name), []).append(line)
        return groups

    def to_json(self) -> str:
        """Return all fields as a JSON object."""
        return json.dumps(asdict(self), indent=2, default=list)

    def __rich__(self) -> RenderableType:
        """Return the answer for the terminal: a line, and a table."""
        from rich.console import Group
        from rich.markup import escape
        from rich.table import Table
        from rich.text import Text

        table = Table(show_header=False, box=None)
        rows = {
            "architecture": " ".join(each for each in (self.architecture, self.size) if each),
            "released as": ", ".join(self.cards),
            "tensors": f"{self.num_tensors} ({self.num_parameters / 1e6:.1f} M numbers)",
            "layout": self.layout or "",
            "weights under": self.wrapper,
            "taken off": ", ".join(self.stripped),
            "assumed": ", ".join(f"{name}={value}" for name, value in self.assumed.items()),
        }
        for title, text in rows.items():
            if text:
                table.add_row(title, escape(text))
        for block, lines in self.problems().items():
            table.add_row(escape(block), escape("\n".join(lines)))
        return Group(Text(self.message), table)


def verify(
    source: str | Path | Shapes,
    *,
    architecture: str | None = None,
    config: Mapping[str, Any] | None = None,
    architectures: Sequence[Architecture] = ARCHITECTURES,
) -> Verification:
    """Tell which model a checkpoint or a key list is.

    Args:
        source: path of a checkpoint, a folder, the directory of a run or a key list; or a mapping
            name → shape.
        architecture: compare with this one instead of the nearest.
        config: fields of the configuration that shapes do not tell, as for `load_model`.
        architectures: those that the file can be of.

    Raises:
        CheckpointError: the file cannot be read, or is not safe to read.
        UnknownNameError: no such architecture.
    """
    label, shapes, wrapper, stated, foreign = _read(source, architectures)
    counts = {
        "source": label,
        "num_tensors": len(shapes),
        "num_parameters": sum(prod(shape) for shape in shapes.values()),
        "wrapper": wrapper,
    }
    try:
        if stated is not None and architecture is None:
            fit = fit_config(shapes, *stated)
        elif architecture is None:
            kind, layouts = recognise(shapes, architectures=architectures)
            said = foreign.fields_for(kind.id, layouts[0]) if foreign else {}
            said = merge_fields(said, config or {})
            fit = fit_to(shapes, kind, base=None, config=said, layouts=layouts)
        else:
            wanted = find_architecture(architecture, architectures=architectures)
            fit = fit_to(shapes, wanted, base=None, config=config)
    except CheckpointError as error:
        return Verification(ok=False, message=f"{label}: {error}", **counts)
    return _answer(fit, counts, planned=guess_planned(shapes))


def read_key_list(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Read a text file of `name<TAB>shape` lines; empty lines and lines after `#` do not count.

    Raises:
        CheckpointError: no such file, or a line of another form; the message gives its number.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is not a readable key list ({error})") from error
    shapes: dict[str, tuple[int, ...]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.rstrip())
        if match is None:
            raise CheckpointError(f"{path}:{number}: expected name<TAB>[shape], got {line[:60]!r}")
        name = match[1].strip()
        if name in shapes:
            raise CheckpointError(f"{path}:{number}: {name} is listed twice")
        extents = [each.strip()[:16] for each in match[2].split(",") if each.strip()]
        shapes[name] = tuple(int(each) for each in extents)
        if any(extent > _MAX_EXTENT for extent in shapes[name]):
            raise CheckpointError(f"{path}:{number}: {name} has an absurd shape {shapes[name]}")
    if not shapes:
        raise CheckpointError(f"{path} lists no tensors")
    return shapes


def _read(
    source: str | Path | Shapes, architectures: Sequence[Architecture]
) -> tuple[
    str, dict[str, tuple[int, ...]], str, tuple[Architecture, Any] | None, ForeignConfig | None
]:
    """Return (label, shapes, wrapper, stated architecture and configuration, other's config)."""
    if isinstance(source, Mapping):
        shapes = {name: tuple(shape) for name, shape in source.items()}
        return "the given list", shapes, "", None, None
    given = Path(source).expanduser()
    path = model_of_run(given)
    source = source if path == given else path
    if _is_text(path):
        return str(source), read_key_list(path), "", None, None
    file = read_checkpoint(path)
    folder = path if path.is_dir() else path.parent
    stated = foreign = None
    if path.is_dir() or path.name in WEIGHT_FILES or len(weight_files(path)) > 1:
        if is_saved_model(folder):
            stated = read_config(folder, architectures=architectures)
        else:
            foreign = read_foreign(folder)
    return str(source), file.shapes, file.wrapper, stated, foreign


def _is_text(path: Path) -> bool:
    """Tell whether a file is a list in words and not a checkpoint."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return False
    return path.suffix in (".txt", ".tsv") or (
        b"\0" not in head and b"\t" in head and b"\x80" not in head
    )


def _answer(fit: Fit, counts: dict[str, Any], *, planned: str | None) -> Verification:
    size = fit.architecture.size_of(fit.config)
    cards = tuple(card.name for card in candidates(fit))
    what = f"{fit.architecture.id}{f' {size}' if size else ''}"
    if (classes := getattr(fit.config, "num_classes", None)) is not None:
        what += f", {classes} classes"
    if fit.ok:
        message = f"{counts['source']}: {what}; all {counts['num_tensors']} tensors fit"
        message += f"; {fit.assumptions}" if fit.assumed else ""
    else:
        message = f"{counts['source']}: nearest to {what}, but {fit.explain(limit=3)}"
        if planned:
            message += f". It looks like {planned}, which is planned"
    return Verification(
        ok=fit.ok,
        architecture=fit.architecture.id,
        size=size,
        layout=fit.layout,
        cards=cards,
        config=config_to_dict(fit.config),
        stripped=fit.stripped,
        missing=fit.missing,
        unexpected={name: fit.nearest(name) for name in fit.unexpected},
        mismatched=dict(fit.mismatched),
        assumed=dict(fit.assumed),
        message=message,
        **counts,
    )
