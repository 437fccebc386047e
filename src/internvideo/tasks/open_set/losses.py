"""What open-set classifiers are trained by: evidence, reciprocal points, distributed weights.

Letters: b clips, d width of the features, k classes, c centres of a class.

Source: DEAR (arXiv 2107.10161) and its baselines; fixtures `openset-edl`, `openset-rpl`,
`openset-gcp`, `openset-bnn-train`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from internvideo.config import NonNegative, Positive, config_class
from internvideo.models.bayesian import BayesianLinear, Prior, Weights
from internvideo.models.uncertainty import Dirichlet, Evidence

__all__ = [
    "EvidentialConfig",
    "EvidentialLoss",
    "center_distance",
    "complexity",
    "evidential_loss",
    "radius_loss",
]

_EPS = 1e-10
_SMALLEST = 0.01


@config_class
class EvidentialConfig:
    """The evidential loss.

    Attributes:
        evidence: what of the logits is evidence.
        rule: "log" and "digamma" are the expected and the mean log likelihood; "mse" and
            "cross-entropy" add the variance, "cross-entropy" always the divergence as well.
        divergence: also draw the evidence for wrong classes to none; with weight lambda.
        calibration: also make hits certain and mistakes uncertain: "product" weighs the log
            uncertainty by the confidence, "joint" takes the log of both; for "log" and "digamma".
            Its weight moves from the mistakes to the hits with lambda.
        annealing: of lambda: "step" rises to 1 in `annealing_epochs`, "exp" from `annealing_start`
            towards 1 over the run.
        annealing_epochs: for "step".
        annealing_start: for "exp".
    """

    evidence: Evidence = "exp"
    rule: Literal["log", "digamma", "mse", "cross-entropy"] = "log"
    divergence: bool = False
    calibration: Literal["none", "product", "joint"] = "none"
    annealing: Literal["step", "exp"] = "exp"
    annealing_epochs: Positive = 10
    annealing_start: NonNegative = Field(default=_SMALLEST, gt=0, le=1)

    def weight(self, epoch: float, num_epochs: float) -> float:
        """Return lambda in an epoch, counted from 0."""
        if self.annealing == "step":
            return min(1.0, epoch / self.annealing_epochs)
        return self.annealing_start ** (1 - epoch / num_epochs)


@dataclass(frozen=True, slots=True)
class EvidentialLoss:
    """The terms of the loss, a value a clip; those that are not asked for are None.

    Attributes:
        fit: of the classes.
        variance: of the probabilities.
        divergence: of the evidence for wrong classes.
        calibration: of certainty and being right.
        uncertainty: of each clip.
        evidence: the sum over the classes.
        hit: whether the class with most evidence is the true one.
    """

    fit: Float[Tensor, " b"]
    variance: Float[Tensor, " b"] | None
    divergence: Float[Tensor, " b"] | None
    calibration: Float[Tensor, " b"] | None
    uncertainty: Float[Tensor, " b"]
    evidence: Float[Tensor, " b"]
    hit: Float[Tensor, " b"]

    @property
    def total(self) -> Float[Tensor, ""]:
        """The sum of the means of all terms."""
        terms = (self.fit, self.variance, self.divergence, self.calibration)
        return torch.stack([term.mean() for term in terms if term is not None]).sum()

    def evidence_where(self, hit: bool) -> Float[Tensor, ""]:
        """Return the mean evidence of the hits, or of the mistakes; 0 of none."""
        chosen = self.hit if hit else 1 - self.hit
        return (self.evidence * chosen).sum() / chosen.sum().clamp(min=_EPS)


def evidential_loss(
    logits: Float[Tensor, "b k"],
    labels: Int[Tensor, " b"],
    config: EvidentialConfig,
    *,
    epoch: float = 0,
    num_epochs: float = 1,
) -> EvidentialLoss:
    """Return the evidential loss of logits, term by term.

    Args:
        logits: of the clips.
        labels: their classes.
        config: which terms.
        epoch: of the run, from 0; it sets lambda.
        num_epochs: of the whole run.
    """
    found = Dirichlet.of_logits(logits, config.evidence)
    alpha, strength = found.alpha, found.strength[:, None]
    target = F.one_hot(labels, logits.shape[1]).to(alpha.dtype)
    share = config.weight(epoch, num_epochs)
    probabilities = found.probabilities
    variance: Tensor | None = None
    match config.rule:
        case "log":
            fit = (target * (strength.log() - alpha.log())).sum(dim=1)
        case "digamma":
            fit = (target * (strength.digamma() - alpha.digamma())).sum(dim=1)
        case "mse":
            fit = (target - probabilities).square().sum(dim=1)
        case "cross-entropy":
            fit = -(target * probabilities.log()).sum(dim=1)
    if config.rule in ("mse", "cross-entropy"):
        spread = alpha * (strength - alpha) / (strength.square() * (strength + 1))
        variance = spread.sum(dim=1)
    divergence: Tensor | None = None
    calibration: Tensor | None = None
    if config.divergence or config.rule == "cross-entropy":
        divergence = share * _divergence((alpha - 1) * (1 - target) + 1)
    hit = (alpha.argmax(dim=1) == labels).to(alpha.dtype)
    if config.calibration != "none" and config.rule in ("log", "digamma"):
        calibration = _calibration(found, hit, share, joint=config.calibration == "joint")
    return EvidentialLoss(
        fit, variance, divergence, calibration, found.uncertainty.detach(),
        (alpha - 1).sum(dim=1).detach(), hit,
    )  # fmt: skip


def _divergence(alpha: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """Return the KL divergence of Dirichlet distributions from the uniform one."""
    total, classes = alpha.sum(dim=1, keepdim=True), torch.tensor(float(alpha.shape[1]))
    logs = total.lgamma()[:, 0] - alpha.lgamma().sum(dim=1) - classes.lgamma().to(alpha.device)
    return logs + ((alpha - 1) * (alpha.digamma() - total.digamma())).sum(dim=1)


def _calibration(
    found: Dirichlet, hit: Float[Tensor, " b"], share: float, *, joint: bool
) -> Float[Tensor, " b"]:
    """Return the term that wants hits to be certain, and mistakes uncertain (DEAR, eq. 4)."""
    confidence, doubt = found.probabilities.amax(dim=1), found.uncertainty
    if joint:
        certain = -(confidence * (1 - doubt) + _EPS).log()
        uncertain = -((1 - confidence) * doubt + _EPS).log()
    else:
        certain = -confidence * (1 - doubt + _EPS).log()
        uncertain = -(1 - confidence) * (doubt + _EPS).log()
    return share * hit * certain + (1 - share) * (1 - hit) * uncertain


def center_distance(
    features: Float[Tensor, "b d"], centers: Float[Tensor, "kc d"], num_centers: int = 1
) -> Float[Tensor, "b k"]:
    """Return the mean square distance of features from the centres of each class."""
    squares = features.square().mean(dim=1, keepdim=True) + centers.square().mean(dim=1)
    distance = squares - 2 * features @ centers.T / features.shape[1]
    return distance.reshape(len(features), -1, num_centers).mean(dim=2)


def radius_loss(
    features: Float[Tensor, "b d"], radius: Float[Tensor, "1"], distance: Tensor | None = None
) -> Float[Tensor, ""]:
    """Return the open loss of reciprocal points, without its weight.

    COMPAT: the released loss compares the features themselves with the radius, and drops the
    distance from the reciprocal points that the paper means; pinned by golden `openset-rpl`.

    Args:
        features: of the clips.
        radius: learnt.
        distance: from the point of each clip's class, "b"; given, it is compared as in the paper.
    """
    return 0.5 * ((features if distance is None else distance) - radius).square().mean()


def complexity(
    layer: BayesianLinear, draws: list[Weights], prior: Prior | None = None
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the log prior and the log posterior of drawn weights, means over the draws."""
    priors = [layer.log_prior(each, prior or Prior()) for each in draws]
    return torch.stack(priors).mean(), torch.stack(
        [layer.log_posterior(each) for each in draws]
    ).mean()
