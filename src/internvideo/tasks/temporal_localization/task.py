"""Train a detector of actions on the features of untrimmed videos.

    worker:  video ──► rows, actions ──► random window ──► targets of all points
    device:  ──► detector ──► focal loss of the scores + overlap loss of the boundaries

A batch is cut to its longest window: rows of padding cost time and, with exact padding, change
nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence as SequenceOf
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from internvideo.annotations import VideoAnnotation
from internvideo.config import Fraction, Positive, config_class
from internvideo.data.feature_videos import FeatureVideo, FeatureVideoSource
from internvideo.data.features import FeatureSequence
from internvideo.data.samples import EvaluationSource, Sample
from internvideo.errors import ConfigError, DataError, VideoError
from internvideo.evaluation.arrays import as_list
from internvideo.evaluation.localizer import check_channels
from internvideo.models.actionformer import ActionFormer, Candidates
from internvideo.models.actionformer_config import ActionFormerConfig
from internvideo.tasks.parts import Parts
from internvideo.tasks.temporal_localization.labels import (
    assign,
    data_ranges,
    joined,
    pyramid_points,
    stride_ranges,
)
from internvideo.tasks.temporal_localization.losses import LossNormalizer, detection_loss
from internvideo.tasks.temporal_localization.sequences import (
    Outside,
    Sequence,
    actions_of,
    draw_window,
    on_grid,
)
from internvideo.train.task import TrainableTask
from internvideo.zoo.load import read_weights
from internvideo.zoo.transfer import load_weights

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = [
    "Detection",
    "DetectionConfig",
    "Localization",
    "LocalizationConfig",
    "build",
    "prepared_videos",
    "start_detector",
]

_LOG = logging.getLogger(__name__)

Ranges = tuple[tuple[float, float], ...]


@config_class
class DetectionConfig:
    """What a detector is trained for: ActionFormer's objective."""

    ranges: Literal["strides", "data"] | Ranges = Field(
        default="strides",
        description="which distances each level finds, in rows: two of its strides as published, "
        "by the lengths of the training actions, or from and to of each level",
    )
    radius: Positive | None = Field(
        default=1.5, description="strides from an action's centre to its points; None: all in it"
    )
    label_smoothing: Fraction = 0.0
    boundary_weight: Positive | None = Field(
        default=1.0, description="of the boundary loss; None: as large as the other"
    )
    start_normalizer: Positive = Field(
        default=100.0, description="start of the running mean of positive points a step"
    )
    crop: tuple[Fraction, Fraction] | None = Field(
        default=(0.9, 1.0), description="share of a video that is seen; None: all of it"
    )
    crop_resized: bool = Field(
        default=True, description="also of resized videos, which InternVideo leaves whole"
    )
    least_share: Fraction = Field(default=0.5, description="of an action in a window that counts")
    reach: bool = Field(
        default=True,
        description="an action may end with a window of frames; InternVideo: at its centre",
    )
    outside: Outside = Field(
        default="drop", description="of actions beyond the end, see sequences.actions_of"
    )
    merge_repeated: bool = Field(default=False, description="actions that are annotated twice")


@config_class
class LocalizationConfig(DetectionConfig):
    """Temporal localisation with a detector on features that were extracted before."""

    kind: Literal["localization"] = "localization"


class Detection:
    """The objective of a detector, whatever makes its rows.

    Attributes:
        config: its options.
        model: shape of the detector.
        ranges: which distances each level finds.
    """

    def __init__(self, config: DetectionConfig, model: ActionFormerConfig) -> None:
        self.config = config
        self.model = model
        by_strides = stride_ranges(model.strides)
        self.ranges = config.ranges if isinstance(config.ranges, tuple) else by_strides
        if len(self.ranges) != len(by_strides):
            raise ConfigError(
                f"task.ranges has {len(self.ranges)} entries, the detector {len(by_strides)} levels"
            )

    @property
    def num_rows(self) -> int:
        """Rows of a prepared sequence."""
        return self.model.max_length

    def draw(
        self, video: VideoAnnotation, rows: FeatureSequence, rng: np.random.Generator
    ) -> Sequence:
        """Return what is seen of a video: at most the training length, with its actions."""
        config, resized = self.config, self.model.grid.resize_to is not None
        whole = actions_of(
            video,
            rows,
            one_class=self.model.num_classes == 1,
            merge_repeated=config.merge_repeated,
            outside=config.outside,
            least_share=config.least_share,
        )
        return draw_window(
            whole,
            self.num_rows,
            rng,
            crop=None if resized and not config.crop_resized else config.crop,
            least_share=config.least_share,
            reach=whole.reach if config.reach else 0.0,
        )

    def targets(self, window: Sequence) -> dict[str, Tensor]:
        """Return what the points of all levels are to predict, and the length of the window."""
        points = pyramid_points(self.num_rows, self.model.strides, self.ranges)
        found = assign(
            joined(points),
            window.segments,
            window.labels,
            self.model.num_classes,
            radius=self.config.radius,
        )
        return {
            "host_length": torch.tensor(len(window)),
            "classes": found.classes.to(torch.uint8),
            "boundaries": found.offsets,
        }

    def rows_seen(self, lengths: SequenceOf[int]) -> int:
        """Return to how many rows a batch can be cut: with reference padding one cell is left."""
        cell = 0 if self.model.padding == "exact" else 2**self.model.num_branch
        return min(max(lengths) + cell, self.num_rows)

    def valid_rows(
        self, lengths: SequenceOf[int], num_rows: int, device: torch.device
    ) -> Bool[Tensor, "b t"] | None:
        """Return which rows of a batch are no padding; None: all."""
        if min(lengths) >= num_rows:
            return None
        valid = torch.arange(num_rows) < torch.tensor(lengths)[:, None]
        return valid.to(device, non_blocking=True)

    def loss(
        self,
        found: Candidates,
        batch: dict[str, Tensor],
        num_rows: int,
        normalizer: LossNormalizer,
    ) -> dict[str, Tensor]:
        """Return the loss of a batch of so many rows, and its parts."""
        logits, offsets = torch.cat(found.logits, dim=1), torch.cat(found.offsets, dim=1)
        if found.valid is None:
            valid = torch.ones_like(logits[..., 0], dtype=torch.bool)
        else:
            valid = torch.cat(found.valid, dim=1)
        loss = detection_loss(
            logits,
            offsets,
            self._seen(batch["classes"], num_rows).float(),
            self._seen(batch["boundaries"], num_rows),
            valid,
            normalizer,
            label_smoothing=self.config.label_smoothing,
            boundary_weight=self.config.boundary_weight,
        )
        parts = {"classes": loss.classes.detach(), "boundaries": loss.boundaries.detach()}
        return {"loss": loss.total, **parts}

    def _seen(self, points: Float[Tensor, "b p *n"], num_rows: int) -> Float[Tensor, "b q *n"]:
        """Return the points of the first rows, of those of the training length."""
        all_rows, seen = self.model.lengths(self.num_rows), self.model.lengths(num_rows)
        starts = np.cumsum([0, *all_rows[:-1]]).tolist()
        parts = [points[:, start : start + n] for start, n in zip(starts, seen, strict=True)]
        return torch.cat(parts, dim=1)


class Localization(TrainableTask[ActionFormer]):
    """Trains an `ActionFormer` on videos with actions, whose features are there."""

    def __init__(self, model: ActionFormer, config: LocalizationConfig) -> None:
        super().__init__()
        self.model = model
        self.detection = Detection(config, model.config)
        self.normalizer = LossNormalizer(config.start_normalizer)

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Return a window of a video: features, its length, and targets of all points.

        Raises:
            ConfigError: the sample is no video of features, or has other channels.
        """
        if not isinstance(sample, FeatureVideo):
            raise ConfigError(
                "this task trains on features; give it data of the kind 'features', or train from "
                "frames with task.kind 'localization-video'"
            )
        rows = on_grid(sample.features, self.model.config.grid)
        check_channels(rows, self.model.config)
        window = self.detection.draw(sample.annotation, rows, rng)
        features = window.features.float()
        padding = (0, 0, 0, self.detection.num_rows - len(features))
        return [{"features": F.pad(features, padding), **self.detection.targets(window)}]

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss, and its parts `classes` and `boundaries`."""
        detection, lengths = self.detection, as_list(batch["host_length"])
        num_rows = detection.rows_seen(lengths)
        features = batch["features"][:, :num_rows]
        found = self.model(features, detection.valid_rows(lengths, num_rows, features.device))
        return detection.loss(found, batch, num_rows, self.normalizer)


def build(config: LocalizationConfig, parts: Parts) -> Localization:
    """Build the task of a recipe; its detector starts from the detector `init`, if there is one."""
    parts.refuse("augmentation", "init_labels")
    model = parts.build_model()
    if parts.init is not None:
        start_detector(model, parts.init)
    return Localization(model, config)


def start_detector(model: ActionFormer, init: str) -> None:
    """Give a detector the weights of another one; other classes are learnt anew.

    Raises:
        CheckpointError: they cannot be read, or are of another shape.
    """
    given = dict(read_weights(init).state)
    fresh = [name for name in model.state_dict() if name.startswith("cls_head.cls_head.")]
    if any(given[name].shape != model.state_dict()[name].shape for name in fresh if name in given):
        given = {name: tensor for name, tensor in given.items() if name not in fresh}
    load_weights(model, given, init, fresh=fresh)


def prepared_videos(
    task: Localization,
    source: EvaluationSource,
    directory: Path,
    *,
    num_workers: int,
    fabric: Fabric,
) -> EvaluationSource:
    """Check the classes of the videos, and take the ranges of the levels from their actions.

    Raises:
        DataError: a segment has a class that the detector does not know.
        ConfigError: the data are no features.
    """
    del directory, num_workers, fabric
    detection = task.detection
    if not isinstance(source, FeatureVideoSource):
        raise ConfigError("a localization task trains on features: data.kind must be features")
    source.store.origin(task.model.config.origin)
    if detection.model.num_classes > 1:
        source.check_labels(detection.model.num_classes)
    if detection.config.ranges == "data":
        detection.ranges = data_ranges(detection.model.strides, _lengths(detection, source))
        _LOG.info("the levels find actions of %s rows", _shown(detection.ranges))
    return source


def _lengths(detection: Detection, source: FeatureVideoSource) -> Float[np.ndarray, " n"]:
    """Return the lengths of all actions, in rows.

    Raises:
        DataError: there is none in any video that can be read.
    """
    found: list[Float[np.ndarray, " n"]] = []
    missing: list[str] = []
    for index, video in enumerate(source.annotated.videos):
        try:
            rows = on_grid(source.features(index), detection.model.grid)
        except VideoError as error:
            missing.append(str(error))
            continue
        segments = actions_of(video, rows, outside="keep").segments
        found.append((segments[:, 1] - segments[:, 0]).numpy())
    if missing:
        _LOG.warning("%d videos have no say in the ranges, the first: %s", len(missing), missing[0])
    lengths = np.concatenate(found or [np.zeros(0)])
    if not len(lengths):
        why = missing[0] if missing else "no video has an action"
        raise DataError(f"task.ranges: data needs actions, but {why}")
    return lengths


def _shown(ranges: SequenceOf[tuple[float, float]]) -> str:
    return ", ".join(f"{low:g} to {high:g}" for low, high in ranges)
