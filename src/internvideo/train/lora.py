"""Low-rank adaptation: a frozen matrix W learns as W + (alpha / rank) · up @ down (2106.09685).

The sum stands in the place of the matrix (`torch.nn.utils.parametrize`), so it works wherever a
model reads a weight: a linear layer, a packed projection, a fused product. Merged, it is a weight
like any other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from internvideo.errors import ConfigError, did_you_mean
from internvideo.train.config import LoraConfig
from internvideo.train.optim import EMBEDDING_NAMES

__all__ = ["add_lora_", "merge_lora_"]

_ATTENTION = ("*att[en]*",)  # attn, attention, crossattention, …
_STACK = re.compile(r"(?:.*?\.)??(?=\d+\.)")  # "blocks." of "blocks.0.attn.qkv"


class _LowRank(nn.Module):
    """Adds the product of two thin matrices, which is zero at the start, to a matrix."""

    def __init__(self, matrix: Float[Tensor, "o i"], config: LoraConfig) -> None:
        super().__init__()
        rows, columns = matrix.shape
        self.scale = config.alpha / config.rank
        self.down = nn.Parameter(matrix.new_empty(config.rank, columns))
        self.up = nn.Parameter(matrix.new_zeros(rows, config.rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, matrix: Float[Tensor, "o i"]) -> Float[Tensor, "o i"]:
        """Return the adapted matrix."""
        return torch.addmm(matrix, self.up, self.down, alpha=self.scale)


def add_lora_(task: nn.Module, config: LoraConfig) -> None:
    """Let the matrices that `config` names learn by low rank, and what is around them not at all.

    The embeddings of a model and all its blocks stay as they are; what is outside of them, such as
    a new head, trains in full.

    Args:
        task: the module that is trained; its model is `task.model`.
        config: rank and targets.

    Raises:
        ConfigError: a target fits no matrix that is trained, or one of a lower rank than is asked.
    """
    model: nn.Module = getattr(task, "model", task)
    named = cast("Iterable[tuple[str, nn.Module]]", model.named_modules())
    modules = dict(named)
    places = {
        name.removesuffix(".weight"): name.rpartition(".")[::2]
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        and parameter.ndim == 2
        and "." in name  # a sum in the model itself would change its class
        and not _embeds(name, modules)
    }
    chosen = _chosen(config.targets, places)
    blocks = {id(block) for block in getattr(model, "block_modules", lambda: ())()}
    frozen = {f"{name}." for name, module in modules.items() if id(module) in blocks}
    frozen |= {found[0] for found in map(_STACK.match, chosen) if found is not None}
    for name, parameter in model.named_parameters():
        if name.startswith(tuple(frozen)) or _embeds(name, modules):
            parameter.requires_grad_(False)
    for module, leaf in (places[name] for name in chosen):
        matrix: Any = modules[module].get_parameter(leaf).requires_grad_(False)
        if config.rank > (most := min(matrix.shape)):
            raise ConfigError(
                f"lora.rank {config.rank} is more than the {most} that a matrix of {module} has; "
                "give less, or leave it out of lora.targets"
            )
        parametrize.register_parametrization(modules[module], leaf, _LowRank(matrix, config))


def merge_lora_(task: nn.Module) -> None:
    """Make what was learnt part of the matrices: names and shapes are those of the model again."""
    for module in [each for each in task.modules() if parametrize.is_parametrized(each)]:
        for leaf, added in list(cast("Any", module.parametrizations).items()):
            if isinstance(added[0], _LowRank):
                parametrize.remove_parametrizations(module, leaf)


def _embeds(name: str, modules: dict[str, nn.Module]) -> bool:
    parts = {part.rstrip("0123456789") for part in name.split(".")} | set(name.split("."))
    return bool(EMBEDDING_NAMES & parts) or isinstance(
        modules[name.rpartition(".")[0]], nn.Embedding
    )


def _chosen(targets: Sequence[str] | None, names: Collection[str]) -> list[str]:
    """Return the names that fit a target, as a whole or from one of their parts on."""
    found: dict[str, None] = {}
    for target in _ATTENTION if targets is None else targets:
        fitting = [n for n in names if fnmatchcase(n, target) or fnmatchcase(n, f"*.{target}")]
        if not fitting:
            known = {name.rpartition(".")[2]: None for name in names}
            shown = f"their names end in {', '.join(known)}" if known else "all of it is frozen"
            raise ConfigError(
                f"lora.targets: {target!r} fits no matrix that this model trains; "
                f"{shown}.{did_you_mean(target, [*known, *(_numberless(n) for n in names)])}"
            )
        found |= dict.fromkeys(fitting)
    return list(found)


def _numberless(name: str) -> str:
    return re.sub(r"\d+", "*", name)
