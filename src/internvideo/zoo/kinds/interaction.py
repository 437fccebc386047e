"""InternVideo: two encoders that look at each other; known by its `config.json`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from internvideo.errors import CheckpointError
from internvideo.models import interaction
from internvideo.models.interaction import InternVideo, InternVideoConfig, TowerConfig
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.kinds import uniformerv2, viclip, videomae
from internvideo.zoo.shapes import Shapes

__all__ = ["INTERACTION"]


def _infer(shapes: Shapes, base: Any) -> InternVideoConfig:
    raise CheckpointError("an InternVideo needs its config.json; give its folder")


def _tower(encoder: Any) -> TowerConfig:
    return TowerConfig(encoder=encoder, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


_CLASSES = 5
_MASKED = _tower(
    replace(next(iter(videomae.CLASSIFIER.tiny.values())), num_frames=4, num_classes=_CLASSES)
)
_UNIFORMER = _tower(replace(uniformerv2.TINY_CLASSIFIER, num_classes=_CLASSES))
_TINY = InternVideoConfig(
    masked=_MASKED, multimodal=_UNIFORMER, num_classes=_CLASSES, stages=2, head_dim=8
)

INTERACTION = Architecture(
    id="internvideo",
    model=InternVideo,
    config=InternVideoConfig,
    sizes=interaction.SIZES,
    tiny={
        "insert": _TINY,
        "side": replace(
            _TINY, wiring="side", multimodal=_tower(next(iter(viclip.VICLIP.tiny.values())))
        ),
        "third": replace(_TINY, wiring="side", third=_UNIFORMER),
    },
    tables={},
    infer=_infer,
    traits=lambda config: {
        "encoders": [type(tower.encoder).__name__ for tower in config.towers.values()],
        "widths": [tower.seeing.width for tower in config.towers.values()],
        "depths": [tower.seeing.depth for tower in config.towers.values()],
        "wiring": config.wiring,
    },
    preset="interaction",
)
