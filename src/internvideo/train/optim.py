"""Parameter groups, the optimiser, and a moving average of the weights."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from internvideo.errors import ConfigError
from internvideo.train.config import OptimConfig
from internvideo.train.distribution import local

__all__ = [
    "EMBEDDING_NAMES",
    "UNDECAYED_NAMES",
    "WeightAverage",
    "build_optimizer",
    "count_weights",
    "describe_lr",
    "describe_trained",
    "freeze_",
    "layer_numbers",
    "parameter_groups",
    "scaled_lr",
]

# Tables and scales that are not one-dimensional and still must not decay (videomae, viclip).
# A model with another rule says so in its `undecayed_names`.
UNDECAYED_NAMES = frozenset(
    {
        "cls_token",
        "class_embedding",
        "mask_token",
        "pos_embed",
        "positional_embedding",
        "temporal_positional_embedding",
        "scale",
        "temp",
    }
)
_LATE = 2.0**24  # the last step that a float32 counts; it stays there
# What a video transformer does before its first block: layer 0 of layer decay.
EMBEDDING_NAMES = frozenset(
    {
        "cls_token",
        "class_embedding",
        "conv1",
        "mask_token",
        "patch_embed",
        "pos_embed",
        "positional_embedding",
        "stem",
        "temporal_positional_embedding",
    }
)


def parameter_groups(
    named_parameters: Mapping[str, nn.Parameter],
    *,
    weight_decay: float,
    layers: Mapping[str, int] | None = None,
    layer_decay: float | None = None,
    undecayed: Collection[str] = UNDECAYED_NAMES,
    decayed: Literal["matrices", "all-but-biases"] = "matrices",
    lr_scales: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """Sort trainable parameters into groups that share weight decay and learning rate.

    Vectors (biases, norms, scales), and the embedding tables of the official recipes, do not decay.
    With layer decay the learning rate of layer `i` of `n` is `layer_decay ** (n - i)` times the
    one of the last (BEiT, arXiv 2106.08254).

    Args:
        named_parameters: all parameters of the task.
        weight_decay: of the groups that decay.
        layers: layer of every parameter, from `layer_numbers`; needed for layer decay.
        layer_decay: learning rate of a layer over that of the next; None: one for all.
        undecayed: how the names of tables that do not decay end ("temp", "embedding.weight").
        decayed: "all-but-biases" decays norms, tables and scales as well.
        lr_scales: beginning of a name in the model → learning rate over that of the others; the
            first that fits counts.

    Returns:
        Groups for a `torch.optim.Optimizer`, those that decay first, with the keys `lr_scale` and
        `decays` beside `params` and `weight_decay`.
    """
    last = max(layers.values()) if layers else 0
    endings = tuple(f".{ending}" for ending in undecayed)
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, parameter in named_parameters.items():
        if not parameter.requires_grad:
            continue
        if decayed == "all-but-biases":
            # COMPAT: the fine-tuning for retrieval means to spare "LayerNorm.*", a name that no
            # tensor has; pinned by golden `retrieval-vqa-param-groups`.
            decays = "bias" not in name
        else:
            decays = parameter.ndim != 1 and not f".{name}".endswith(endings)
        inside = name.removeprefix("model.")
        scale = next((s for start, s in (lr_scales or {}).items() if inside.startswith(start)), 1.0)
        if layers is not None and layer_decay is not None:
            scale *= layer_decay ** (last - layers[name])
        group = groups.setdefault(
            (scale, decays),
            {
                "params": [],
                "lr_scale": scale,
                "decays": decays,
                "weight_decay": weight_decay if decays else 0.0,
            },
        )
        group["params"].append(parameter)
    # Stable, and decayed groups first: the norm of the gradient is summed in this order.
    return sorted(groups.values(), key=lambda group: not group["decays"])


def layer_numbers(task: nn.Module) -> dict[str, int]:
    """Number the layers of a model with one stack of blocks, for layer decay.

    0 is what comes before the blocks (patch embedding, stem, positions), `i + 1` is block `i`,
    and everything after the blocks is `depth + 1`.

    Args:
        task: the module whose parameters are trained; `task.model` has `block_modules()`.

    Returns:
        Layer of each parameter, by its name in the task.

    Raises:
        ConfigError: the model has no blocks, or several stacks of them.
    """
    model = getattr(task, "model", task)
    blocks = {id(block) for block in getattr(model, "block_modules", lambda: ())()}
    modules = cast("Iterable[tuple[str, nn.Module]]", task.named_modules())
    prefixes = [f"{name}." for name, module in modules if id(module) in blocks]
    stacks = {prefix.rstrip(".0123456789") for prefix in prefixes}
    if len(stacks) != 1:
        raise ConfigError(
            f"optim.layer_decay needs a model with one stack of blocks; {type(model).__name__} has "
            f"{', '.join(sorted(stacks)) or 'none'}; remove layer_decay"
        )
    numbers: dict[str, int] = {}
    for name, _ in task.named_parameters():
        block = next((i for i, prefix in enumerate(prefixes) if name.startswith(prefix)), None)
        if block is not None:
            numbers[name] = block + 1
        elif EMBEDDING_NAMES.intersection(name.split(".")):
            numbers[name] = 0
        else:
            numbers[name] = len(prefixes) + 1
    return numbers


def scaled_lr(config: OptimConfig, *, global_batch_size: int) -> float:
    """Return the peak learning rate for this global batch (linear scaling rule, if asked for).

    Args:
        config: `lr`, and `lr_batch_size`, for which it was chosen.
        global_batch_size: videos of an optimiser step: batch a process x processes x accumulation.
            The repeats of a video do not count, as in the published recipes.
    """
    if config.lr_batch_size is None:
        return config.lr
    return config.lr * global_batch_size / config.lr_batch_size


def freeze_(task: nn.Module, beginnings: Collection[str]) -> None:
    """Let parameters whose names in the model begin so stay as they are.

    Raises:
        ConfigError: a beginning of no name, or nothing is left to train.
    """
    named = {name.removeprefix("model."): p for name, p in task.named_parameters()}
    for start in beginnings:
        found = [parameter for name, parameter in named.items() if name.startswith(start)]
        if not found:
            parts = ", ".join(dict.fromkeys(name.partition(".")[0] for name in named))
            raise ConfigError(
                f"optim.freeze: no parameter's name begins with {start!r}; the model has {parts}"
            )
        for parameter in found:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in named.values()):
        raise ConfigError("optim.freeze leaves nothing to train")


def count_weights(task: nn.Module) -> tuple[int, int]:
    """Return how many weights of a task are trained, and how many it has."""
    sizes = [(weights.numel(), weights.requires_grad) for weights in task.parameters()]
    return sum(size for size, trained in sizes if trained), sum(size for size, _ in sizes)


def describe_trained(task: nn.Module) -> str:
    """Return how many weights a task has, and how many of them are trained, in millions."""
    trained, whole = count_weights(task)
    return f"{trained / 1e6:.3f} of {whole / 1e6:.3f} M weights are trained"


def describe_lr(config: OptimConfig, *, global_batch_size: int) -> str:
    """Return the peak learning rate in words, and how it comes out of the recipe's."""
    told = f"learning rate {scaled_lr(config, global_batch_size=global_batch_size):.3g} at its peak"
    if config.lr_batch_size is None:
        return told
    chosen = f"{config.lr:.3g} for {config.lr_batch_size} videos a step"
    return f"{told}: {chosen}, {global_batch_size} here"


def build_optimizer(task: nn.Module, config: OptimConfig, *, lr: float) -> torch.optim.Optimizer:
    """Return the optimiser over the groups of `parameter_groups`, with peak learning rate `lr`.

    Raises:
        ConfigError: layer decay for a model without one stack of blocks, or `lr_scales` for
            parameters that there are not.
    """
    named = dict(task.named_parameters())
    inside = [name.removeprefix("model.") for name in named]
    for start in config.lr_scales:
        if not any(name.startswith(start) for name in inside):
            parts = ", ".join(dict.fromkeys(name.partition(".")[0] for name in inside))
            raise ConfigError(
                f"optim.lr_scales: no parameter's name begins with {start!r}; the model has {parts}"
            )
    groups = parameter_groups(
        named,
        weight_decay=config.weight_decay,
        layers=layer_numbers(task) if config.layer_decay is not None else None,
        layer_decay=config.layer_decay,
        undecayed=getattr(getattr(task, "model", task), "undecayed_names", UNDECAYED_NAMES),
        decayed=config.decayed,
        lr_scales=config.lr_scales,
    )
    if config.rule == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=config.momentum, nesterov=True)
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=config.betas, eps=config.eps)
    if not config.bias_correction:
        _leave_uncorrected(optimizer)
    return optimizer


def _leave_uncorrected(optimizer: torch.optim.AdamW) -> None:
    """Make AdamW the BertAdam of the published recipes.

    COMPAT: it does not correct its averages for their start from zero, so the first steps are
    short; the published fine-tuning for retrieval was made so, pinned by golden
    `retrieval-bertadam`. The correction divides by `1 - beta ** step`, which is 1 for a late step.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter] = {
                "step": torch.tensor(_LATE),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }


class WeightAverage:
    """Exponential moving average of the trainable parameters; with decay None it is the weights.

    Args:
        task: whose parameters are followed; of a sharded one each process follows its part.
        decay: what the average keeps of itself at each update.
    """

    def __init__(self, task: nn.Module, *, decay: float | None) -> None:
        self.decay = decay
        self._move_towards: Callable[[list[Tensor], list[Tensor], int], None]
        self._move_towards = get_ema_multi_avg_fn(decay or 0.0)
        self._followed: dict[str, nn.Parameter] = {}
        if decay is not None:
            self._followed = {n: p for n, p in task.named_parameters() if p.requires_grad}
        self._average = {name: local(p).clone() for name, p in self._followed.items()}

    def update_(self) -> None:
        """Move the average towards the weights; call it after every optimiser step."""
        if self._followed:
            weights = [local(parameter) for parameter in self._followed.values()]
            self._move_towards(list(self._average.values()), weights, 0)

    @torch.no_grad()
    def swap_(self) -> None:
        """Exchange the average and the weights."""
        for name, parameter in self._followed.items():
            weights, average = local(parameter), self._average[name]
            kept = weights.clone()
            weights.copy_(average)
            average.copy_(kept)

    @contextmanager
    def in_place(self) -> Generator[None]:
        """Put the averaged weights in the place of the weights inside the block."""
        self.swap_()
        try:
            yield
        finally:
            self.swap_()

    @torch.no_grad()
    def restart_(self) -> None:
        """Start again from the weights."""
        for name, parameter in self._followed.items():
            self._average[name].copy_(local(parameter))
