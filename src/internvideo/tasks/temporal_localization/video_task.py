"""Train a detector from frames, with a frozen or a tuned encoder, and measure it.

worker:  video ──► random window of rows ──► its frames, decoded and resized; targets
device:  ──► windows of frames ──► encoder ──► rows ──► the objective of `task`
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor

from internvideo.config import config_class
from internvideo.data.feature_videos import (
    AnnotatedVideos,
    AnnotatedVideoSource,
    FeatureVideoSource,
)
from internvideo.data.features import FeatureSequence
from internvideo.data.samples import EvaluationSource, Sample
from internvideo.data.untrimmed import UntrimmedSource, UntrimmedVideo
from internvideo.errors import ConfigError
from internvideo.evaluation.arrays import as_list
from internvideo.evaluation.extraction import Extraction, video_features, windows_of
from internvideo.tasks.parts import Parts
from internvideo.tasks.temporal_localization.losses import LossNormalizer
from internvideo.tasks.temporal_localization.sequences import Sequence
from internvideo.tasks.temporal_localization.task import Detection, DetectionConfig
from internvideo.tasks.temporal_localization.video_detector import VideoDetector
from internvideo.train.task import TrainableTask
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.video import Video
from internvideo.zoo.hub import LoadedModel, weights_sha256

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["EncodedVideos", "VideoLocalization", "VideoLocalizationConfig", "build", "checked"]

_PIECE = 16


@config_class
class VideoLocalizationConfig(DetectionConfig):
    """Temporal localisation from frames: a detector and the encoder of its rows."""

    kind: Literal["localization-video"] = "localization-video"
    windows_at_once: PositiveInt = Field(
        default=64, description="windows that go through the encoder together"
    )


class VideoLocalization(TrainableTask[VideoDetector]):
    """Trains a `VideoDetector` on videos with actions."""

    def __init__(
        self, model: VideoDetector, preprocessing: Preprocessing, config: VideoLocalizationConfig
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.extraction = Extraction(window=model.config.window, stride=model.config.stride)
        self.preprocessing = self.extraction.protocol(preprocessing)
        self.detection = Detection(config, model.config.detector)
        self.normalizer = LossNormalizer(config.start_normalizer)

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Return the frames of a window of a video, "f s s c", and targets of all points.

        Raises:
            ConfigError: the sample is no untrimmed video.
            VideoError: its frames cannot be read.
        """
        if not isinstance(sample, UntrimmedVideo):
            raise ConfigError(
                "this task trains on whole videos; give it data of the kind 'untrimmed', or train "
                "on features with task.kind 'localization'"
            )
        config, video = self.model.config, sample.video
        with video:
            num_rows = windows_of(video.num_frames, self.extraction).count
            # The rows are their own numbers until their frames are needed.
            rows = FeatureSequence(
                features=torch.arange(num_rows)[:, None], fps=video.fps, stride=config.stride,
                window=config.window,
            )  # fmt: skip
            window = self.detection.draw(sample.annotation, rows, rng)
            frames = self._frames(video, window)
        return [{"video": frames, **self.detection.targets(window)}]

    def _frames(self, video: Video, window: Sequence) -> Tensor:
        """Return the frames that a window sees, and zeros up to the length of training.

        A video that is shorter than a window of frames is spread over one, as by extraction.
        """
        config = self.model.config
        first = int(window.features[0]) * config.stride
        wanted = list(range(first, first + config.num_frames(len(window))))
        if video.num_frames < config.window:
            wanted = self.preprocessing.sample(video.num_frames, video.fps)[0].tolist()
        # Few frames of full size are in memory together.
        pieces = [wanted[at : at + _PIECE] for at in range(0, len(wanted), _PIECE)]
        frames = torch.cat([self.preprocessing.resize(video.frames(piece)) for piece in pieces])
        size = config.num_frames(self.detection.num_rows)
        return torch.cat([frames, frames.new_zeros(size - len(frames), *frames.shape[1:])])

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss, and its parts `classes` and `boundaries`."""
        detection, lengths = self.detection, as_list(batch["host_length"])
        num_rows = detection.rows_seen(lengths)
        rows = self._rows(batch["video"], lengths, num_rows)
        valid = detection.valid_rows(lengths, num_rows, rows.device)
        return detection.loss(self.model.detector(rows, valid), batch, num_rows, self.normalizer)

    def _rows(
        self, video: Float[Tensor, "b f y x c"], lengths: list[int], num_rows: int
    ) -> Float[Tensor, "b t d"]:
        """Return the rows of the windows of all videos; those of padding are zero, not encoded."""
        config = self.model.config
        windows = video.unfold(1, config.window, config.stride)  # b t y x c n
        present = [(number, row) for number, count in enumerate(lengths) for row in range(count)]
        numbers, rows = torch.tensor(present).to(video.device, non_blocking=True).t()
        places = numbers * num_rows + rows
        encoded: list[Tensor] = []
        for start in range(0, len(present), self.config.windows_at_once):
            some = slice(start, start + self.config.windows_at_once)
            clips = windows[numbers[some], rows[some]].permute(0, 4, 1, 2, 3)  # m n y x c
            encoded.append(self.model.rows(self.preprocessing.normalize(clips)))
        found = torch.cat(encoded)
        empty = found.new_zeros(len(video) * num_rows, found.shape[1])
        return empty.index_copy(0, places, found).view(len(video), num_rows, -1)


def build(config: VideoLocalizationConfig, parts: Parts) -> VideoLocalization:
    """Build the task of a recipe; its encoder starts from `init`.

    Raises:
        ConfigError: an option of the recipe that the task has no use for, or clips of another
            length than the windows of the encoder.
    """
    parts.refuse("augmentation", "init_labels")
    model = parts.build_model()
    if parts.preprocessing.num_frames != model.config.window:
        raise ConfigError(
            f"preprocessing.num_frames {parts.preprocessing.num_frames} must be the encoder's "
            f"model.encoder.num_frames, {model.config.window}: a clip is a window"
        )
    if config.ranges == "data":
        raise ConfigError("task.ranges: data is for training on features; give strides or numbers")
    grid = model.config.detector.grid
    if grid.resize_to is not None or grid.seconds_per_row is not None or grid.keep_every > 1:
        raise ConfigError(
            "model.detector.grid is for features; model.stride is what rows lie apart"
        )
    parts.start_encoder(model)
    return VideoLocalization(model, parts.preprocessing, config)


def checked(
    task: VideoLocalization,
    source: EvaluationSource,
    directory: Path,
    *,
    num_workers: int,
    fabric: Fabric,
) -> EvaluationSource:
    """Check that the data are whole videos, and their classes those of the detector.

    Raises:
        ConfigError: they are not.
        DataError: a segment has a class that the detector does not know.
    """
    del directory, num_workers, fabric
    if not isinstance(source, UntrimmedSource):
        raise ConfigError("this task trains on whole videos: data.kind must be untrimmed")
    if task.detection.model.num_classes > 1:
        source.check_labels(task.detection.model.num_classes)
    return source


class EncodedVideos(FeatureVideoSource):
    """Videos as the rows that a detector's own encoder makes of them when they are asked for.

    Windows are decoded and encoded as by `internvideo extract`, a few at a time. Whoever reads a
    video asks for its rows a second time, to know their rate: they are kept until then.

    Args:
        annotated: the videos.
        model: a `VideoDetector`.
    """

    def __init__(self, annotated: AnnotatedVideos, model: LoadedModel) -> None:
        AnnotatedVideoSource.__init__(self, annotated)
        network: Any = model.model
        self.model = model
        self.extraction = Extraction(window=network.config.window, stride=network.config.stride)
        self.detector = LoadedModel(network.detector, model.record)
        self._videos = UntrimmedSource(annotated)
        self._kept: dict[int, FeatureSequence] = {}

    def features(self, index: int) -> FeatureSequence:
        """Return the rows of a video.

        Raises:
            VideoError: it cannot be read.
        """
        if index in self._kept:
            return self._kept.pop(index)
        rows = video_features(self.model, self._videos.path(index), self.extraction)
        self._kept[index] = rows
        return rows

    def origin(self) -> str:
        """Return a checksum of the encoder, and its windows."""
        encoder: Any = self.model.model
        return f"{weights_sha256(encoder.encoder)} {self.extraction}"
