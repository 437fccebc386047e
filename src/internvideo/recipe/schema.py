"""What a recipe may hold: task, model, data, and the numbers; unknown keys are an error."""

from __future__ import annotations

import hashlib
import json
import operator
from functools import reduce
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import Field, PositiveInt

from internvideo.config import StrictModel
from internvideo.data.clip_sampling import SamplingConfig
from internvideo.data.config import Data
from internvideo.tasks.registry import objectives
from internvideo.train.config import LoraConfig, OptimConfig, RuntimeConfig, ScheduleConfig

__all__ = ["EvaluationConfig", "Recipe"]


class EvaluationConfig(StrictModel):
    """On what, and how often, a run is measured; the views are those of `preprocessing`."""

    data: Data = Field(description="the clips, see the kinds of `data`")
    every_epochs: PositiveInt = Field(default=1, description="one clip, centre crop")
    final_views: bool = Field(
        default=True, description="in the end, all views of the protocol with the best weights"
    )


if TYPE_CHECKING:
    TaskConfig = Any
else:
    _Any = reduce(operator.or_, (each.config for each in objectives()))
    TaskConfig = Annotated[_Any, Field(discriminator="kind")]


class Recipe(StrictModel):
    """One training run."""

    name: str = Field(description="of the run; its directory is runs/NAME by default")
    description: str = Field(default="", description="a sentence for people")
    task: TaskConfig = Field(description="what is learnt, see the kinds of `task`")
    model: dict[str, Any] = Field(description="the configuration of the task's model class")
    init: str | None = Field(
        default=None, description="a model name, file or directory whose encoder is the start"
    )
    init_labels: str | None = Field(
        default=None,
        description="keep the head of `init`, its rows put into the order of this label map",
    )
    preprocessing: dict[str, Any] | str = Field(
        default="nano", description="the input protocol: a preset, or its fields"
    )
    sampling: SamplingConfig | None = Field(
        default=None, description="frames of a training clip; None: the protocol's middle clip"
    )
    augmentation: dict[str, Any] | str | None = Field(
        default=None, description="a preset or its fields; None: resized as by the protocol"
    )
    data: Data = Field(description="the training clips, see the kinds of `data`")
    evaluation: EvaluationConfig | None = Field(
        default=None, description="how the run is measured; null: not at all"
    )
    lora: LoraConfig | None = Field(
        default=None, description="fine-tune the blocks by low rank; null: all of their weights"
    )
    optim: OptimConfig = Field(default=OptimConfig(), description="optimiser and learning rate")
    schedule: ScheduleConfig = Field(default=ScheduleConfig(), description="length and warm-up")
    runtime: RuntimeConfig = Field(default=RuntimeConfig(), description="machine and bookkeeping")

    def fingerprint(self) -> str:
        """Return a hash of all that changes what is learned (not of logging or workers).

        Values at their defaults do not enter: an option added later leaves old fingerprints alone.
        What made the features does not either: a run adds it to the model.
        """
        content = self._content()
        content.get("model", {}).pop("origin", None)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def settings(self) -> dict[str, Any]:
        """Return what must not change when a run of this recipe goes on after a stop.

        The batch of a process and the accumulation are left out: with another number of processes
        they change, while the global batch, which the checkpoint holds, does not.
        """
        content = self._content()
        for key in ("name", "description"):
            content.pop(key, None)
        for key in ("batch_size", "accumulate"):
            content.get("runtime", {}).pop(key, None)
        return content

    def _content(self) -> dict[str, Any]:
        content = self.model_dump(mode="json", exclude_defaults=True)
        content["task"] = {"kind": self.task.kind, **content.get("task", {})}
        for key in RuntimeConfig.BOOKKEEPING:
            content.get("runtime", {}).pop(key, None)
        return content

    def to_yaml(self) -> str:
        """Return the resolved recipe as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
