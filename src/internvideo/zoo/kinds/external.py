"""Encoders of other libraries; their files are read by `zoo.external`, not told by their shapes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from torch import nn

from internvideo.errors import CheckpointError
from internvideo.models import external
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.shapes import Shapes

__all__ = ["CLASSIFIER", "ENCODER", "EXTERNAL", "PROBE", "TWO_TOWERS"]


def _infer(shapes: Shapes, base: Any) -> Any:
    raise CheckpointError("a model of another library needs its config.json; give its folder")


def _kind(
    name: str, model: type[nn.Module], config: type = external.ExternalConfig
) -> Architecture:
    return Architecture(
        id=f"external/{name}",
        model=model,
        config=config,
        sizes={},
        tiny={},
        tables={},
        infer=_infer,
        traits=asdict,
        preset="viclip-eval",
    )


ENCODER = _kind("encoder", external.ExternalEncoder)
CLASSIFIER = _kind("classifier", external.ExternalClassifier)
TWO_TOWERS = _kind("two-towers", external.ExternalTowers)
PROBE = _kind("probe", external.ExternalProbe, external.ExternalProbeConfig)
EXTERNAL = (ENCODER, CLASSIFIER, TWO_TOWERS, PROBE)
