"""What is measured of a model on clips of the world; everything in percent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # its name for every kind

from internvideo.data.clip_file import ClipFile
from internvideo.models.contract import VideoFeatures
from internvideo.video.preprocessing import Preprocessing
from internvideo.world import ACTIONS, reversal_of

__all__ = [
    "LinearProbe",
    "action_scores",
    "fit_linear",
    "labels_of",
    "outputs",
    "percent",
    "settle_batch_norm",
    "summary",
]

_BATCH = 100
_DECAYS = (0.1, 0.01, 0.001)
_HELD_OUT = 5  # a fifth of the training clips chooses the decay


@torch.inference_mode()
def outputs(
    function: Callable[[Float[Tensor, "b c t y x"]], Tensor],
    clips: ClipFile,
    protocol: Preprocessing,
) -> Float[Tensor, "n *d"]:
    """Return what a function says of each clip, in batches."""
    frames = clips.all_frames()
    return torch.cat([function(protocol.normalize(part)) for part in frames.split(_BATCH)])


def labels_of(clips: ClipFile) -> Int[Tensor, " n"]:
    """Return the class of each clip."""
    clips.check_labels(len(clips.class_names or ()))
    return torch.tensor([clips.label(number) for number in range(len(clips))])


def summary(features: VideoFeatures) -> Float[Tensor, "b k"]:
    """Return mean, maximum and deviation of the tokens of each clip."""
    tokens = features.tokens
    return torch.cat([tokens.mean(dim=1), tokens.amax(dim=1), tokens.std(dim=1)], dim=1)


def percent(hits: Bool[Tensor, " n"]) -> float:
    """Return the share of True."""
    return round(100 * float(hits.double().mean()), 2)


def action_scores(
    scores: Float[Tensor, "n k"], labels: Int[Tensor, " n"], names: Sequence[str] = ACTIONS
) -> dict[str, float]:
    """Return `accuracy`, and `pair`: is the action above its time reversal?

    Pairs count where the reversal is one of the classes; chance is 50 %.
    """
    found = {"accuracy": percent(scores.argmax(dim=1) == labels)}
    reversal = torch.tensor(
        [
            names.index(back) if name in ACTIONS and (back := reversal_of(name)) in names else -1
            for name in names
        ]
    )[labels]
    paired = reversal >= 0
    if paired.any():
        own, other = (scores[paired].gather(1, x[paired, None]) for x in (labels, reversal))
        found["pair"] = percent((own > other)[:, 0])
    return found


@torch.no_grad()
def settle_batch_norm(model: nn.Module, forward: Callable[[], Any]) -> None:
    """Give batch normalisation the statistics of what `forward` shows it, as training would."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
            module.momentum = None
    model.train()
    forward()
    model.eval()


class LinearProbe:
    """A linear classifier of frozen features: least cross-entropy with a penalty on its weights.

    The penalty is the one of three that suits a fifth of the clips best, which the fit to choose by
    leaves out.
    """

    def __init__(self, features: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> None:
        self.mean, self.deviation = features.mean(dim=0), features.std(dim=0) + 1e-4
        known = self._scaled(features)
        held = torch.arange(len(known)) % _HELD_OUT == 0
        count = int(labels.max()) + 1
        hits: Mapping[float, float] = {
            decay: percent(
                fit_linear(known[~held], labels[~held], count, decay)(known[held]).argmax(dim=1)
                == labels[held]
            )
            for decay in _DECAYS
        }
        self.head = fit_linear(known, labels, count, max(hits, key=lambda decay: hits[decay]))

    def __call__(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Return the scores of the classes."""
        return self.head(self._scaled(features))

    def _scaled(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return (features - self.mean) / self.deviation


def fit_linear(
    features: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    count: int,
    decay: float,
    *,
    max_iter: int = 60,
) -> nn.Linear:
    """Return the linear classifier of least cross-entropy plus a penalty on its weights.

    Args:
        features: of about unit variance.
        labels: their classes.
        count: of the classes.
        decay: of the penalty.
        max_iter: steps of L-BFGS.
    """
    head = nn.Linear(features.shape[1], count)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.LBFGS(
        head.parameters(), max_iter=max_iter, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(head(features), labels) + decay / 2 * head.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[arg-type]
    return head.requires_grad_(False)
