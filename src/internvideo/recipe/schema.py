"""What a recipe may hold: task, model, data, and the numbers; unknown keys are an error."""

from __future__ import annotations

import hashlib
import json
import operator
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import Field, PositiveInt

from internvideo.config import StrictModel
from internvideo.data.clip_sampling import SamplingRule
from internvideo.data.formats.captions import CaptionColumns
from internvideo.data.kinds import FileKind
from internvideo.tasks.registry import objectives
from internvideo.train.config import OptimConfig, RuntimeConfig, ScheduleConfig

__all__ = [
    "CaptionData",
    "EvaluationConfig",
    "ListData",
    "MSRVTTData",
    "MixData",
    "MixPart",
    "Recipe",
    "SamplingConfig",
    "ShardData",
    "WorldData",
]


# --- data -------------------------------------------------------------------------------------


class WorldData(StrictModel):
    """Procedural clips, rendered when they are needed; the same for the same seed."""

    kind: Literal["world"]
    num_clips: PositiveInt
    start: Annotated[int, Field(ge=0)] = 0
    seed: int = 0
    captions: dict[str, float] = Field(
        default_factory=dict, description="shares of caption kinds, see world.CaptionMix"
    )


class ListData(StrictModel):
    """An annotation file of a public data set, in its own format (see `internvideo.data`)."""

    kind: FileKind
    annotations: Path
    root: str | None = Field(
        default=None, description="videos are relative to this folder or address"
    )
    labels: Path | None = Field(
        default=None, description="the class list, for formats that name classes in words"
    )
    split: str | None = Field(default=None, description="for files that hold several splits")
    skip_bad: bool = Field(default=False, description="leave out lines that cannot be used")


class CaptionData(StrictModel):
    """Captioned clips or images in a csv, tsv, json, parquet or SQLite table."""

    kind: Literal["captions"]
    annotations: Path
    root: str | None = Field(
        default=None, description="videos are relative to this folder or address"
    )
    columns: CaptionColumns | None = Field(
        default=None, description="by default told from the names of the columns"
    )
    skip_bad: bool = Field(default=False, description="leave out rows that cannot be used")


class ShardData(StrictModel):
    """Tar shards as `internvideo data shard` writes them (webdataset), local or remote."""

    kind: Literal["shards"]
    shards: str = Field(description="pattern such as clips-{000000..000123}.tar, or a folder")
    cache: Path | None = Field(default=None, description="where remote shards are kept")


class MSRVTTData(StrictModel):
    """An MSR-VTT json with its folder of videos; one caption is drawn per visit."""

    kind: Literal["msrvtt"]
    annotations: Path
    videos: Path
    split: str = "train"
    skip_bad: bool = Field(default=False, description="leave out videos that cannot be used")


OneData = Annotated[
    WorldData | ListData | CaptionData | ShardData | MSRVTTData, Field(discriminator="kind")
]


class MixPart(StrictModel):
    """One of the sources of a mix."""

    data: OneData
    weight: Annotated[float, Field(gt=0)] = Field(
        default=1.0, description="passes over it in an epoch; 0.5 takes half of it"
    )


class MixData(StrictModel):
    """Several sources; a batch has only videos or only still images."""

    kind: Literal["mix"]
    sources: Annotated[list[MixPart], Field(min_length=1)]


Data = Annotated[
    WorldData | ListData | CaptionData | ShardData | MSRVTTData | MixData,
    Field(discriminator="kind"),
]


class SamplingConfig(StrictModel):
    """Which frames of a training video make the clip, see `internvideo.video.sampling`."""

    rule: SamplingRule = "dense"
    frame_stride: PositiveInt = 4
    strides: dict[str, PositiveInt] = Field(
        default_factory=dict,
        description="another stride for videos whose path holds this text (hybrid lists)",
    )


class EvaluationConfig(StrictModel):
    """On what, and how often, a run is measured; the views are those of `preprocessing`."""

    data: Data
    every_epochs: PositiveInt = Field(default=1, description="one clip, centre crop")
    final_views: bool = Field(
        default=True, description="in the end, all views of the protocol with the best weights"
    )


# --- the whole --------------------------------------------------------------------------------


if TYPE_CHECKING:
    TaskConfig = Any
else:
    _Any = reduce(operator.or_, (each.config for each in objectives()))
    TaskConfig = Annotated[_Any, Field(discriminator="kind")]


class Recipe(StrictModel):
    """One training run."""

    name: str
    description: str = ""
    task: TaskConfig
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
    data: Data
    evaluation: EvaluationConfig | None = None
    optim: OptimConfig = OptimConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    runtime: RuntimeConfig = RuntimeConfig()

    def fingerprint(self) -> str:
        """Return a hash of all that changes what is learned (not of logging or workers).

        Values at their defaults do not enter: an option added later leaves old fingerprints alone.
        """
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()

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
