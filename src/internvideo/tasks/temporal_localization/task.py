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
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from internvideo.config import Fraction, Positive, config_class
from internvideo.data.feature_videos import FeatureVideo, FeatureVideoSource
from internvideo.data.samples import EvaluationSource, Sample
from internvideo.errors import ConfigError
from internvideo.evaluation.localizer import check_channels
from internvideo.models.actionformer import ActionFormer
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

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Localization", "LocalizationConfig", "build", "prepared_videos"]

_LOG = logging.getLogger(__name__)

Ranges = tuple[tuple[float, float], ...]


@config_class
class LocalizationConfig:
    """Temporal localisation with a detector on features: ActionFormer's objective."""

    kind: Literal["localization"] = "localization"
    ranges: Literal["strides", "data"] | Ranges = Field(
        default="strides",
        description="which distances each level finds, in rows: two of its strides as published, "
        "by the lengths of the training actions, or from and to of each level",
    )
    radius: Positive | None = Field(
        default=1.5,
        description="strides from the centre of an action to its points; None: all in it",
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


class Localization(TrainableTask[ActionFormer]):
    """Trains an `ActionFormer` on videos with actions."""

    def __init__(self, model: ActionFormer, config: LocalizationConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.normalizer = LossNormalizer(config.start_normalizer)
        ranges = stride_ranges(model.config.strides)
        self.ranges = config.ranges if isinstance(config.ranges, tuple) else ranges
        if len(self.ranges) != len(ranges):
            raise ConfigError(
                f"task.ranges has {len(self.ranges)} entries, the detector {len(ranges)} levels"
            )

    @property
    def num_rows(self) -> int:
        """Rows of a prepared sequence."""
        return self.model.config.max_length

    def sequence(self, video: FeatureVideo) -> Sequence:
        """Return the rows and actions of a video.

        Raises:
            ConfigError: the features have another number of channels than the detector takes.
        """
        config = self.model.config
        rows = on_grid(video.features, config.grid)
        check_channels(rows, config)
        return actions_of(
            video.annotation,
            rows,
            one_class=config.num_classes == 1,
            merge_repeated=self.config.merge_repeated,
            outside=self.config.outside,
            least_share=self.config.least_share,
        )

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Return a window of a video: features, its length, and targets of all points.

        Raises:
            ConfigError: the sample is no video of features, or has other channels.
        """
        if not isinstance(sample, FeatureVideo):
            raise ConfigError(
                "this task trains on features; give it data of the kind 'features', or end-to-end "
                "training from frames (task.kind=localization-video)"
            )
        window = self.window(self.sequence(sample), rng)
        features = window.features.float()
        padding = (0, 0, 0, self.num_rows - len(features))
        return [
            {"features": F.pad(features, padding), **self.targets(window)},
        ]

    def window(self, sequence: Sequence, rng: np.random.Generator) -> Sequence:
        """Return what is seen of a sequence: at most the training length."""
        resized = self.model.config.grid.resize_to is not None
        whole = resized and not self.config.crop_resized
        return draw_window(
            sequence,
            self.num_rows,
            rng,
            crop=None if whole else self.config.crop,
            least_share=self.config.least_share,
            reach=sequence.reach if self.config.reach else 0.0,
        )

    def targets(self, window: Sequence) -> dict[str, Tensor]:
        """Return what the points of all levels are to predict, and the length of the window."""
        points = pyramid_points(self.num_rows, self.model.config.strides, self.ranges)
        found = assign(
            joined(points),
            window.segments,
            window.labels,
            self.model.config.num_classes,
            radius=self.config.radius,
        )
        return {
            "host_length": torch.tensor(len(window)),
            "classes": found.classes.to(torch.uint8),
            "boundaries": found.offsets,
        }

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss, and its parts `classes` and `boundaries`."""
        lengths = batch["host_length"]
        longest = self._rows_seen(int(lengths.max()))
        return self.loss_of(batch["features"][:, :longest], lengths, batch)

    def loss_of(
        self, features: Tensor, lengths: Tensor, batch: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the losses for the features of a batch, "b t c", of these lengths."""
        longest = features.shape[1]
        valid = None
        if int(lengths.min()) < longest:
            valid = torch.arange(longest) < lengths[:, None]
            valid = valid.to(features.device, non_blocking=True)
        found = self.model(features, valid)
        logits, offsets = torch.cat(found.logits, dim=1), torch.cat(found.offsets, dim=1)
        if found.valid is None:
            counted = torch.ones_like(logits[..., 0], dtype=torch.bool)
        else:
            counted = torch.cat(found.valid, dim=1)
        loss = detection_loss(
            logits,
            offsets,
            self._seen(batch["classes"], longest).to(logits.dtype),
            self._seen(batch["boundaries"], longest),
            counted,
            self.normalizer,
            label_smoothing=self.config.label_smoothing,
            boundary_weight=self.config.boundary_weight,
        )
        parts = {"classes": loss.classes.detach(), "boundaries": loss.boundaries.detach()}
        return {"loss": loss.total, **parts}

    def _rows_seen(self, longest: int) -> int:
        """Return to how many rows a batch can be cut: with reference padding one cell is left."""
        config = self.model.config
        cell = 0 if config.padding == "exact" else 2**config.num_branch
        return min(longest + cell, self.num_rows)

    def _seen(self, points: Tensor, longest: int) -> Tensor:
        """Return the points of the rows that are seen, of those of the training length."""
        config = self.model.config
        all_rows, seen = config.lengths(self.num_rows), config.lengths(longest)
        starts = np.cumsum([0, *all_rows[:-1]]).tolist()
        parts = [points[:, start : start + n] for start, n in zip(starts, seen, strict=True)]
        return torch.cat(parts, dim=1)


def build(config: LocalizationConfig, parts: Parts) -> Localization:
    """Build the task of a recipe; its detector starts from `init`."""
    parts.refuse("augmentation", "init_labels")
    model = parts.build_model()
    parts.start_encoder(model)
    return Localization(model, config)


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
    """
    del directory, num_workers, fabric
    if task.model.config.num_classes > 1:
        source.check_labels(task.model.config.num_classes)
    if task.config.ranges == "data" and isinstance(source, FeatureVideoSource):
        lengths = [_lengths(task, source, index) for index in range(len(source))]
        task.ranges = data_ranges(task.model.config.strides, np.concatenate(lengths))
        _LOG.info("the levels find actions of %s rows", _shown(task.ranges))
    return source


def _lengths(task: Localization, source: FeatureVideoSource, index: int) -> Any:
    video = source.annotated.videos[index]
    rows = on_grid(source.features(index), task.model.config.grid)
    segments = actions_of(video, rows, outside="keep").segments
    return (segments[:, 1] - segments[:, 0]).numpy()


def _shown(ranges: SequenceOf[tuple[float, float]]) -> str:
    return ", ".join(f"{low:g} to {high:g}" for low, high in ranges)
