"""The other half of the demonstration: a classifier, and what its pretraining is worth."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from internvideo.demo.report import WorldReport
from internvideo.pipeline import VideoModel
from internvideo.tasks.masked.viewer import reconstruct_video
from internvideo.video.opening import AnyVideo

__all__ = ["Picture", "Recognition", "draw_reconstruction", "label_efficiency"]

_EFFICIENCY = ("rows", "gains", "test_clips", "command", "machine")


class Picture(NamedTuple):
    """A picture of the page: the file or a data URI, and what it shows in one line."""

    source: str
    title: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Recognition:
    """What the classifier adds to the demonstration.

    Attributes:
        report: what it makes of the clips.
        about: what it is, in a sentence or two.
        efficiency: what its pretraining is worth, if that was measured, see `label_efficiency`.
        reconstruction: what its pretrained half makes of a hidden clip, if there is one.
    """

    report: WorldReport
    about: str
    efficiency: Mapping[str, Any] | None = None
    reconstruction: Picture | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain data."""
        return {
            "model": self.report.model,
            "num_clips": self.report.num_answered,
            "rates": {name: rate.to_dict() for name, rate in self.report.rates.items()},
            "label_efficiency": self.efficiency,
        }


def label_efficiency(model: VideoModel) -> dict[str, Any] | None:
    """Return what lies beside the weights of an embedded model: fine-tuning with few labels.

    `rows` has an entry for each label count and arm (`labels`, `arm`, `accuracy_mean`,
    `accuracy_sd`, `pair_mean`, `seeds`, `lr`), `gains` for each label count the pretrained minus
    the scratch accuracy in points, one number a seed; `test_clips` are the unseen clips that each
    run was measured on, `command` and `machine` say what made the numbers, and where.
    """
    directory = model.card.directory if model.card else None
    path = None if directory is None else directory / "label_efficiency.json"
    if path is None or not path.is_file():
        return None
    values = json.loads(path.read_text(encoding="utf-8"))
    return {name: values[name] for name in _EFFICIENCY}


def draw_reconstruction(model: VideoModel, video: AnyVideo, out: Path) -> Picture:
    """Hide half of a clip, let a masked autoencoder fill it in, and draw that into `out` (.png).

    Raises:
        ConfigError: the model is no masked autoencoder.
    """
    result = reconstruct_video(model.loaded, video, mask_ratio=0.5)
    result.save(out)
    encoded = base64.b64encode(out.read_bytes()).decode("ascii")
    return Picture(f"data:image/png;base64,{encoded}", result.title)
