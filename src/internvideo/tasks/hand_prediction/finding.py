"""A network asked where hands will be."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from internvideo.errors import ConfigError
from internvideo.evaluation.engine import Answerer, Batch
from internvideo.models.uniformer_video import UniFormerVideo
from internvideo.tasks.hand_prediction.metric import NUM_COORDINATES
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo.hub import LoadedModel

__all__ = ["HandFinder"]

Places = Float[np.ndarray, " 20"]


class HandFinder(Answerer[Places]):
    """Predicts hands after clips, in pixels as they are annotated: the mean over the views.

    Args:
        model: a `UniFormerVideo` of twenty numbers.
        protocol: how clips are looked at; by default, the model's.

    Raises:
        ConfigError: the model is another one.
    """

    def __init__(self, model: LoadedModel, protocol: Preprocessing | None = None) -> None:
        network = model.model
        is_one = isinstance(network, UniFormerVideo)
        if not is_one or network.config.num_classes != NUM_COORDINATES:
            raise ConfigError(
                f"{model.name} does not predict hands; give a model such as one that the recipe "
                "world_hands-nano trained"
            )
        super().__init__(network, protocol or model.protocol)

    def answer(self, batch: Batch) -> list[Places]:
        """Return twenty numbers for each clip."""
        return [rows.mean(dim=0).double().numpy() for _, rows in batch.each(self.network)]

    def to_json(self, answer: Places) -> dict[str, Any]:
        """Return an answer as plain data, to a thousandth of a pixel."""
        return {"hands": [round(value, 3) for value in answer.tolist()]}

    def from_json(self, line: dict[str, Any]) -> Places:
        """Return the answer in a line."""
        return np.array(line["hands"], dtype=float)
