"""What each key of a recipe takes, its default and a sentence, from the class that checks it."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple, cast, get_args

from pydantic import TypeAdapter

from internvideo.data.clip_sampling import SamplingConfig
from internvideo.data.config import Data, MixPart
from internvideo.recipe.schema import EvaluationConfig, Recipe
from internvideo.tasks.registry import all_architectures, objectives
from internvideo.train.config import LoraConfig, OptimConfig, RuntimeConfig, ScheduleConfig
from internvideo.video.augment import Augmentation
from internvideo.video.preprocessing import Preprocessing

__all__ = ["Key", "Section", "keys_of", "sections"]

_NEEDED = "needed"


class Key(NamedTuple):
    """One key of a section.

    Attributes:
        name: without the section's.
        type: what it takes, such as "number > 0 or null".
        default: as YAML writes it, or "needed".
        description: a sentence; "" where the name says it all.
    """

    name: str
    type: str
    default: str
    description: str


class Section(NamedTuple):
    """A group of keys.

    Attributes:
        place: where it stands in a recipe, such as "optim" or "data (kind: world)".
        description: of the group.
        keys: in the order of their declaration.
    """

    place: str
    description: str
    keys: tuple[Key, ...]


def sections() -> Iterator[Section]:
    """Yield every group of keys that a recipe may hold."""
    yield _section("the recipe itself", Recipe)
    for objective in objectives():
        yield _section(f"task (kind: {objective.kind})", objective.config)
    for kind in get_args(get_args(Data)[0]):
        names = cast("list[str]", _kinds(kind))
        shown = ", ".join(names) if len(names) <= _FEW else f"{names[0]}, {names[1]}, …"
        yield _section(f"data (kind: {shown})", kind)
    yield _section("data.sources, a list (kind: mix)", MixPart)
    for place, cls in _FIXED.items():
        yield _section(place, cls)
    trained = {name for objective in objectives() for name in objective.models}
    for architecture in all_architectures():
        if architecture.id in trained:
            yield _section(f"model (architecture: {architecture.id})", architecture.config)


_FEW = 3
_FIXED: Mapping[str, type] = {
    "evaluation": EvaluationConfig,
    "sampling": SamplingConfig,
    "preprocessing": Preprocessing,
    "augmentation": Augmentation,
    "lora": LoraConfig,
    "optim": OptimConfig,
    "schedule": ScheduleConfig,
    "runtime": RuntimeConfig,
}


def _section(place: str, cls: type) -> Section:
    summary = (inspect.getdoc(cls) or "").partition("\n\n")[0]
    return Section(place, " ".join(summary.split()), tuple(keys_of(cls).values()))


@cache
def keys_of(cls: type) -> dict[str, Key]:
    """Return the keys of a configuration class by name, as they are written in a recipe."""
    schema = TypeAdapter(cls).json_schema()
    definitions = schema.get("$defs", {})
    if "$ref" in schema:
        schema = definitions[_name(schema)]
    needed, told = schema.get("required", ()), _attributes(cls)
    return {
        name: Key(
            name,
            _type(each, definitions),
            _NEEDED if name in needed else _default(each),
            each.get("description") or told.get(name, ""),
        )
        for name, each in schema.get("properties", {}).items()
    }


def _kinds(cls: type) -> list[str]:
    kind = TypeAdapter(cls).json_schema()["properties"]["kind"]
    return kind.get("enum") or [kind["const"]]


def _name(schema: Mapping[str, Any]) -> str:
    return schema["$ref"].rpartition("/")[2]


def _default(schema: Mapping[str, Any]) -> str:
    if "default" not in schema:
        return ""
    default = schema["default"]
    if isinstance(default, dict) and default:  # a group, whose keys have a table of their own
        return ""
    return json.dumps(default, ensure_ascii=False)


_WORDS = {"integer": "whole number", "string": "text", "boolean": "true or false"}
_BOUNDS = {
    "minimum": "≥",
    "exclusiveMinimum": ">",
    "maximum": "≤",
    "exclusiveMaximum": "<",
}
_SHOWN = 12  # choices


def _type(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Return what a key takes, in words."""
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return " or ".join(dict.fromkeys(_type(each, definitions) for each in choices))
    if "$ref" in schema:
        target = definitions[_name(schema)]
        return _type(target, definitions) if "enum" in target else "a group of keys"
    if "const" in schema:
        return f"{schema['const']}"
    if "enum" in schema:
        values = [str(value) for value in schema["enum"]]
        return ", ".join(values[:_SHOWN]) + (", …" if values[_SHOWN:] else "")
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        items = schema.get("items") or (schema.get("prefixItems") or [{}])[0]
        return f"list of {_type(items, definitions)}"
    if kind == "object":
        return "a group of keys"
    bounds = [f"{sign} {schema[name]:g}" for name, sign in _BOUNDS.items() if name in schema]
    return " ".join([_WORDS.get(kind, kind), *bounds])


def _attributes(cls: type) -> dict[str, str]:
    """Return what the docstrings of a class and of those below it say of its attributes."""
    told: dict[str, str] = {}
    for each in reversed(cls.__mro__[:-1]):
        text = inspect.cleandoc(each.__dict__.get("__doc__") or "")
        text = text.partition("Attributes:\n")[2].partition("\n\n")[0]
        found = re.findall(r"(?m)^ {4}(\w+(?:, \w+)*): (.*(?:\n {5,}.*)*)", text)
        told |= {
            name: " ".join(what.split()) for names, what in found for name in names.split(", ")
        }
    return told
