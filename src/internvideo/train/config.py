"""The numbers of a training run that no task owns: optimiser, schedule, machine."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from internvideo.config import Fraction, NonNegative, Positive, StrictModel

__all__ = ["LoraConfig", "OptimConfig", "RuntimeConfig", "ScheduleConfig"]

_BelowOne = Annotated[float, Field(ge=0, lt=1)]


class OptimConfig(StrictModel):
    """AdamW, or SGD, and its groups."""

    rule: Literal["adamw", "sgd"] = Field(default="adamw", description="the optimiser")
    momentum: _BelowOne = Field(default=0.9, description='of Nesterov, rule "sgd"')
    lr: Positive = Field(default=1e-3, description="peak learning rate")
    lr_batch_size: PositiveInt | None = Field(
        default=None,
        description="scale lr and min_lr by (global batch / this); None: they are used as they are",
    )
    betas: tuple[_BelowOne, _BelowOne] = Field(
        default=(0.9, 0.95), description="of AdamW's averages of the gradient and of its square"
    )
    eps: Positive = Field(default=1e-8, description="of AdamW, added to the root of the average")
    weight_decay: NonNegative = Field(default=0.05, description="decoupled, times the rate")
    weight_decay_end: NonNegative | None = Field(
        default=None, description="weight decay moves here along a cosine; None: constant"
    )
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, description="learning rate of a block over that of the block after it"
    )
    lr_scales: dict[str, Positive] = Field(
        default_factory=dict,
        description="beginning of a parameter's name in the model → its lr over `lr`; the first "
        "that fits counts",
    )
    freeze: tuple[str, ...] = Field(
        default=(), description="beginnings of names in the model whose parameters stay as they are"
    )
    decayed: Literal["matrices", "all-but-biases"] = Field(
        default="matrices",
        description="what weight decay shrinks; as in BertAdam's recipes, norms and tables too",
    )
    bias_correction: bool = Field(
        default=True, description="of Adam's averages; without it AdamW is BertAdam"
    )
    clip_grad_norm: Positive | None = Field(
        default=None, description="largest norm of the whole gradient"
    )
    clip_each_grad_norm: Positive | None = Field(
        default=None, description="after `clip_grad_norm`, also clip every tensor by itself"
    )
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="also keep a moving average of the weights; it is evaluated"
    )

    @model_validator(mode="after")
    def _clipped_in_order(self) -> OptimConfig:
        if self.clip_each_grad_norm is not None and self.clip_grad_norm is None:
            raise ValueError("clip_each_grad_norm comes after clip_grad_norm; give that too")
        return self


class LoraConfig(StrictModel):
    """Low-rank adaptation: matrices of the blocks learn as `W + alpha / rank * up @ down`."""

    rank: PositiveInt = Field(description="rows of `down` and columns of `up`, which are trained")
    alpha: Positive = Field(default=16.0, description="over `rank`: the factor of what is learnt")
    targets: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="names, or their last parts, of matrices in the model; `*` stands for anything;"
        " None: all of attention",
    )


class ScheduleConfig(StrictModel):
    """How long, and how the learning rate moves: linear warm-up, then a cosine or a line."""

    rule: Literal["viclip", "linear", "videomae", "uniformerv2", "bert-adam", "multistep"] = Field(
        default="viclip",
        description="see `train.schedules`: warmup_cosine, warmup_linear, cosine_value, "
        "epoch_cosine, jumping_cosine or multistep_value",
    )
    epochs: PositiveInt | Positive = Field(
        default=1, description="passes over the data; 0.5 takes a random half of it"
    )
    steps: PositiveInt | None = Field(
        default=None, description="length in optimiser steps, in place of epochs"
    )
    patience: PositiveInt | None = Field(
        default=None,
        description="evaluations in a row without a better one after which a run ends; None: never",
    )
    warmup_epochs: NonNegative = Field(default=0.05, description="length of the rise from 0")
    warmup_steps: NonNegativeInt | None = Field(
        default=None, description="in place of warmup_epochs"
    )
    min_lr_ratio: Fraction = Field(default=0.0, description='floor over the peak, rule "viclip"')
    min_lr: NonNegative = Field(
        default=0.0, description='end of the cosine, rules "videomae" and "uniformerv2"'
    )
    warmup_lr: NonNegative = Field(
        default=0.0,
        description='start of the warm-up, rules "videomae", "uniformerv2" and "multistep"',
    )
    milestones: tuple[Positive, ...] = Field(
        default=(), description='epochs after the warm-up at which the rate falls, rule "multistep"'
    )
    gamma: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.1, description="what it is then multiplied by"
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
        "check_memory",
        "mlflow_experiment",
        "keep_state",
        "wandb_project",
    )

    batch_size: PositiveInt = Field(default=64, description="videos per process and micro-step")
    accumulate: PositiveInt = Field(
        default=1, description="micro-steps whose gradients are averaged into one optimiser step"
    )
    seed: Annotated[int, Field(ge=0, lt=2**32, description="of every random choice")] = 0
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field(
        default="32-true", description="of the arithmetic; the weights are 32-bit numbers"
    )
    accelerator: Literal["auto", "cpu", "gpu"] = Field(
        default="auto", description='"auto" is a GPU where there is one'
    )
    strategy: Literal["auto", "ddp", "fsdp"] = Field(
        default="auto", description='"auto" is DDP where torchrun started several processes'
    )
    num_workers: Annotated[int, Field(ge=0)] = Field(
        default=2, description="processes that decode videos, of each training process"
    )
    data_timeout_s: NonNegative = Field(
        default=600.0, description="how long a data worker may take for a batch; 0: for ever"
    )
    threads: PositiveInt | None = Field(
        default=None, description="CPU threads of the training process; None: torch's choice"
    )
    log_every: PositiveInt = Field(default=20, description="steps between lines of the log")
    save_every: PositiveInt = Field(default=500, description="steps between saved states")
    compile: bool = Field(default=False, description="`torch.compile`, block by block")
    activation_checkpointing: bool = Field(
        default=False, description="recompute the blocks in the backward pass: less memory"
    )
    keep_state: bool = Field(
        default=True,
        description="keep what a finished run needs to go on to a longer schedule (--extend)",
    )
    check_memory: bool = Field(
        default=True, description="refuse a step that would not fit before the first one"
    )
    mlflow_experiment: str | None = Field(default=None, description="also log to MLflow")
    wandb_project: str | None = Field(default=None, description="also log to Weights & Biases")
