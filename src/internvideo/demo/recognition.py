"""The other half of the demonstration: a classifier, and what its pretraining is worth."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from internvideo.demo.action_tally import ActionTally
from internvideo.demo.report import Rate
from internvideo.demo.world_report import ClipBatch, one_frame_repeated
from internvideo.errors import ConfigError, VideoError
from internvideo.models.videomae import VideoMAE
from internvideo.pipeline import VideoModel
from internvideo.tasks.masked.viewer import reconstruct
from internvideo.video import Video
from internvideo.world import ACTIONS
from internvideo.world.scene import Scene

__all__ = ["LabelEfficiency", "Picture", "Recognition", "draw_reconstruction", "recognize_clips"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelEfficiency:
    """What fine-tuning reaches with few labels, with and without pretraining.

    Attributes:
        rows: one a label count and arm: `labels`, `arm`, `accuracy_mean`, `accuracy_sd`,
            `pair_mean`, `seeds`, `lr`.
        gains: label count → pretrained minus scratch in points, one number a seed.
        test_clips: unseen clips that each run was measured on.
        command: what made the numbers.
        machine: where.
    """

    rows: tuple[Mapping[str, Any], ...]
    gains: Mapping[str, list[float]]
    test_clips: int
    command: str
    machine: str

    @classmethod
    def beside(cls, model: VideoModel) -> LabelEfficiency | None:
        """Return the numbers that lie beside the weights of an embedded model, if there are any."""
        directory = model.card.directory if model.card else None
        path = None if directory is None else directory / "label_efficiency.json"
        if path is None or not path.is_file():
            return None
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            rows=tuple(values["rows"]),
            gains=values["gains"],
            test_clips=values["test_clips"],
            command=values["command"],
            machine=values["machine"],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A picture of the page.

    Attributes:
        source: the file, or a data URI.
        title: what it shows, in one line.
    """

    source: str
    title: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Recognition:
    """How a classifier fares on the clips of the demonstration.

    Attributes:
        model: its name.
        about: what it is, in a sentence or two.
        rates: names as in `report.MEASURES`.
        num_clips: unseen clips that it was asked about.
        efficiency: what its pretraining is worth, if that was measured.
        reconstruction: what its pretrained half makes of a hidden clip, if there is one.
    """

    model: str
    about: str
    rates: Mapping[str, Rate]
    num_clips: int
    efficiency: LabelEfficiency | None = None
    reconstruction: Picture | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain data."""
        efficiency = self.efficiency
        return {
            "model": self.model,
            "num_clips": self.num_clips,
            "rates": {name: rate.to_dict() for name, rate in self.rates.items()},
            "label_efficiency": efficiency
            and {
                "rows": [dict(row) for row in efficiency.rows],
                "gains": dict(efficiency.gains),
                "test_clips": efficiency.test_clips,
                "command": efficiency.command,
                "machine": efficiency.machine,
            },
        }


def recognize_clips(model: VideoModel, clips: Iterable[ClipBatch]) -> Recognition:
    """Classify clips of known actions, and again with one frame of each repeated, as a control.

    Raises:
        ConfigError: the classes of the model are not the actions of the world.
    """
    if model.labels != ACTIONS:
        raise ConfigError(f"the classes of {model.name} are not the actions of the world")
    scores: list[Tensor] = []
    stills: list[Tensor] = []
    truths: list[Scene] = []
    for batch in clips:
        scores.append(_scores(model, batch.frames))
        stills.append(_scores(model, one_frame_repeated(batch)))
        truths += batch.truths
    tally, control = (ActionTally(truths, torch.cat(part)) for part in (scores, stills))
    millions = sum(parameter.numel() for parameter in model.model.parameters()) / 1e6
    return Recognition(
        model=model.name,
        about=model.card.description
        if model.card
        else f"A classifier with {millions:.1f} million weights",
        rates={**tally.rates(), **control.control_rates()},
        num_clips=len(truths),
        efficiency=LabelEfficiency.beside(model),
    )


def _scores(model: VideoModel, clips: UInt8[Tensor, "b t h w c"]) -> Float[Tensor, "b a"]:
    """Return the probability of each action, in the order of the world."""
    rows = []
    for answer in model.classify_many(clips):
        if isinstance(answer, VideoError):
            raise answer
        shares = dict(zip(answer.labels, answer.probabilities, strict=True))
        rows.append([shares[action] for action in ACTIONS])
    return torch.tensor(rows)


def draw_reconstruction(model: VideoModel, video: Path, out: Path) -> Picture:
    """Hide half of a clip, let a masked autoencoder fill it in, and draw that into `out` (.png).

    Raises:
        ConfigError: the model is no masked autoencoder.
    """
    if not isinstance(model.model, VideoMAE):
        raise ConfigError(f"{model.name} is no masked autoencoder")
    with Video(video) as opened:
        [clip] = model.preprocessing.load(opened)
    result = reconstruct(
        model.model, clip, model.preprocessing, name=model.name, mask="tube", mask_ratio=0.5
    )
    result.save(out)
    encoded = base64.b64encode(out.read_bytes()).decode("ascii")
    return Picture(source=f"data:image/png;base64,{encoded}", title=result.title)
