"""Training an open-set classifier: evidence, or one of the baselines, on clips of known classes.

    method               loss                                   the model judges by
    ──────────────────   ────────────────────────────────────   ─────────────────────────────────
    evidential           evidence for the class (Dirichlet)     evidence that is missing
    softmax              cross-entropy                          1 - highest probability
    dropout              cross-entropy                          passes with dropout that disagree
    openmax              cross-entropy                          distance from the class's videos
    bayesian             cross-entropy, cost of the weights     draws of weights that disagree
    reciprocal-points    cross-entropy, features near a radius  1 - highest probability
    prototypes           cross-entropy, features near a point   1 - highest probability

With any of them, `debias` trains a head on the encoder's volume besides, see `debias`.

Source: InternVideo's open-set recognition (evidential, exp, log; no calibration, no debiasing);
DEAR (arXiv 2107.10161) and its baselines.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from internvideo.config import NonNegative, config_class
from internvideo.data.samples import Sample
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.arrays import from_numpy
from internvideo.models.bayesian import BayesianLinear
from internvideo.models.open_set import CenterLinear, OpenSetClassifier
from internvideo.tasks.open_set.debias import DebiasHead
from internvideo.tasks.open_set.losses import (
    EvidentialConfig,
    center_distance,
    complexity,
    evidential_loss,
    radius_loss,
)
from internvideo.tasks.parts import Parts
from internvideo.train.task import TrainableTask
from internvideo.video.augment import Augmentation
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.training_input import TrainingInput

__all__ = ["OpenSetConfig", "OpenSetTraining", "build"]

Method = Literal[
    "evidential", "softmax", "dropout", "openmax", "bayesian", "reciprocal-points", "prototypes"
]

_HEADS = ("bayesian", "reciprocal-points", "prototypes")
_SCORES = ("evidential", "dropout", "openmax", "bayesian")


@config_class
class OpenSetConfig:
    """Open-set recognition: known classes, and whether a video shows one of them at all."""

    kind: Literal["open-set"] = "open-set"
    method: Method = "evidential"
    evidential: EvidentialConfig = Field(default_factory=EvidentialConfig)
    freeze_encoder: bool = Field(default=False, description="train the head alone")
    open_weight: NonNegative = Field(
        default=0.1, description="of the open loss of reciprocal points and prototypes"
    )
    num_centers: PositiveInt = Field(default=1, description="reciprocal points of a class")
    radius_of_distance: bool = Field(
        default=False, description="reciprocal points as in the paper, see losses.radius_loss"
    )
    passes: PositiveInt = Field(default=2, description="draws of weights a step, bayesian")
    complexity_weight: NonNegative = Field(default=1e-6, description="of the weights, bayesian")
    debias: Literal["none", "joint", "alternating"] = "none"
    debias_weight: NonNegative = 0.1
    dependence_weight: NonNegative = Field(default=0.5, description='of HSIC, "alternating"')


class OpenSetTraining(TrainableTask[OpenSetClassifier]):
    """Trains an `OpenSetClassifier` on clips with a known class each."""

    def __init__(
        self,
        model: OpenSetClassifier,
        preprocessing: Preprocessing,
        config: OpenSetConfig,
        *,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.input = TrainingInput(preprocessing, augmentation)
        if config.method == "reciprocal-points":
            self.radius = nn.Parameter(torch.zeros(1))
        self.debias = None
        if config.debias != "none":
            self.debias = DebiasHead(
                model.config.width,
                model.config.num_classes,
                mode=config.debias,
                weight=config.debias_weight,
                dependence_weight=config.dependence_weight,
            )

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Return `video` "t s s c", `label`, and what was drawn.

        Raises:
            DataError: the sample has no label, or one outside the known classes.
        """
        known = self.model.config.num_classes
        if sample.label is None or not 0 <= sample.label < known:
            raise DataError(
                f"{sample.key or 'a clip'} has the label {sample.label}; training takes clips of "
                f"the known classes only, numbered from 0 to {known - 1}"
            )
        drawn = self.input.prepare(from_numpy(sample.frames), rng)
        return [{**drawn, "label": torch.tensor(sample.label)}]

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return `loss`, its parts, `top1`, and of the evidential method the mean uncertainty."""
        model, labels = self.model, batch["label"]
        found = model.forward_features(self.input.finish(batch))
        features = model.pool(found).float()
        terms, logits, watched = self._terms(features, labels)
        if self.debias is not None:
            volume = found.volume().permute(0, 4, 1, 2, 3)
            terms |= self.debias(volume, labels, step=self.progress.step)
        hits = logits.detach().argmax(dim=1) == labels
        total = torch.stack(list(terms.values())).sum()
        shown = {name: value.detach() for name, value in terms.items()}
        return {"loss": total, **shown, **watched, "top1": hits.float().mean()}

    def _terms(
        self, features: Float[Tensor, "b d"], labels: Int[Tensor, " b"]
    ) -> tuple[dict[str, Tensor], Float[Tensor, "b k"], dict[str, Tensor]]:
        """Return the terms of the loss, the logits, and what is only watched."""
        config, head = self.config, self.model.head
        if isinstance(head, BayesianLinear):
            draws = [head.draw() for _ in range(config.passes)]
            logits = torch.stack([F.linear(features, *each) for each in draws]).mean(dim=0)
            prior, posterior = complexity(head, draws)
            cost = config.complexity_weight * (posterior - prior)
            return {"fit": F.cross_entropy(logits, labels), "complexity": cost}, logits, {}
        features = self.model.head_drop(features)
        logits = head(features)
        if config.method == "evidential":
            progress = self.progress
            loss = evidential_loss(
                logits, labels, config.evidential, epoch=progress.epoch,
                num_epochs=progress.num_epochs,
            )  # fmt: skip
            return {"evidential": loss.total}, logits, {"uncertainty": loss.uncertainty.mean()}
        terms = {"fit": F.cross_entropy(logits, labels)}
        if self.config.method in ("reciprocal-points", "prototypes"):
            terms["open"] = config.open_weight * self._open_loss(features, labels, head)
        return terms, logits, {}

    def _open_loss(
        self, features: Float[Tensor, "b d"], labels: Int[Tensor, " b"], head: CenterLinear
    ) -> Float[Tensor, ""]:
        if self.config.method == "prototypes":
            return head.pull(features, labels)
        distance = None
        if self.config.radius_of_distance:
            squares = center_distance(features, head.weight, head.num_centers)
            distance = squares.gather(1, labels[:, None])[:, 0]
        return radius_loss(features, self.radius, distance)


def build(config: OpenSetConfig, parts: Parts) -> OpenSetTraining:
    """Build the task of a recipe; its encoder starts from `init`, its head anew."""
    parts.refuse("init_labels")
    method = config.method
    fields: dict[str, Any] = {
        "head_kind": method if method in _HEADS else "linear",
        "score": method if method in _SCORES else "softmax",
        "evidence": config.evidential.evidence,
        "num_centers": config.num_centers if method == "reciprocal-points" else 1,
    }
    if twice := fields.keys() & parts.model.keys():
        raise ConfigError(f"model.{min(twice)} follows from the task: remove it")
    model = parts.build_model(fields)
    parts.start_encoder(model)
    if parts.with_weights:
        model.reset_head()
    if config.freeze_encoder:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith("head."))
    return OpenSetTraining(model, parts.preprocessing, config, augmentation=parts.augmentation)
