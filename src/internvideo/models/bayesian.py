"""A linear layer whose weights are distributions, learnt by variational inference.

Source: Weight uncertainty in neural networks (arXiv 1505.05424); fixtures `openset-bnn*`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["BayesianLinear", "Prior", "Weights"]


class Prior(NamedTuple):
    """A mixture of two normal distributions about zero.

    Attributes:
        share: of the first.
        stds: of both.
    """

    share: float = 0.5
    stds: tuple[float, float] = (1.0, math.exp(-6.0))


_PRIOR = Prior()


class Weights(NamedTuple):
    """One draw of the weights of a layer.

    Attributes:
        weight: "k d".
        bias: "k".
    """

    weight: Float[Tensor, "k d"]
    bias: Float[Tensor, " k"]


class BayesianLinear(nn.Module):
    """A linear layer with independent normal weights; its prior is a mixture of two normals.

    Called, it uses the means.

    Args:
        in_features: d.
        out_features: k.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight_mu = nn.Parameter(torch.empty(out_features, in_features))
        self.weight_rho = nn.Parameter(torch.empty(out_features, in_features))
        self.bias_mu = nn.Parameter(torch.empty(out_features))
        self.bias_rho = nn.Parameter(torch.empty(out_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all means and deviations anew."""
        for name, parameter in self.named_parameters():
            low, high = (-0.2, 0.2) if name.endswith("mu") else (-5.0, -4.0)
            nn.init.uniform_(parameter, low, high)

    def draw(self, generator: torch.Generator | None = None) -> Weights:
        """Draw weights; drawn on the CPU, so that a seed means the same on every device."""

        def noise(like: Tensor) -> Tensor:
            drawn = torch.randn(like.shape, generator=generator)
            return drawn.to(like.device, like.dtype)

        return self.at(Weights(noise(self.weight_mu), noise(self.bias_mu)))

    def at(self, noise: Weights) -> Weights:
        """Return the weights so many standard deviations from their means."""
        return Weights(
            self.weight_mu + F.softplus(self.weight_rho) * noise.weight,
            self.bias_mu + F.softplus(self.bias_rho) * noise.bias,
        )

    def forward(self, features: Float[Tensor, "*b d"]) -> Float[Tensor, "*b k"]:
        """Return the logits of the mean weights."""
        return F.linear(features, self.weight_mu, self.bias_mu)

    def log_posterior(self, drawn: Weights) -> Float[Tensor, ""]:
        """Return the log density of drawn weights."""
        total = drawn.weight.new_zeros(())
        for value, name in zip(drawn, ("weight", "bias"), strict=True):
            mean, std = getattr(self, f"{name}_mu"), F.softplus(getattr(self, f"{name}_rho"))
            total = total + torch.distributions.Normal(mean, std).log_prob(value).sum()
        return total

    def log_prior(self, drawn: Weights, prior: Prior = _PRIOR) -> Float[Tensor, ""]:
        """Return the log density of drawn weights before any data."""
        total = drawn.weight.new_zeros(())
        for value in drawn:
            wide, narrow = (
                torch.distributions.Normal(0.0, std).log_prob(value) for std in prior.stds
            )
            shares = math.log(prior.share), math.log(1 - prior.share)
            total = total + torch.logaddexp(wide + shares[0], narrow + shares[1]).sum()
        return total
