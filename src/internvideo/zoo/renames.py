"""Names of tensors, in official files and in our models: tables that work in both directions.

    Rename("cls_head.fc_cls.{rest}", "head.{rest}")

`{layer}` stands for a number, `{rest}` for whatever follows. The first line that fits a name
renames it, a name that no line fits stays as it is. Nothing is dropped and nothing is computed, so
going there and back gives the same file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from internvideo.errors import CheckpointError

__all__ = ["OPENAI_CLIP", "OPEN_SET_CLASSIFIER", "SAME_NAMES", "Rename", "RenameTable"]

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Rename:
    """One line of a table: a pattern of official names and of ours, with the same placeholders."""

    official: str
    ours: str

    def __post_init__(self) -> None:
        if sorted(_placeholders(self.official)) != sorted(_placeholders(self.ours)):
            raise ValueError(f"{self.official!r} and {self.ours!r} differ in their placeholders")


@dataclass(frozen=True, slots=True)
class RenameTable:
    """The lines between one layout of official files and one of our models, first fit wins."""

    lines: tuple[Rename, ...] = ()

    def name_to_ours(self, name: str) -> str:
        """Return our name for an official one."""
        return next(
            (new for line in self.lines if (new := _apply(line.official, line.ours, name))), name
        )

    def name_to_official(self, name: str) -> str:
        """Return the official name for one of ours."""
        return next(
            (new for line in self.lines if (new := _apply(line.ours, line.official, name))), name
        )

    def to_ours(self, state: Mapping[str, _Value]) -> dict[str, _Value]:
        """Rename an official state dictionary (or any mapping by name) to our names.

        Raises:
            CheckpointError: two names would become one.
        """
        return _renamed(state, {name: self.name_to_ours(name) for name in state})

    def to_official(self, state: Mapping[str, _Value]) -> dict[str, _Value]:
        """Rename a state dictionary of ours to the official names; the inverse of `to_ours`.

        Raises:
            CheckpointError: two names would become one.
        """
        return _renamed(state, {name: self.name_to_official(name) for name in state})


def _renamed(state: Mapping[str, _Value], names: Mapping[str, str]) -> dict[str, _Value]:
    renamed: dict[str, _Value] = {}
    for old, new in names.items():
        if new in renamed:
            first = next(name for name, target in names.items() if target == new)
            raise CheckpointError(f"both {first!r} and {old!r} would be named {new!r}")
        renamed[new] = state[old]
    return renamed


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


SAME_NAMES = RenameTable()
"""VideoMAE, VideoMAE V2 and ViCLIP: our models have the names of the official files."""

OPEN_SET_CLASSIFIER = RenameTable(
    (
        Rename("cls_head.fc_cls.{rest}", "head.{rest}"),
        Rename("backbone.{rest}", "{rest}"),
    )
)
"""VideoMAE classifiers trained by the open-set code (an mmaction recogniser)."""

OPENAI_CLIP = RenameTable(
    (
        Rename("visual.{rest}", "vision_encoder.{rest}"),
        Rename("transformer.{rest}", "text_encoder.transformer.{rest}"),
        Rename("token_embedding.{rest}", "text_encoder.token_embedding.{rest}"),
        Rename("ln_final.{rest}", "text_encoder.ln_final.{rest}"),
        Rename("positional_embedding", "text_encoder.positional_embedding"),
        Rename("text_projection", "text_encoder.text_projection"),
        Rename("logit_scale", "temp"),
    )
)
"""Image CLIP, the start of every ViCLIP; patch kernel and temperature need arithmetic besides."""
