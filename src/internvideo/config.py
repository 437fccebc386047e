"""One way from plain data to a checked, frozen configuration and back; pydantic does the checking.

Which class for what:

- A model's configuration is a plain `@dataclass(frozen=True, kw_only=True, slots=True)`. Its data
  are checked by `config_from_dict`; `__post_init__` checks how its values fit together. A field
  that allows several classes is `Annotated[AConfig | BConfig, ByKind()]`: its data name the class.
- What people write by hand or build in Python (the section of a recipe, a protocol, options) is a
  `@config_class`: the same dataclass, whose types and bounds are checked by the constructor too.
- A group of sections that are read together, such as a recipe, is a `StrictModel`.

All of them refuse unknown keys, and complain in one line with the keys as they were written.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

import pydantic.dataclasses
from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, TypeAdapter
from pydantic import ValidationError as _Invalid
from pydantic_core import ArgsKwargs, CoreSchema, core_schema
from typing_extensions import dataclass_transform

from internvideo.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = [
    "ByKind",
    "Fraction",
    "NonNegative",
    "Positive",
    "StrictModel",
    "config_class",
    "config_from_dict",
    "config_kind",
    "config_to_dict",
    "merged",
    "validate",
]

_C = TypeVar("_C")
_TOP = 2  # parts of the place of a key that is in no group, [data].key
_RULES = ConfigDict(extra="forbid", allow_inf_nan=False)

# What other libraries call a key, in the order in which these names are looked for here.
_ALIASES = {
    "learning_rate": "lr", "base_lr": "lr", "blr": "lr",
    "wd": "weight_decay",
    "grad_clip": "clip_grad_norm", "max_grad_norm": "clip_grad_norm", "clip_grad": "clip_grad_norm",
    "optimizer": "rule", "scheduler": "rule", "lr_scheduler": "rule",
    "ema": "ema_decay", "model_ema": "ema_decay",
    "bs": "batch_size", "train_batch_size": "batch_size",
    "per_device_train_batch_size": "batch_size", "videos_per_gpu": "batch_size",
    "gradient_accumulation_steps": "accumulate", "accumulate_grad_batches": "accumulate",
    "accumulative_counts": "accumulate", "update_freq": "accumulate",
    "workers": "num_workers", "dataloader_num_workers": "num_workers",
    "amp": "precision", "fp16": "precision", "bf16": "precision", "dtype": "precision",
    "device": "accelerator",
    "logging_steps": "log_every", "print_freq": "log_every", "log_interval": "log_every",
    "save_steps": "save_every", "checkpoint_interval": "save_every",
    "gradient_checkpointing": "activation_checkpointing",
    "use_checkpoint": "activation_checkpointing",
    "random_seed": "seed",
    "max_epochs": "epochs", "num_epochs": "epochs", "num_train_epochs": "epochs",
    "max_steps": "steps", "max_iters": "steps",
    "warmup": "warmup_epochs", "warmup_ratio": "warmup_epochs",
    "size": "crop_size", "resolution": "crop_size", "img_size": "crop_size",
    "input_size": "crop_size", "image_size": "crop_size",
    "frames": "num_frames", "clip_len": "num_frames", "stride": "frame_stride",
    "frame_interval": "frame_stride", "sampling_rate": "frame_stride",
    "num_labels": "num_classes", "nb_classes": "num_classes", "classes": "num_classes",
    "drop_path": "drop_path_rate",
    "r": "rank", "lora_alpha": "alpha", "target_modules": "targets",
    "smoothing": "label_smoothing",
    "pretrained": "init", "weights": "init", "checkpoint": "init", "load_from": "init",
    "val": "evaluation", "validation": "evaluation", "eval": "evaluation",
}  # fmt: skip

Fraction = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


class StrictModel(BaseModel):
    """A frozen group of configuration sections that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field,))
def config_class(cls: type[_C]) -> type[_C]:
    """Make a frozen, keyword-only dataclass with slots whose constructor checks types and bounds.

    The constructor converts nothing but whole numbers to floats and lists to tuples (a frozen class
    has no lists), and raises `ConfigError`, also for a `ValueError` of `__post_init__`.
    """
    made = pydantic.dataclasses.dataclass(frozen=True, kw_only=True, slots=True, config=_RULES)(cls)

    @functools.wraps(made.__init__)
    def checked(self: Any, /, **values: Any) -> None:
        arguments = ArgsKwargs((), _with_tuples(values))
        try:
            made.__pydantic_validator__.validate_python(arguments, self_instance=self, strict=True)
        except _Invalid as error:
            raise _config_error(made, values, error, source=cls.__name__, within=(0,)) from None

    made.__init__ = checked  # type: ignore[method-assign]
    return made  # type: ignore[return-value]


class ByKind:
    """Marks a field of several dataclasses: its data say which one under `"kind"`."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        choices: dict[Any, CoreSchema] = {
            config_kind(cls): core_schema.no_info_before_validator_function(
                _without_kind, handler.generate_schema(cls)
            )
            for cls in get_args(source)
        }
        tagged = core_schema.plain_serializer_function_ser_schema(
            lambda config: {"kind": config_kind(type(config)), **config_to_dict(config)}
        )
        return core_schema.tagged_union_schema(choices, "kind", serialization=tagged)


def config_kind(cls: type) -> str:
    """Return the name that marks a configuration class in data: `VideoViTConfig` → `VideoViT`."""
    return cls.__name__.removesuffix("Config")


def config_to_dict(config: Any) -> dict[str, Any]:
    """Return the fields of a configuration as plain JSON-ready data (tuples become lists)."""
    return _adapter(type(config)).dump_python([config], mode="json")[0]


def config_from_dict(cls: type[_C], data: Mapping[str, Any], *, source: str | None = None) -> _C:
    """Build a configuration from JSON-like data; the inverse of `config_to_dict`.

    Nothing is converted but whole numbers to floats and lists to tuples: text is no number, and
    neither are true and false.

    Args:
        cls: a dataclass or a pydantic model.
        data: numbers, strings, lists and mappings.
        source: where the data come from, for the message; None is the name of the class.

    Raises:
        ConfigError: an unknown key (the nearest known ones are named), a missing key, a value of
            another type, or one that the class itself refuses; the message names the key.
    """
    source = source or config_kind(cls)
    try:
        return _adapter(cls).validate_json(json.dumps([data]), strict=True)[0]
    except TypeError as error:
        raise ConfigError(f"{source}: not plain data: {error}") from None
    except _Invalid as error:
        raise _config_error(cls, data, error, source=source) from None


def validate(cls: type[_C], data: Any, *, source: str) -> _C:
    """Build a configuration from what a person wrote: text that is a number will do for one.

    YAML, for one, reads 1e-3 as text. Arguments and errors are those of `config_from_dict`.
    """
    try:
        return _adapter(cls).validate_python([data])[0]
    except _Invalid as error:
        raise _config_error(cls, data, error, source=source) from None


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes` on top, nested mappings merged key by key.

    A mapping of another `kind` replaces the old one: their keys have nothing in common.
    """
    if "kind" in changes and changes["kind"] != base.get("kind"):
        return dict(changes)
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


@functools.cache
def _adapter(cls: type) -> TypeAdapter[list[Any]]:
    # In a list, because the rules cannot be given for a class itself; those inside inherit them.
    return TypeAdapter(list[cls], config=_RULES)  # type: ignore[valid-type]


def _without_kind(value: Any) -> Any:
    """Return the data of one of several classes without the tag."""
    if not isinstance(value, dict):
        return value
    return {key: _with_tuples(each) for key, each in value.items() if key != "kind"}


def _with_tuples(value: Any) -> Any:
    """Turn lists to tuples: pydantic no longer knows that they come from JSON."""
    if isinstance(value, list):
        return tuple(map(_with_tuples, value))
    if isinstance(value, dict):
        return {key: _with_tuples(each) for key, each in value.items()}
    return value


# --- errors -----------------------------------------------------------------------------------


def _config_error(
    cls: type, data: Any, error: _Invalid, *, source: str, within: tuple[int, ...] = ()
) -> ConfigError:
    """Put all complaints about the data of a class into one line; places begin in `[data]`."""
    # An unknown key first: where another is missing, it is often that one, misspelt.
    problems = sorted(error.errors(include_url=False), key=lambda each: each["type"] == "missing")
    # Of a whole number or a number, pydantic complains twice; what "a number" says takes both.
    numbers = {each["loc"][:-1] for each in problems if each["type"].startswith("float_")}
    told = [
        each
        for each in problems
        if not (each["type"].startswith("int_") and each["loc"][:-1] in numbers)
    ]
    complaints = [_complaint(cls, data, each, (*within, *each["loc"])) for each in told]
    return ConfigError(f"{source}: {'; '.join(dict.fromkeys(complaints))}")


def _complaint(cls: type, data: Any, problem: ErrorDetails, place: tuple[int | str, ...]) -> str:
    where = ".".join(_written_keys([data], place, missing=problem["type"] == "missing")[1:])
    context, quoted = problem.get("ctx", {}), f"'{where}'" if where else "the whole"
    match problem["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            return f"unknown key {quoted}{_suggestion(cls, place)}"
        case "missing":
            return f"the key {quoted} is missing"
        case "union_tag_not_found":
            return f"the key '{where}.kind' is missing"
        case "union_tag_invalid":
            tag, known = context["tag"], context["expected_tags"]
            return f"'{where}.kind': {tag!r} is not one of {known}{_nearest(tag, known)}"
        case "value_error":
            return f"{quoted}: {context['error']}" if where else str(context["error"])
    value, message = problem["input"], problem["msg"].replace("Input should be", "expected", 1)
    near = _nearest(value, message) if problem["type"] == "literal_error" else ""
    return f"{quoted}: {message}, got {value!r}{near}"


def _nearest(value: Any, known: str) -> str:
    """Name the nearest of the choices that pydantic lists in quotes."""
    near = did_you_mean(value, re.findall("'(.*?)'", known)) if isinstance(value, str) else ""
    return f".{near}" if near else ""


def _written_keys(data: Any, place: tuple[int | str, ...], *, missing: bool) -> list[str]:
    """Return a place as keys that a user wrote: pydantic names the member of a union as well."""
    keys = []
    for number, part in enumerate(place, start=1):
        if isinstance(data, list | tuple):
            data = dict(enumerate(data))
        if isinstance(data, Mapping) and part in data:
            data = data[part]
        elif not (missing and number == len(place)):
            continue
        keys.append(str(part))
    return keys


def _suggestion(cls: type, place: tuple[int | str, ...]) -> str:
    """Name the key of the same group that is meant, or where the key is known."""
    schema, unknown = _adapter(cls).json_schema(), str(place[-1])
    beside, meant = _keys_of(schema, place[:-1]), _ALIASES.get(unknown.lower())
    if meant in beside:
        return f". Did you mean '{meant}'?"
    for name in dict.fromkeys((meant, unknown)):
        for group in _keys_of(schema, (0,)):
            if name in _keys_of(schema, (0, group)):
                return f". Did you mean '{group}.{name}'?"
    if meant and len(place) == _TOP:  # of a section that the class knows nothing of
        return f". Did you mean '{meant}' of a section?"
    near = did_you_mean(unknown, beside)
    return f".{near}" if near else ""


def _keys_of(schema: dict[str, Any], place: tuple[int | str, ...]) -> list[str]:
    """Return the keys that a JSON schema allows at a place."""
    definitions = schema.get("$defs", {})
    for part in place:
        found = _resolved(schema, definitions)
        mapping = found.get("discriminator", {}).get("mapping", {})
        if part in mapping:
            schema = {"$ref": mapping[part]}
        elif part in found.get("properties", {}):
            schema = found["properties"][part]
        elif isinstance(part, int):
            schema = found.get("items", {})
    return list(_resolved(schema, definitions).get("properties", {}))


def _resolved(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference, also through `X | None`."""
    for option in schema.get("anyOf", ()):
        if option.get("type") != "null":
            return _resolved(option, definitions)
    reference = schema.get("$ref")
    return definitions[reference.rpartition("/")[2]] if reference else schema
