"""Which model a set of tensors belongs to, judged by names and shapes alone.

    names and shapes ──► layout and prefix ──► configuration ──► compare with the meta model

This one comparison serves `verify`, loading, and the messages about a wrong file.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, TypeVar

import torch
from torch import Tensor

from internvideo.errors import CheckpointError
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.architectures import ARCHITECTURES
from internvideo.zoo.image_vit import refuse_image_transformer
from internvideo.zoo.shapes import (
    AmbiguousShapesError,
    Shapes,
    field_of,
    merge_fields,
    replace_fields,
    with_fields,
)

__all__ = [
    "Comparison",
    "Fit",
    "block_of",
    "compare",
    "convert",
    "fit_config",
    "fit_to",
    "guess_planned",
    "identify",
    "recognise",
    "strip_prefixes",
]

_Value = TypeVar("_Value")

# What trainers and wrappers put in front of the names of a model.
_PREFIXES = ("module", "model", "videomae", "encoder", "backbone", "clip", "net", "_forward_module")
_ANYWHERE = ("_orig_mod.", "_checkpoint_wrapped_module.")
_MAX_PREFIXES = 3
_MIN_SCORE = 0.5
_MAX_NEAREST = 40  # comparing texts takes time, and nobody reads more suggestions


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How a set of tensors compares with a model.

    Attributes:
        names: name of each tensor of the file → our name.
        missing: our names that the file lacks.
        unexpected: names in the file that the model has no place for.
        mismatched: our name → (shape in the file, shape in the model).
    """

    names: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every tensor has its place and every place its tensor."""
        return not (self.missing or self.unexpected or self.mismatched)

    @property
    def num_problems(self) -> int:
        """Number of names that do not fit."""
        return len(self.missing) + len(self.unexpected) + len(self.mismatched)

    def nearest(self, name: str) -> str:
        """Return the missing name that an unexpected one is most like, or an empty string."""
        if name not in self.unexpected[:_MAX_NEAREST]:
            return ""
        near = difflib.get_close_matches(self.names.get(name, name), self.missing, n=1, cutoff=0.7)
        return near[0] if near else ""

    def explain(self, *, limit: int = 3) -> str:
        """Return what does not fit, grouped by block, with the nearest known names."""
        unexpected = {
            name: f"{name} (nearest: {near})" if (near := self.nearest(name)) else name
            for name in self.unexpected
        }
        mismatched = {
            name: f"{name} {list(found)} instead of {list(expected)}"
            for name, (found, expected) in self.mismatched.items()
        }
        parts = []
        for title, lines in (
            ("missing", {name: name for name in self.missing}),
            ("unexpected", unexpected),
            ("of another shape", mismatched),
        ):
            if lines:
                parts.append(f"{len(lines)} {title}: {_grouped(lines, limit)}")
        return "; ".join(parts) or "everything fits"


@dataclass(frozen=True, kw_only=True)
class Fit(Comparison):
    """The model that a set of tensors belongs to, and how they compare.

    Attributes:
        architecture: the kind of model.
        layout: which official naming the tensors have.
        config: configuration of the model.
        stripped: prefixes taken off the names.
        assumed: fields of the configuration that neither the shapes nor anybody told, with the
            usual values that they were given.
    """

    architecture: Architecture
    layout: str
    config: Any
    stripped: tuple[str, ...] = ()
    assumed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def assumptions(self) -> str:
        """What was assumed, in words, and how to say otherwise; empty where nothing was."""
        if not self.assumed:
            return ""
        values = ", ".join(f"{name}={value}" for name, value in self.assumed.items())
        return f"assumed, for shapes do not tell: {values} (--set {next(iter(self.assumed))}=…)"


def recognise(
    shapes: Shapes,
    *,
    architectures: Sequence[Architecture] = ARCHITECTURES,
    as_start: bool = False,
) -> tuple[Architecture, tuple[str, ...]]:
    """Find the architecture whose names a set of tensors has, and the layouts with just these.

    Args:
        shapes: name of each tensor → its shape.
        architectures: what it can be, the most specific first.
        as_start: look for the model of which most is there, whatever else the file holds.

    Raises:
        CheckpointError: the tensors look like none of the known architectures; the message names a
            planned one when they look like that.
    """
    refuse_image_transformer(shapes)
    scored = []
    for architecture in architectures:
        for layout in architecture.tables:
            stripped, names = _stripped(shapes, architecture, layout)
            generics = {_generic(n) for n in names.values()}
            score = _overlap(generics, architecture, layout)
            found = _found(generics, architecture, layout) if as_start else score
            suits = architecture.suits is None or architecture.suits(
                {name: shapes[old] for old, name in names.items()}
            )
            scored.append(((suits, found, score, -len(stripped)), architecture, layout))
    best, architecture, _ = max(scored, key=lambda each: each[0])
    planned = None if as_start else guess_planned(shapes)
    if best[1] < _MIN_SCORE or planned is not None:
        looks = f" It looks like {planned}, which is planned." if planned else ""
        examples = ", ".join(repr(name) for name in list(shapes)[:3])
        raise CheckpointError(
            f"no known architecture has these {len(shapes)} tensors ({examples} …).{looks}"
        )
    return architecture, tuple(n for rank, a, n in scored if a is architecture and rank == best)


def identify(
    shapes: Shapes,
    *,
    config: Mapping[str, Any] | None = None,
    architectures: Sequence[Architecture] = ARCHITECTURES,
) -> Fit:
    """Find the architecture that a set of tensors fits best, and compare.

    Args:
        shapes: name of each tensor → its shape.
        config: as for `fit_to`.
        architectures: what it can be, the most specific first.

    Raises:
        CheckpointError: the tensors are those of none, or of several models alike.
    """
    architecture, layouts = recognise(shapes, architectures=architectures)
    return fit_to(shapes, architecture, base=None, config=config, layouts=layouts)


def fit_to(
    shapes: Shapes,
    architecture: Architecture,
    *,
    base: Any,
    config: Mapping[str, Any] | None = None,
    layouts: Sequence[str] | None = None,
) -> Fit:
    """Compare a set of tensors with one architecture.

    Args:
        shapes: name of each tensor → its shape.
        architecture: what it is taken for.
        base: a configuration that gives what shapes do not tell.
        config: fields of the configuration that shapes do not tell; those of a part of the model
            in a mapping of their own, or with a dot.
        layouts: those that come into question; None is all with names of the file.

    Raises:
        CheckpointError: the tensors do not tell a configuration of this architecture.
    """
    fits, errors = [], []
    for layout in architecture.tables if layouts is None else layouts:
        if not _overlap(_generics_of(shapes, architecture, layout), architecture, layout):
            continue
        try:
            fits.append(_compare(shapes, architecture, layout, base=base, told=config))
        except CheckpointError as error:
            errors.append(error)
    if fits:
        return min(fits, key=lambda fit: fit.num_problems)
    raise errors[0] if errors else CheckpointError(f"no tensor has a name of {architecture.id}")


def convert(state: Mapping[str, Tensor], fit: Fit) -> tuple[Any, dict[str, Tensor]]:
    """Return the tensors of a file under our names, as `fit` found them to belong.

    Returns:
        The configuration, with what the values tell beyond their shapes, and the tensors.
    """
    table = fit.architecture.tables[fit.layout]
    _, official = strip_prefixes(state, fit.architecture, layout=fit.layout)
    return with_fields(fit.config, table.kept(official)), table.to_ours(official)


def fit_config(shapes: Shapes, architecture: Architecture, config: Any) -> Fit:
    """Compare tensors that have our names with the model of a known configuration."""
    found = compare(shapes, architecture.shapes(config))
    return Fit(architecture=architecture, layout="official", config=config, **vars(found))


def compare(found: Shapes, expected: Shapes) -> Comparison:
    """Compare the tensors of a file with those of a model, both under our names."""
    return Comparison(
        names={name: name for name in found},
        missing=tuple(name for name in expected if name not in found),
        unexpected=tuple(name for name in found if name not in expected),
        mismatched={
            name: (tuple(found[name]), tuple(shape))
            for name, shape in expected.items()
            if name in found and tuple(found[name]) != tuple(shape)
        },
    )


def strip_prefixes(
    state: Mapping[str, _Value], architecture: Architecture, *, layout: str = "official"
) -> tuple[tuple[str, ...], dict[str, _Value]]:
    """Take off what wrappers put in front of the names, where that makes them names of the model.

    Returns:
        The prefixes taken off, and the mapping under the shorter names.

    Raises:
        CheckpointError: two names would become one.
    """
    stripped, names = _stripped(state, architecture, layout)
    renamed: dict[str, _Value] = {}
    for old, new in names.items():
        if new in renamed:
            raise CheckpointError(f"without {', '.join(stripped)} two tensors are named {new!r}")
        renamed[new] = state[old]
    return stripped, renamed


def block_of(name: str) -> str:
    """Return the part of the model that a tensor belongs to: "encoder.blocks.3", "head" ..."""
    if match := re.match(r"(.*?\b(?:blocks|resblocks|layers?)\.\d+)\.", name):
        return match[1]
    return name.rpartition(".")[0] or name


def _compare(
    shapes: Shapes,
    architecture: Architecture,
    layout: str,
    *,
    base: Any,
    told: Mapping[str, Any] | None = None,
) -> Fit:
    table = architecture.tables[layout]
    told = merge_fields(told or {})
    try:
        state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        stripped, official = strip_prefixes(state, architecture, layout=layout)
        ours = {n: tuple(t.shape) for n, t in table.to_ours(official).items()}
        left_out = table.left_out(official)
        # what is left out still tells sizes, under the name that it would get
        seen = {table.name_to_ours(n): tuple(official[n].shape) for n in left_out}
        config = _infer(architecture, {**seen, **ours}, base, told)
        for line in left_out.values():
            config = with_fields(config, line.means)
        expected = architecture.shapes(config)
    except (RuntimeError, OverflowError, MemoryError) as error:
        raise CheckpointError(f"the shapes make no sense: {str(error).splitlines()[0]}") from error
    _, short = _stripped(shapes, architecture, layout)
    names = {old: table.name_to_ours(new) for old, new in short.items()}
    given = {new: old for old, new in names.items()}
    found = compare(ours, expected)
    unseen = architecture.unseen({**seen, **ours}) if architecture.unseen and base is None else ()
    return Fit(
        architecture=architecture,
        layout=layout,
        config=config,
        stripped=stripped,
        names=names,
        missing=found.missing,
        unexpected=tuple(given.get(name, name) for name in found.unexpected),
        mismatched=found.mismatched,
        assumed={n: field_of(config, n) for n in unseen if field_of(told, n) is None},
    )


def _infer(architecture: Architecture, shapes: Shapes, base: Any, told: Mapping[str, Any]) -> Any:
    """Return the configuration that shapes tell, with what else was told.

    Raises:
        CheckpointError: the shapes tell none, or several.
    """
    if not told:
        return architecture.infer(shapes, base)
    try:
        config = architecture.infer(shapes, base)
    except AmbiguousShapesError as error:
        fitting = [each for each in error.readings if replace_fields(each, told) == each]
        if len(fitting) != 1:
            raise
        config = architecture.infer(shapes, fitting[0])
    except CheckpointError:
        usual = base if base is not None else next(iter(architecture.sizes.values()))
        config = architecture.infer(shapes, replace_fields(usual, told))
    return replace_fields(config, told)


def _stripped(
    names: Iterable[str], architecture: Architecture, layout: str
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the prefixes that most names have before a name of the model, and the new names.

    The usual ones count first; where no name of the model is behind them, any attribute does.
    """
    known = _known_generics(architecture, layout)
    plain = {name: _without_wrappers(name) for name in names}
    alike: dict[str, list[list[str]]] = defaultdict(list)  # blocks differ in a number only
    for name in plain.values():
        alike[_generic(name)].append(name.split("."))
    for depth_of in (_num_wrappers, _num_attributes):
        chains = Counter(
            tuple(f"{part}." for part in parts[:depth])
            for generic, members in alike.items()
            if (depth := depth_of(generic, known)) is not None
            for parts in members
        )
        if chains:
            break
    best = chains.most_common(1)[0][0] if chains else ()
    prefix = "".join(best)
    found = {each for each in _ANYWHERE for name in plain if each in name}
    return (*best, *sorted(found)), {old: new.removeprefix(prefix) for old, new in plain.items()}


def _num_wrappers(generic: str, known: frozenset[str]) -> int | None:
    """Return how many wrappers stand before a known name, or None when none is behind them."""
    for depth in range(_MAX_PREFIXES + 1):
        if generic in known:
            return depth
        prefix, dot, rest = generic.partition(".")
        if not dot or prefix not in _PREFIXES:
            break
        generic = rest
    return None


def _num_attributes(generic: str, known: frozenset[str]) -> int | None:
    """Return how many attributes stand before a known name of several parts, or None."""
    parts = generic.split(".")
    depths = range(1, min(len(parts) - 1, _MAX_PREFIXES + 1))
    return next((depth for depth in depths if ".".join(parts[depth:]) in known), None)


def _without_wrappers(name: str) -> str:
    for each in _ANYWHERE:
        name = name.replace(each, "")
    return name


@lru_cache(maxsize=1 << 16)
def _generic(name: str) -> str:
    return re.sub(r"\d+", "#", name)


@cache
def _variants(architecture: Architecture, layout: str) -> tuple[frozenset[str], ...]:
    """Return the official names of each way to build a model, every number replaced by `#`."""
    table = architecture.tables[layout]
    built = (next(iter(architecture.sizes.values())), *architecture.tiny.values())
    return tuple(
        frozenset(
            _generic(official)
            for name in architecture.shapes(config)
            for official in table.official_names(name)
        )
        for config in built
    )


def _known_generics(architecture: Architecture, layout: str) -> frozenset[str]:
    return frozenset().union(*_variants(architecture, layout))


def _generics_of(names: Iterable[str], architecture: Architecture, layout: str) -> set[str]:
    return {_generic(name) for name in _stripped(names, architecture, layout)[1].values()}


def _overlap(generics: set[str], architecture: Architecture, layout: str) -> float:
    """Return the share of names, of file and model together, that both have."""
    variants = _variants(architecture, layout)
    return max(len(generics & known) / len(generics | known) for known in variants)


def _found(generics: set[str], architecture: Architecture, layout: str) -> float:
    """Return the share of the names of the model that the file has."""
    variants = _variants(architecture, layout)
    return max(len(generics & known) / len(known) for known in variants)


def _grouped(lines: Mapping[str, str], limit: int) -> str:
    """Return the lines by block; blocks beyond the limit are counted only."""
    groups: dict[str, list[str]] = {}
    for name, line in lines.items():
        groups.setdefault(block_of(name), []).append(line)
    shown = []
    for block, members in list(groups.items())[:limit]:
        rest = f" and {len(members) - 3} more" if len(members) > 3 else ""
        shown.append(f"{block}: {', '.join(members[:3])}{rest}")
    hidden = len(groups) - limit
    return " | ".join(shown) + (f" | and {hidden} more blocks" if hidden > 0 else "")


# Families that the library knows by their cards only: description, and regular expressions each of
# which must match the name of a tensor.
_PLANNED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Unmasked Teacher that answers", (r"vision_encoder\.encoder\.blocks", r"text_decoder\.")),
)


def guess_planned(shapes: Shapes) -> str | None:
    """Return which family without an implementation yet the tensors look like, or None."""
    for description, patterns in _PLANNED:
        if all(any(re.search(pattern, name) for name in shapes) for pattern in patterns):
            return description
    return None
