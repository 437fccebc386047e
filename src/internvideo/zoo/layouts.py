"""Tensors in files and in our models: tables of lines, each of which works in both directions.

    Rename("cls_head.fc_cls.{rest}", "head.{rest}")                  another name
    Stack(("q.weight", "k.weight", "v.weight"), "qkv.weight")        several that are one here
    Reshape("conv1.weight", "conv1.weight", …)                       other axes, or other numbers
    OnlyOurs("temporal_positions", …)                                made here, left out there
    OnlyTheirs("pos_embed", …)                                       left out here, made there

`{layer}` stands for a number, `{rest}` for whatever follows. The first line that fits a name takes
it, a name that no line fits stays as it is; so a later line may read a second spelling of a name
that an earlier one writes. Going there and back gives the same numbers. The layouts themselves are
in `zoo.tables`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, TypeAlias

import torch
from torch import Tensor

from internvideo.errors import CheckpointError

__all__ = ["SAME_NAMES", "Layout", "Line", "OnlyOurs", "OnlyTheirs", "Rename", "Reshape", "Stack"]

Convert: TypeAlias = Callable[[Tensor], Tensor]
Make: TypeAlias = Callable[[Mapping[str, Tensor]], Tensor | None]


def _check_placeholders(official: str, ours: str) -> None:
    if sorted(_placeholders(official)) != sorted(_placeholders(ours)):
        raise ValueError(f"{official!r} and {ours!r} differ in their placeholders")


@dataclass(frozen=True, slots=True)
class Rename:
    """A tensor with another name: a pattern of official names and of ours."""

    official: str
    ours: str

    def __post_init__(self) -> None:
        _check_placeholders(self.official, self.ours)


@dataclass(frozen=True, slots=True)
class Reshape:
    """A tensor that is kept in another form; the two functions undo each other."""

    official: str
    ours: str
    to_ours: Convert
    to_official: Convert

    def __post_init__(self) -> None:
        _check_placeholders(self.official, self.ours)


@dataclass(frozen=True, slots=True)
class Stack:
    """Tensors of one shape that are one of ours, one upon the other along the first axis."""

    official: tuple[str, ...]
    ours: str

    def __post_init__(self) -> None:
        for part in self.official:
            _check_placeholders(part, self.ours)


@dataclass(frozen=True, slots=True)
class OnlyOurs:
    """A tensor of ours that the files do not have.

    Attributes:
        ours: its name.
        make: makes it from the other tensors of ours, or None where they are not there.
        reason: what it is; a model in which it is not what `make` makes cannot be written.
    """

    ours: str
    make: Make
    reason: str


@dataclass(frozen=True, slots=True)
class OnlyTheirs:
    """Tensors of the files that our models do not have.

    Attributes:
        official: pattern of their names.
        expected: what such a tensor of that shape holds; one that holds anything else is kept.
            None: it is left out, whatever it holds.
        make: makes it for a model of that configuration; None: it is not written.
        means: what its being left out says of our configuration.
        kept: what its being kept says.
    """

    official: str
    expected: Callable[[tuple[int, ...]], Tensor] | None = None
    make: Callable[[Any], Tensor] | None = None
    means: Mapping[str, Any] = field(default_factory=dict)
    kept: Mapping[str, Any] = field(default_factory=dict)


Line: TypeAlias = Rename | Reshape | Stack | OnlyOurs | OnlyTheirs

_NEARLY = 2e-3  # how far a half-precision copy of a table in [-1, 1] may be from it


@dataclass(frozen=True, slots=True)
class Layout:
    """The lines between one kind of files and one of our models, first fit wins."""

    lines: tuple[Line, ...] = ()

    def below(self, prefix: str) -> Layout:
        """Return the layout of a model that is a part of another one, under a prefix of its own."""
        return Layout(tuple(_below(line, prefix) for line in self.lines))

    def name_to_ours(self, name: str) -> str:
        """Return our name for an official one; of a part, that of the whole."""
        for line in self.lines:
            for part in _official_patterns(line):
                if not isinstance(line, OnlyTheirs) and (new := _apply(part, line.ours, name)):  # type: ignore[union-attr]
                    return new
        return name

    def official_names(self, name: str) -> tuple[str, ...]:
        """Return the official names for one of ours: several of a stack, none of what is made."""
        for line in self.lines:
            if isinstance(line, OnlyTheirs):
                continue
            if _compiled(line.ours).fullmatch(name):
                parts = _official_patterns(line)
                return tuple(new for part in parts if (new := _apply(line.ours, part, name)))
        return (name,)

    def name_to_official(self, name: str) -> str:
        """Return the official name for one of ours, the first of several."""
        return next(iter(self.official_names(name)), name)

    def left_out(self, state: Mapping[str, Any]) -> dict[str, OnlyTheirs]:
        """Return which tensors of a file our models do not have, and the lines that say so."""
        return {
            name: line
            for name, line in self._only_theirs(state).items()
            if line.expected is None or _is_nearly(state[name], line.expected)
        }

    def kept(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return what tensors say of our configuration that could have been left out, but were not.

        Their values tell; shapes alone do not.
        """
        left_out = self.left_out(state)
        lines = self._only_theirs(state).items()
        return {k: v for n, line in lines if n not in left_out for k, v in line.kept.items()}

    def _only_theirs(self, state: Mapping[str, Any]) -> dict[str, OnlyTheirs]:
        lines = [line for line in self.lines if isinstance(line, OnlyTheirs)]
        return {n: each for n in state for each in lines if _compiled(each.official).fullmatch(n)}

    def to_ours(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Bring an official state dictionary into our form.

        Where the table only renames, the values may be anything. A stack that is not complete stays
        as it is.

        Raises:
            CheckpointError: two names would become one.
        """
        left_out = self.left_out(state)
        ours: dict[str, Any] = {}
        origin: dict[str, str] = {}
        for old, value in state.items():
            if old in left_out:
                continue
            line = self._line_of(old)
            if isinstance(line, Stack):
                names = _part_names(line, old)
                parts = [state.get(name) for name in names]
                if any(part is None or part.shape != parts[0].shape for part in parts):  # type: ignore[union-attr]
                    _put(ours, origin, old, old, value)
                elif old == names[0]:
                    _put(ours, origin, self.name_to_ours(old), old, torch.cat(parts))  # type: ignore[arg-type]
                continue
            if isinstance(line, Reshape):
                value = line.to_ours(value)
            _put(ours, origin, self.name_to_ours(old), old, value)
        for line in self.lines:
            if isinstance(line, OnlyOurs) and line.ours not in ours:
                made = line.make(ours)
                ours |= {} if made is None else {line.ours: made}
        return ours

    def to_official(self, state: Mapping[str, Any], config: Any = None) -> dict[str, Any]:
        """Bring a state dictionary of ours into the official form; the inverse of `to_ours`.

        Args:
            state: the tensors of a model, under our names.
            config: configuration of the model, for the tensors that only the files have.

        Raises:
            CheckpointError: two names would become one, or the files have no place for a tensor.
        """
        official: dict[str, Any] = {}
        origin: dict[str, str] = {}
        for old, value in state.items():
            line = next(
                (
                    each
                    for each in self.lines
                    if not isinstance(each, OnlyTheirs) and _compiled(each.ours).fullmatch(old)
                ),
                None,
            )
            names = self.official_names(old)
            if isinstance(line, OnlyOurs):
                rest = {name: tensor for name, tensor in state.items() if name != old}
                made = line.make(rest)
                if made is None or not _is_nearly(value, lambda _, made=made: made, tolerance=0):
                    raise CheckpointError(f"these files have no place for {old}: {line.reason}")
            elif isinstance(line, Stack):
                for name, part in zip(names, value.chunk(len(names)), strict=True):
                    _put(official, origin, name, old, part)
            else:
                changed = line.to_official(value) if isinstance(line, Reshape) else value
                _put(official, origin, names[0], old, changed)
        for line in self.lines:
            if isinstance(line, OnlyTheirs) and line.make is not None and config is not None:
                official.setdefault(line.official, line.make(config))
        return official

    def _line_of(self, official: str) -> Line | None:
        return next(
            (
                line
                for line in self.lines
                if any(_compiled(part).fullmatch(official) for part in _official_patterns(line))
            ),
            None,
        )


def _official_patterns(line: Line) -> tuple[str, ...]:
    if isinstance(line, OnlyOurs):
        return ()
    return line.official if isinstance(line, Stack) else (line.official,)


def _part_names(line: Stack, name: str) -> tuple[str, ...]:
    """Return the names of all parts of the stack to which one belongs."""
    match = next(m for part in line.official if (m := _compiled(part).fullmatch(name)))
    return tuple(part.format(**match.groupdict()) for part in line.official)


def _put(target: dict[str, Any], origin: dict[str, str], new: str, old: str, value: Any) -> None:
    if new in target:
        raise CheckpointError(f"both {origin[new]!r} and {old!r} would be named {new!r}")
    target[new], origin[new] = value, old


def _is_nearly(
    tensor: Tensor, expected: Callable[[tuple[int, ...]], Tensor], *, tolerance: float = _NEARLY
) -> bool:
    """Tell whether a tensor holds what is expected; one without values is taken to."""
    if tensor.is_meta:
        return True
    wanted = expected(tuple(tensor.shape))
    if tensor.shape != wanted.shape:
        return False
    return bool(((tensor.float() - wanted.float()).abs() <= tolerance).all())


def _below(line: Line, prefix: str) -> Line:
    match line:
        case OnlyOurs():

            def make(ours: Mapping[str, Tensor], line: OnlyOurs = line) -> Tensor | None:
                inside = {
                    n.removeprefix(prefix): t for n, t in ours.items() if n.startswith(prefix)
                }
                return line.make(inside)

            return replace(line, ours=prefix + line.ours, make=make)
        case OnlyTheirs():
            return replace(line, official=prefix + line.official)
        case Stack():
            parts = tuple(prefix + part for part in line.official)
            return replace(line, official=parts, ours=prefix + line.ours)
        case _:
            return replace(line, official=prefix + line.official, ours=prefix + line.ours)


def _apply(pattern: str, replacement: str, name: str) -> str | None:
    match = _compiled(pattern).fullmatch(name)
    return None if match is None else replacement.format(**match.groupdict())


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+\})", pattern)
    return re.compile(
        "".join(
            (rf"(?P<{part[1:-1]}>.+)" if part == "{rest}" else rf"(?P<{part[1:-1]}>\d+)")
            if part.startswith("{")
            else re.escape(part)
            for part in parts
        )
    )


def _placeholders(pattern: str) -> list[str]:
    return re.findall(r"\{(\w+)\}", pattern)


SAME_NAMES = Layout()
"""VideoMAE, VideoMAE V2 and ViCLIP: our models have the names of the official files."""
