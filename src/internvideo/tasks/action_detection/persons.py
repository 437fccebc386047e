"""Boxes around people in a picture, by a detector of torchvision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from jaxtyping import UInt8
from torch import Tensor

from internvideo.annotations import ActorBox
from internvideo.errors import CheckpointError, ConfigError, did_you_mean
from internvideo.zoo import environment

__all__ = ["DETECTORS", "PersonDetector", "load_person_detector"]

DETECTORS = (
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "retinanet_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
)
"""Detectors of torchvision that were trained on COCO, the most precise first."""

_PERSON = 1  # among the classes of COCO
_NUM_COCO = 91


@dataclass(frozen=True, slots=True)
class PersonDetector:
    """Finds people in single pictures.

    Attributes:
        network: a detection model of torchvision with the classes of COCO.
        least_score: of the boxes that are kept.
    """

    network: Any
    least_score: float = 0.8

    @torch.no_grad()
    def __call__(self, picture: UInt8[Tensor, "h w 3"], time: float = 0.0) -> tuple[ActorBox, ...]:
        """Return the boxes of people, as fractions of the picture, the surest first."""
        device = next(self.network.parameters()).device
        height, width = picture.shape[:2]
        [found] = self.network([picture.permute(2, 0, 1).to(device).float() / 255])
        kept = (found["labels"] == _PERSON) & (found["scores"] >= self.least_score)
        sides = found["boxes"][kept].cpu() / torch.tensor([width, height] * 2)
        scores = found["scores"][kept].cpu().tolist()
        return tuple(
            ActorBox(time=time, box=(x1, y1, x2, y2), score=score)
            for (x1, y1, x2, y2), score in zip(sides.clamp(0, 1).tolist(), scores, strict=True)
        )


def load_person_detector(
    name: str = DETECTORS[0],
    weights: Path | None = None,
    *,
    least_score: float = 0.8,
    device: torch.device | str = "cpu",
) -> PersonDetector:
    """Return a detector of torchvision.

    Args:
        name: one of `DETECTORS`.
        weights: its file; None is that of torchvision, fetched once into the cache of PyTorch.
        least_score: of the boxes that are kept.
        device: where it runs.

    Raises:
        ConfigError: there is no such detector.
        CheckpointError: the weights cannot be had, or do not fit.
    """
    if name not in DETECTORS:
        raise ConfigError(
            f"no detector of persons {name!r}; one of: {', '.join(DETECTORS)}."
            f"{did_you_mean(name, DETECTORS)}"
        )
    from torchvision import models  # slow to import  # pyright: ignore

    state = _state(models.get_model_weights(name).DEFAULT, name, weights)  # type: ignore[arg-type]
    network = models.get_model(name, weights=None, weights_backbone=None, num_classes=_NUM_COCO)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).split("\n")[1].strip() if "\n" in str(error) else str(error)
        raise CheckpointError(f"{weights} is not of {name}: {reason}") from None
    return PersonDetector(network.eval().to(device), least_score)


def _state(published: Any, name: str, weights: Path | None) -> dict[str, Tensor]:
    """Read the weights of a file, or those that torchvision publishes."""
    if weights is not None:
        try:
            return torch.load(weights, map_location="cpu", weights_only=True)
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise CheckpointError(
                f"{weights} cannot be read as weights of {name}: {reason}"
            ) from None
    cached = Path(torch.hub.get_dir()) / "checkpoints" / published.url.rpartition("/")[2]
    by_hand = (
        f"fetch {published.url} by hand and give it as --person-weights, or give boxes as --boxes"
    )
    if environment.is_offline() and not cached.is_file():
        raise CheckpointError(f"{name} is not in the cache, and offline mode is on; {by_hand}")
    try:
        return published.get_state_dict(progress=False, check_hash=True, map_location="cpu")
    except (URLError, OSError, RuntimeError) as error:
        raise CheckpointError(
            f"the weights of {name} cannot be fetched ({error}); {by_hand}"
        ) from None
