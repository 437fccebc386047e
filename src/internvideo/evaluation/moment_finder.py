"""A detector in the engine of evaluation: the moments of each annotated video."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import torch
from torch import nn

from internvideo.data.feature_videos import FeatureVideoSource
from internvideo.errors import ConfigError
from internvideo.evaluation.engine import Answerer, Batch
from internvideo.evaluation.localizer import Localizer
from internvideo.evaluation.segments import Segments
from internvideo.models.actionformer_config import Selection
from internvideo.models.contract import has
from internvideo.zoo.hub import LoadedModel, weights_sha256

__all__ = ["MomentFinder"]


class MomentFinder(Answerer[Segments]):
    """Finds the moments of the videos of a source of features.

    Args:
        model: a detector.
        source: the videos; they are asked about by their numbers.
        selection: which candidates become moments; None: as the detector has it.

    Raises:
        ConfigError: the model is no detector.
    """

    def __init__(
        self,
        model: LoadedModel,
        source: FeatureVideoSource,
        selection: Selection | None = None,
    ) -> None:
        network: nn.Module = model.model
        if not has(network, "moments"):
            raise ConfigError(
                f"{model.name} finds no moments; give a detector, such as one that the recipe "
                "thumos14_actionformer trained"
            )
        super().__init__(network, model.protocol)
        self.source = source
        self.selection = selection or network.config.selection

    def answer(self, batch: Batch) -> list[Segments]:
        """Return the moments of each video, in seconds."""
        videos = [
            replace(self.source.features(each.index), features=torch.flatten(each.views, 0, 1))
            for each in batch.videos
        ]
        return Localizer(network=self.network, selection=self.selection, precision=batch.precision)(
            videos
        )

    def from_json(self, line: dict[str, Any]) -> Segments:
        """Return the moments of a line."""
        return Segments.from_dict(line)

    def identity(self) -> dict[str, Any]:
        """Return what the moments depend on."""
        return {
            "weights": weights_sha256(self.network),
            "selection": asdict(self.selection),
            "features": self.source.origin(),
        }
