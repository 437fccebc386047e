"""A video classifier that knows when it sees none of its classes.

    clip ──► VideoClassifier's encoder ──► pooled ──► dropout ──► head ──► logits
    pooled features of all views of a video ──► `judge` ──► probabilities, uncertainty

    head                what it is                               its usual score
    ─────────────────   ──────────────────────────────────────   ───────────────────────────────
    linear              a linear layer                           evidential, softmax, entropy,
                                                                 dropout, openmax
    bayesian            a linear layer of normal distributions   bayesian
    reciprocal-points   logits: agreement with points that       softmax
                        stand for all that a class is not
    prototypes          logits: the opposite of it               softmax

A video whose uncertainty is above `config.threshold`, which comes from training videos, is unknown.
The names of the weights are those of `VideoClassifier`.

Letters: b clips, v views, c channels, (t, y, x) frames, rows and columns; d width, k classes.

Source: InternVideo's open-set recognition; DEAR (arXiv 2107.10161) and its baselines.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from internvideo.models import classifier
from internvideo.models.bayesian import BayesianLinear
from internvideo.models.classifier import VideoClassifier, VideoClassifierConfig
from internvideo.models.contract import Judgement
from internvideo.models.layers import init_module
from internvideo.models.openmax import OpenMax
from internvideo.models.uncertainty import Dirichlet, Evidence, bald

__all__ = ["SIZES", "CenterLinear", "OpenSetClassifier", "OpenSetClassifierConfig", "Score"]

Score = Literal["evidential", "softmax", "entropy", "dropout", "bayesian", "openmax"]
Head = Literal["linear", "bayesian", "reciprocal-points", "prototypes"]

_PASSES = 10
_SEED = 1234


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenSetClassifierConfig(VideoClassifierConfig):
    """Shape of an `OpenSetClassifier`, and how it judges.

    Attributes:
        head_kind: see above.
        score: what makes a video unknown; "bayesian" goes with that head, "openmax" with fitted
            distributions, "dropout" with a `head_drop_rate`.
        evidence: for "evidential".
        num_centers: points of a class, for "reciprocal-points".
        threshold: uncertainty above which a video is unknown; None is not known yet.
    """

    num_frames: int = 32
    positions: Literal["direct", "base-grid", "learnable", "umt"] = "direct"
    head_drop_rate: float = 0.5
    init_scale: float = 1.0
    head_kind: Head = "linear"
    score: Score = "evidential"
    evidence: Evidence = "exp"
    num_centers: int = 1
    threshold: float | None = None

    def __post_init__(self) -> None:
        VideoClassifierConfig.__post_init__(self)
        for name, known in (("head_kind", Head), ("score", Score), ("evidence", Evidence)):
            if (value := getattr(self, name)) not in get_args(known):
                names = ", ".join(map(repr, get_args(known)))
                raise ValueError(f"{name} {value!r} is not one of {names}")
        if self.num_classes < 2:
            raise ValueError(f"num_classes {self.num_classes}: of one class nothing differs")
        if (self.head_kind == "bayesian") != (self.score == "bayesian"):
            raise ValueError(f"head_kind {self.head_kind!r} does not go with score {self.score!r}")
        if self.num_centers < 1 or (self.num_centers > 1 and self.head_kind == "prototypes"):
            raise ValueError(f"num_centers {self.num_centers} is not possible: {self.head_kind}")


class CenterLinear(nn.Module):
    """Logits from the agreement of features with points of each class.

    Args:
        in_features: d.
        out_features: k.
        num_centers: points of a class, whose agreement is averaged.
        negated: the logits are the opposite.
    """

    def __init__(
        self, in_features: int, out_features: int, *, num_centers: int = 1, negated: bool = False
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.num_centers, self.negated = num_centers, negated
        self.weight = nn.Parameter(torch.empty(out_features * num_centers, in_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the points anew."""
        nn.init.normal_(self.weight, std=0.1)

    def forward(self, features: Float[Tensor, "*b d"]) -> Float[Tensor, "*b k"]:
        """Return the logits."""
        agreement = F.linear(features, self.weight).unflatten(-1, (-1, self.num_centers)).mean(-1)
        return -agreement if self.negated else agreement

    def pull(self, features: Float[Tensor, "b d"], labels: Int[Tensor, " b"]) -> Float[Tensor, ""]:
        """Return half the mean square distance of features from the one point of their class."""
        return 0.5 * (features - self.weight[labels]).square().mean()


class OpenSetClassifier(VideoClassifier):
    """Video classifier with an uncertainty; call it with a normalised clip to get its logits."""

    capabilities = frozenset({"features", "embed", "classes", "unknown"})
    config: OpenSetClassifierConfig
    openmax_centers: Tensor
    openmax_weibull: Tensor

    def __init__(self, config: OpenSetClassifierConfig) -> None:
        super().__init__(config)
        width, classes = config.head_width, config.num_classes
        match config.head_kind:
            case "linear":
                self.reset_head()
            case "bayesian":
                self.head = BayesianLinear(width, classes)
            case kind:
                self.head = CenterLinear(
                    width, classes, num_centers=config.num_centers, negated=kind == "prototypes"
                )
        if config.score == "openmax":
            self.register_buffer("openmax_centers", torch.zeros(classes, width))
            self.register_buffer("openmax_weibull", torch.zeros(classes, 3))

    @torch.no_grad()
    def reset_head(self) -> None:
        """Draw the head anew, for a new set of classes on an old encoder."""
        if isinstance(self.head, nn.Linear):
            init_module(self.head, linear=partial(nn.init.normal_, std=0.01))
            self.head.weight.mul_(self.config.init_scale)
        elif not isinstance(self.head, nn.Identity):
            self.head.reset_parameters()
        for name, buffer in self.named_buffers():
            if name.startswith("openmax_"):
                buffer.zero_()

    @property
    def threshold(self) -> float | None:
        """Uncertainty above which a video is unknown; None where no training videos told it."""
        return self.config.threshold

    def keep_openmax(self, fitted: OpenMax) -> None:
        """Take over the distributions of training videos."""
        centers, weibull = fitted.packed()
        self.openmax_centers.copy_(centers)
        self.openmax_weibull.copy_(weibull)

    @torch.no_grad()
    def judge(self, features: Float[Tensor, "v d"], *, score: Score | None = None) -> Judgement:
        """Return what a video is, and how unsure that is, from the pooled features of its views.

        Args:
            features: of all views; their logits are averaged.
            score: another one than that of the configuration.

        Raises:
            ValueError: a score that this head does not have.
        """
        score = score or self.config.score
        features = features.to(next(self.head.parameters()))
        self.refuse(score)
        if score in ("dropout", "bayesian"):
            return self._judge_passes(features, score)
        logits = self.head(features).mean(dim=0)
        if score == "openmax":
            fitted = OpenMax.unpacked(self.openmax_centers, self.openmax_weibull)
            [shares] = fitted.probabilities(logits[None], features.mean(dim=0)[None])
            return Judgement.of(shares[:-1].float(), shares[-1] / (shares[-1] + shares[:-1].max()))
        if score == "evidential":
            found = Dirichlet.of_logits(logits, self.config.evidence)
            return Judgement.of(found.probabilities, found.uncertainty)
        return Judgement.of_logits(logits, by_entropy=score == "entropy")

    def _judge_passes(self, features: Float[Tensor, "v d"], score: Score) -> Judgement:
        """Judge by how much passes with other weights disagree."""
        passes: list[Tensor] = []
        for number in range(_PASSES):
            generator = torch.Generator().manual_seed(_SEED * number)
            if score == "bayesian":
                assert isinstance(self.head, BayesianLinear)
                drawn = F.linear(features, *self.head.draw(generator))
                logits = (drawn + self.head(features)) / 2
            else:
                rate = self.config.head_drop_rate
                kept = torch.rand(features.shape, generator=generator) >= rate
                logits = self.head(features * kept.to(features) / (1 - rate))
            passes.append(logits.mean(dim=0).softmax(dim=0))
        shares = torch.stack(passes)
        return Judgement.of(shares.mean(dim=0), bald(shares))

    def refuse(self, score: Score) -> None:
        """Refuse a score that this model does not have.

        Raises:
            ValueError: says why not.
        """
        if (score == "bayesian") != (self.config.head_kind == "bayesian"):
            raise ValueError(f"a {self.config.head_kind} head has no score {score!r}")
        if score == "dropout" and not self.config.head_drop_rate:
            raise ValueError("the score 'dropout' needs a model with a head_drop_rate above 0")
        if score == "openmax" and self.config.score != score:
            raise ValueError("the score 'openmax' needs a model trained for it, with its fits")


def _size(name: str) -> OpenSetClassifierConfig:
    size = classifier.SIZES[name]
    return OpenSetClassifierConfig(
        num_classes=101,
        patch_size=size.patch_size,
        width=size.width,
        depth=size.depth,
        num_heads=size.num_heads,
        mlp_ratio=size.mlp_ratio,
    )


SIZES: dict[str, OpenSetClassifierConfig] = {name: _size(name) for name in classifier.SIZES}
"""The published sizes for the 101 classes of UCF101; `dataclasses.replace` makes others."""
