"""Debiasing: evidence that does not depend on what a still scene or a shuffled clip tells.

    feature volume ─┬─ as it is ──────────► conv in space ─► mean ─► f1: evidence 1
                    ├─ time steps shuffled ► conv in space ─► mean ─► f2: evidence 2
                    └─ step by step ───────► conv in space ─► mean ─► f3: evidence 3

Each branch learns the classes; the dependence (HSIC) of the first on the others is a further term.
The head is used in training only.

Letters: b clips, c channels, (t, h, w) the volume, d width, k classes.

Source: DEAR (arXiv 2107.10161), section 3.3; fixtures `openset-debias*`, `openset-hsic`.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from internvideo.models.uncertainty import Dirichlet
from internvideo.tasks.open_set.losses import EvidentialConfig, evidential_loss

__all__ = ["DebiasHead", "hsic"]

_FEWEST = 4


def hsic(
    x: Float[Tensor, "b d"],
    y: Float[Tensor, "b e"],
    *,
    unbiased: bool = False,
    normalized: bool = True,
) -> Float[Tensor, ""]:
    """Return how much two vectors of the same clips depend on each other; 0 for fewer than four.

    The kernels are Gaussian, as wide as the square root of the length of the vector.

    Args:
        x: one vector of each clip.
        y: the other.
        unbiased: the estimator of Song et al. (JMLR 2012), else that of Gretton et al. (2005).
        normalized: divide the unbiased one by b (b - 3).
    """
    count = len(x)
    if count < _FEWEST:
        return x.new_zeros(())
    first, second = _kernel(x), _kernel(y)
    if not unbiased:
        first, second = first - first.mean(dim=0), second - second.mean(dim=0)
        return torch.trace(first @ second) / (count - 1) ** 2
    away = 1 - torch.eye(count, device=x.device, dtype=x.dtype)
    first, second = first * away, second * away
    value = torch.trace(first @ second)
    value = value + first.sum() * second.sum() / ((count - 1) * (count - 2))
    value = value - 2 * (first.sum(dim=0) @ second.sum(dim=1)) / (count - 2)
    return value / (count * (count - 3)) if normalized else value


def _kernel(x: Float[Tensor, "b d"]) -> Float[Tensor, "b b"]:
    squares = x.square().sum(dim=1)
    distances = squares[:, None] + squares - 2 * x @ x.T
    return (-distances / (2 * x.shape[1])).exp()


class _Convolution(nn.Module):
    """Convolution in space, normalisation, ReLU; a volume, or frame by frame."""

    def __init__(self, channels: int, *, volume: bool) -> None:
        super().__init__()
        kernel, stride, padding = ((1, 3, 3), (1, 2, 2), (0, 1, 1)) if volume else (3, 2, 1)
        make = nn.Conv3d if volume else nn.Conv2d
        self.conv = make(channels, 2 * channels, kernel, stride, padding, bias=False)  # type: ignore[arg-type]
        self.bn = (nn.BatchNorm3d if volume else nn.BatchNorm2d)(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu()


class DebiasHead(nn.Module):
    """The three branches on a feature volume, and their losses.

    Args:
        channels: c of the volume.
        num_classes: k.
        mode: "joint" takes the dependence of the evidences away from the loss; "alternating" moves
            the features of the first branch away on odd steps, the others towards it on even ones.
        weight: of all terms.
        dependence_weight: of the dependence, in "alternating".
        drop_rate: dropout before the classes.
        shuffled: whether there is the second branch.
        still: whether there is the third.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        mode: Literal["joint", "alternating"] = "joint",
        weight: float = 0.1,
        dependence_weight: float = 0.5,
        drop_rate: float = 0.5,
        shuffled: bool = True,
        still: bool = True,
    ) -> None:
        super().__init__()
        self.mode, self.weight, self.dependence_weight = mode, weight, dependence_weight
        self.f1_conv3d = _Convolution(channels, volume=True)
        self.f2_conv3d = _Convolution(channels, volume=True) if shuffled else None
        self.f3_conv2d = _Convolution(channels, volume=False) if still else None
        self.dropout = nn.Dropout(drop_rate)
        self.f1_fc, self.f2_fc, self.f3_fc = (
            nn.Linear(2 * channels, num_classes) for _ in range(3)
        )
        for layer in (self.f1_fc, self.f2_fc, self.f3_fc):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        volume: Float[Tensor, "b c t h w"],
        labels: Int[Tensor, " b"],
        *,
        step: int = 0,
        order: Int[Tensor, " t"] | None = None,
    ) -> dict[str, Tensor]:
        """Return the weighted terms, whose sum belongs to the loss.

        Args:
            volume: features of the clips.
            labels: their classes.
            step: of the run, for "alternating".
            order: of the shuffled time steps; None draws one.
        """
        if order is None:
            order = torch.randperm(volume.shape[2])
        pooled = {"unbias": (self.f1_conv3d(volume).mean(dim=(2, 3, 4)), self.f1_fc)}
        if self.f2_conv3d is not None:
            mixed = volume[:, :, order.to(volume.device)]
            pooled["bias1"] = (self.f2_conv3d(mixed).mean(dim=(2, 3, 4)), self.f2_fc)
        if self.f3_conv2d is not None:
            frames = self.f3_conv2d(volume.transpose(1, 2).flatten(0, 1)).mean(dim=(2, 3))
            pooled["bias2"] = (frames.unflatten(0, (len(volume), -1)).mean(dim=1), self.f3_fc)
        logits = {name: layer(self.dropout(rows)) for name, (rows, layer) in pooled.items()}
        terms = {
            f"{name}_fit": evidential_loss(rows, labels, EvidentialConfig()).fit.mean()
            for name, rows in logits.items()
        }
        features = {name: rows for name, (rows, _) in pooled.items()}
        if self.mode == "joint":
            alphas = {name: Dirichlet.of_logits(rows).alpha for name, rows in logits.items()}
            own = alphas.pop("unbias")
            terms |= {f"{n}_dependence": -hsic(own, other) for n, other in alphas.items()}
        else:
            terms["dependence"] = self._alternating(features, step)
        return {name: self.weight * value for name, value in terms.items()}

    def _alternating(self, features: dict[str, Tensor], step: int) -> Float[Tensor, ""]:
        own, moves_own = features.pop("unbias"), step % 2 == 1
        total = own.new_zeros(())
        for other in features.values():
            pair = (own, other.detach()) if moves_own else (own.detach(), other)
            value = hsic(*pair, unbiased=True, normalized=False)
            total = total + (value if moves_own else -value)
        return self.dependence_weight * total
