"""The typed tree of a training run; unknown keys are an error that names the nearest valid one."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
)

from internvideo.errors import ConfigError, did_you_mean

__all__ = [
    "Fraction",
    "NonNegative",
    "OptimConfig",
    "Positive",
    "RuntimeConfig",
    "ScheduleConfig",
    "StrictModel",
    "validate",
]

Fraction = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
_BelowOne = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]


class StrictModel(BaseModel):
    """A frozen piece of configuration that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class OptimConfig(StrictModel):
    """AdamW and its groups."""

    lr: Positive = 1e-3
    lr_batch_size: PositiveInt | None = Field(
        default=None,
        description="scale lr and min_lr by (global batch / this); None: they are used as they are",
    )
    betas: tuple[_BelowOne, _BelowOne] = (0.9, 0.95)
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.05
    weight_decay_end: NonNegative | None = Field(
        default=None, description="weight decay moves here along a cosine; None: constant"
    )
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, description="learning rate of a block over that of the block after it"
    )
    clip_grad_norm: Positive | None = None
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="also keep a moving average of the weights; it is evaluated"
    )


class ScheduleConfig(StrictModel):
    """How long, and how the learning rate moves: linear warm-up, then a cosine or a line."""

    rule: Literal["viclip", "linear", "videomae", "uniformerv2"] = Field(
        default="viclip",
        description="see `train.schedules`: warmup_cosine, warmup_linear, cosine_value or "
        "epoch_cosine",
    )
    epochs: PositiveInt | Positive = Field(
        default=1, description="passes over the data; 0.5 takes a random half of it"
    )
    steps: PositiveInt | None = Field(
        default=None, description="length in optimiser steps, in place of epochs"
    )
    warmup_epochs: NonNegative = 0.05
    warmup_steps: NonNegativeInt | None = Field(
        default=None, description="in place of warmup_epochs"
    )
    min_lr_ratio: Fraction = Field(default=0.0, description='floor over the peak, rule "viclip"')
    min_lr: NonNegative = Field(
        default=0.0, description='end of the cosine, rules "videomae" and "uniformerv2"'
    )
    warmup_lr: NonNegative = Field(
        default=0.0, description='start of the warm-up, rules "videomae" and "uniformerv2"'
    )

    def total_steps(self, steps_per_epoch: int) -> int:
        """Return the length of a run in optimiser steps: at least one where there are data."""
        if self.steps is not None:
            return self.steps
        return max(round(self.epochs * steps_per_epoch), min(steps_per_epoch, 1))


class RuntimeConfig(StrictModel):
    """Machine and bookkeeping; nothing here changes what is learned, except seed and precision."""

    BOOKKEEPING: ClassVar[tuple[str, ...]] = (
        "num_workers",
        "data_timeout_s",
        "threads",
        "log_every",
        "save_every",
        "compile",
        "accelerator",
        "strategy",
        "activation_checkpointing",
        "wandb_project",
    )

    batch_size: PositiveInt = Field(default=64, description="videos per process and micro-step")
    accumulate: PositiveInt = Field(
        default=1, description="micro-steps whose gradients are averaged into one optimiser step"
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    strategy: Literal["auto", "ddp", "fsdp"] = Field(
        default="auto", description='"auto" is DDP where torchrun started several processes'
    )
    num_workers: Annotated[int, Field(ge=0)] = 2
    data_timeout_s: NonNegative = Field(
        default=600.0, description="how long a data worker may take for a batch; 0: for ever"
    )
    threads: PositiveInt | None = Field(
        default=None, description="CPU threads of the training process; None: torch's choice"
    )
    log_every: PositiveInt = 20
    save_every: PositiveInt = 500
    compile: bool = False
    activation_checkpointing: bool = False
    wandb_project: str | None = Field(default=None, description="also log to Weights & Biases")


def validate(model: type[BaseModel], data: dict[str, Any], *, source: str) -> Any:
    """Build `model` from plain data, turning every complaint into one readable line.

    Args:
        model: the pydantic class.
        data: parsed YAML.
        source: where the data come from, for the message.

    Raises:
        ConfigError: unknown key (the nearest valid key is suggested) or invalid value.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{source}: {_explain(model, data, error)}") from None


def _explain(model: type[BaseModel], data: dict[str, Any], error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        keys = _written_keys(data, problem["loc"], missing=problem["type"] == "missing")
        where = ".".join(keys)
        if problem["type"] == "extra_forbidden":
            lines.append(f"unknown key '{where}'{_suggestion(model, problem['loc'])}")
        elif problem["type"] == "missing":
            lines.append(f"the key '{where}' is missing")
        else:
            lines.append(f"'{where}': {problem['msg']} (got {problem.get('input')!r})")
    return "; ".join(dict.fromkeys(lines))


def _written_keys(data: Any, place: tuple[int | str, ...], *, missing: bool) -> list[str]:
    """Return a place as keys that a user wrote: pydantic names the member of a union as well."""
    keys = []
    for number, part in enumerate(place, start=1):
        if isinstance(data, list):
            data = dict(enumerate(data))
        if isinstance(data, dict) and part in data:
            data = data[part]
        elif not (missing and number == len(place)):
            continue
        keys.append(str(part))
    return keys


def _suggestion(model: type[BaseModel], place: tuple[int | str, ...]) -> str:
    """Name the nearest key of the same group, or where the key is known."""
    schema = model.model_json_schema()
    unknown = str(place[-1])
    if near := did_you_mean(unknown, _keys_of(schema, place[:-1])):
        return f".{near}"
    groups = [name for name in _keys_of(schema, ()) if unknown in _keys_of(schema, (name,))]
    return f". Did you mean '{groups[0]}.{unknown}'?" if groups else ""


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
