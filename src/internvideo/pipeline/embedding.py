"""One vector of a clip, whatever kind of model there is."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.errors import ConfigError
from internvideo.models.classifier import VideoClassifier
from internvideo.models.probe import ProbeClassifier
from internvideo.models.videomae import VideoMAE
from internvideo.pipeline.labelling import is_two_tower

__all__ = ["clip_vectors"]


def clip_vectors(
    model: nn.Module, clips: Float[Tensor, "b c t y x"], *, name: str
) -> Float[Tensor, "b d"]:
    """Return a vector of unit length for each clip, in float32.

    Two-tower models embed into the space of their sentences; classifiers give the feature in front
    of their head, encoders their class token or the mean of their tokens.

    Args:
        model: of the zoo.
        clips: normalised, on the device of the model.
        name: of the model, for messages.

    Raises:
        ConfigError: the model has no video encoder.
    """
    encoder: Any = model
    if is_two_tower(model):
        vectors = model.encode_video(clips)
    elif isinstance(model, VideoClassifier):
        vectors = model.pool(model.forward_features(clips))
    elif isinstance(model, VideoMAE | ProbeClassifier):
        vectors = model.encoder(clips).pool("mean")
    elif hasattr(model, "forward_features"):
        features = encoder.forward_features(clips)
        vectors = features.pool("mean") if features.cls is None else features.cls
    else:
        raise ConfigError(f"{name} gives no embeddings of videos")
    return F.normalize(vectors.float(), dim=1)
