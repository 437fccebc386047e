"""A toy task, the mean grey of a clip: a room of one file, for `test_rooms`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.config import config_class
from internvideo.data.samples import EvaluationSource, Sample
from internvideo.errors import VideoError
from internvideo.evaluation.engine import Answerer, Batch, EvalLoop
from internvideo.evaluation.report import Report, answered_and_failures
from internvideo.evaluation.videos import ask_videos
from internvideo.tasks.parts import Parts
from internvideo.tasks.task import Objective, Option, Task
from internvideo.train.task import TrainableTask
from internvideo.video.opening import AnyVideo
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.hub import LoadedModel
from internvideo.zoo.layouts import SAME_NAMES

__all__ = ["TASK"]


# --- the network ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class LightMeterConfig:
    """Shape of a `LightMeter`."""

    num_cells: int = 2


class LightMeter(nn.Module):
    """Pools a clip to a few cells, and weighs them."""

    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: LightMeterConfig) -> None:
        super().__init__()
        self.config = config
        self.weigh = nn.Linear(3 * config.num_cells**2, 1)

    def forward(self, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, " b"]:
        """Return the mean grey of each clip, on the scale of the input."""
        cells = nn.functional.adaptive_avg_pool2d(video.mean(dim=2), self.config.num_cells)
        return self.weigh(cells.flatten(1))[:, 0]


LIGHT_METER = Architecture(
    id="brightness/light-meter",
    model=LightMeter,
    config=LightMeterConfig,
    sizes={"nano": LightMeterConfig()},
    tiny={"nano": LightMeterConfig()},
    tables={"official": SAME_NAMES},
    infer=lambda shapes, base: base or LightMeterConfig(),
    traits=lambda config: {"num_cells": config.num_cells},
    preset="nano",
)


# --- training ---------------------------------------------------------------------------------


@config_class
class BrightnessConfig:
    """The mean grey of clips."""

    kind: Literal["brightness"] = "brightness"
    power: Literal[1, 2] = 2


class BrightnessTraining(TrainableTask[LightMeter]):
    """Trains a `LightMeter` on clips, whose truth is in their own pixels."""

    def __init__(
        self, model: LightMeter, preprocessing: Preprocessing, config: BrightnessConfig
    ) -> None:
        super().__init__()
        self.model = model
        self.preprocessing = preprocessing
        self.config = config

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Return the resized frames."""
        return [{"video": self.preprocessing.resize(torch.from_numpy(sample.frames))}]

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the mean error to the power of the task."""
        video = self.preprocessing.normalize(batch["video"])
        error = self.model(video) - video.mean(dim=(1, 2, 3, 4))
        return {"loss": error.abs().pow(self.config.power).mean()}


def build(config: BrightnessConfig, parts: Parts) -> BrightnessTraining:
    """Build the task of a recipe."""
    parts.refuse("augmentation", "init_labels", "init")
    return BrightnessTraining(parts.build_model(), parts.preprocessing, config)


# --- answers ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Brightness:
    """How bright a video is, by the model and in truth, on the scale of the model's input."""

    headings: ClassVar[tuple[str, ...]] = ("brightness",)
    max_tables: ClassVar[int] = 0

    video: str
    predicted: float
    true: float

    def summary(self) -> tuple[str, ...]:
        """Return the answer as cells of one row."""
        return (f"{self.predicted:.3f}",)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"video": self.video, "predicted": self.predicted, "true": self.true}

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(self.to_dict())


class LightReader(Answerer[Brightness]):
    """Reads the brightness off a model; the views of a video are averaged."""

    def answer(self, batch: Batch) -> list[Brightness]:
        """Return the brightness of each video."""
        return [
            Brightness(
                video=video.name,
                predicted=round(float(rows.mean()), 6),
                true=round(float(video.views.mean()), 6),
            )
            for video, rows in batch.each(self.network)
        ]

    def from_json(self, line: dict[str, Any]) -> Brightness:
        """Return the answer of a line."""
        return Brightness(video=line["video"], predicted=line["predicted"], true=line["true"])


@dataclass(frozen=True, kw_only=True)
class BrightnessReport(Report):
    """How near the brightness of a model is to the true one."""

    answers: tuple[Brightness, ...]
    tolerance: float = 0.1

    @property
    def num_answered(self) -> int:
        """Number of videos that could be read."""
        return len(self.answers)

    def metrics(self) -> dict[str, float]:
        """Return the percentage within the tolerance, and the mean error."""
        errors = np.array([abs(each.predicted - each.true) for each in self.answers])
        return {
            "within": 100 * float((errors <= self.tolerance).mean()),
            "mean_error": float(errors.mean()),
        }


def evaluate(
    model: LoadedModel,
    source: EvaluationSource,
    *,
    loop: EvalLoop,
    tolerance: Annotated[float, Option("Largest error that counts as right.")] = 0.1,
) -> BrightnessReport:
    """Measure how well a model tells the brightness of videos."""
    answered = loop.run(LightReader(model.model, model.protocol), source)
    answers, failures = answered_and_failures(answered)
    return BrightnessReport(
        answers=tuple(answers),
        failures=failures,
        tolerance=tolerance,
        protocol=model.protocol.describe(),
        model=model.name,
    )


def measure(
    model: LoadedModel, source: EvaluationSource, *, loop: EvalLoop, quick: bool
) -> BrightnessReport:
    """Measure in a training run."""
    return evaluate(model, source, loop=loop)


def predict(model: LoadedModel, videos: Iterable[AnyVideo]) -> Iterator[Brightness | VideoError]:
    """Say how bright each video is."""
    return (answer for _, answer in ask_videos(LightReader(model.model, model.protocol), videos))


def _examples() -> Sequence[str]:
    return ("runs/light/model --data world",)


TASK = Task(
    name="brightness",
    architectures=(LIGHT_METER,),
    objectives=(
        Objective(config=BrightnessConfig, models=(LIGHT_METER.id,), build=build, measure=measure),
    ),
    evaluate=evaluate,
    evaluate_examples=tuple(_examples()),
    predict=predict,
)
