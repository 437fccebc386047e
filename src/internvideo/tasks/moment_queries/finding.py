"""Named moments without training: windows whose embedding is that of a class name.

That is the baseline which a detector has to beat.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (NumPy leaves the types of many arrays open)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from internvideo.data.feature_videos import FeatureVideoSource
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.engine import Answerer, Batch
from internvideo.evaluation.segments import Segments
from internvideo.evaluation.stretches import runs, times_of_stretches
from internvideo.evaluation.text import embed_sentences
from internvideo.formats.files import read_json
from internvideo.models.tokenizer import clean_caption
from internvideo.zoo.hub import LoadedModel

__all__ = ["SimilarMoments", "read_sentences"]


def read_sentences(path: Path | None, classes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the sentences on each class: those of a json `{"CLASS": ["…", …]}`, or its name.

    Raises:
        DataError: the file is no such json, or names none of the classes.
    """
    given: Any = {} if path is None else read_json(path)
    texts = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    if path is not None and not any(name in texts for name in classes):
        raise DataError(
            f'{path}: expected {{"CLASS": ["a sentence", …]}} with classes such as {classes[0]!r}'
        )
    found: dict[str, tuple[str, ...]] = {}
    for name in classes:
        said = texts.get(name) or name.replace("_", " ").replace("-", " ")
        found[name] = (said,) if isinstance(said, str) else tuple(map(str, said))
    return found


class SimilarMoments(Answerer[Segments]):
    """Finds stretches of windows that a two-tower model takes for a class.

    Args:
        model: made the features by `embed`.
        source: the clips.
        classes: sentences on each class, by its name.
        threshold: probability of a class, among all, from which on a window is taken for it.

    Raises:
        ConfigError: an impossible threshold.
    """

    def __init__(
        self,
        model: LoadedModel,
        source: FeatureVideoSource,
        classes: Mapping[str, Sequence[str]],
        *,
        threshold: float,
    ) -> None:
        super().__init__(model.model.eval(), model.protocol)
        if not 0 <= threshold <= 1:
            raise ConfigError(f"threshold is {threshold:g}; it must be between 0 and 1")
        self.source, self.threshold, self.name = source, threshold, model.name
        means = [self._mean(model, texts) for texts in classes.values()]
        self.sentences = F.normalize(torch.stack(means), dim=1)
        self.temperature = float(model.two_towers.temperature().detach())
        self.classes = {name: list(texts) for name, texts in classes.items()}

    def answer(self, batch: Batch) -> list[Segments]:
        """Return the stretches of each clip, the surest first, by their mean probability.

        Raises:
            ConfigError: the features are not embeddings of the model.
        """
        found: list[Segments] = []
        for video in batch.videos:
            features = replace(self.source.features(video.index), features=video.views[0])
            if features.features.shape[1] != self.sentences.shape[1]:
                raise ConfigError(
                    f"{features.source} has {features.features.shape[1]} channels, the class names "
                    f"of {self.name} have {self.sentences.shape[1]}; give its own embeddings"
                )
            rows = F.normalize(features.features.float().cpu(), dim=1)
            shares = (rows @ self.sentences.T / self.temperature).softmax(dim=1).numpy()
            end = self.source.annotated.videos[video.index].duration or features.seen_seconds
            parts = [Segments.none()]
            for label, share in enumerate(shares.T):
                places = runs(share >= self.threshold)
                scores = np.array([share[a : b + 1].mean() for a, b in places], np.float64)
                labels = np.full(len(places), label, np.int64)
                times = times_of_stretches(places, features, end)
                parts.append(Segments(times, scores, labels))
            found.append(Segments.joined(parts).by_score())
        return found

    @staticmethod
    def _mean(model: LoadedModel, texts: Sequence[str]) -> Float[Tensor, " e"]:
        spoken = [clean_caption(text) for text in texts]
        return embed_sentences(model.two_towers, spoken).cpu().mean(dim=0)

    def from_json(self, line: dict[str, Any]) -> Segments:
        """Return the moments of a line."""
        return Segments.from_dict(line)

    def identity(self) -> dict[str, Any]:
        """Add the classes and the threshold."""
        return {**super().identity(), "classes": self.classes, "threshold": self.threshold}
