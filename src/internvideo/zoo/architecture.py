"""What the zoo knows of one kind of model: class, names of tensors, size from shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from internvideo.errors import CheckpointError
from internvideo.models import vit
from internvideo.zoo.layouts import Layout
from internvideo.zoo.shapes import Shapes

__all__ = ["Architecture"]

_MAX_TABLE = 1 << 26  # numbers in a position table; the largest published clip needs 12 million


@dataclass(frozen=True, kw_only=True, eq=False)
class Architecture:
    """What the zoo knows of one kind of model.

    Attributes:
        id: e.g. "videomae/classifier"; the `kind` in `config.json` and the `architecture` of a
            card.
        model: the class; it takes one `config`.
        config: the class of its configuration.
        sizes: configurations by size name.
        tiny: miniature configurations by name, one for each way that the model is built; they
            run in milliseconds, for tests, documentation and checks of a device.
        tables: layouts of files (`zoo.tables`), by name; "official" is that of the released files.
        infer: reads the configuration off the shapes of a state dictionary of ours. What shapes do
            not tell (number of heads, rule of the positions) comes from the given base, or else
            from the size of that width.
        traits: the values that tell two files of this architecture apart.
        preset: name of the input protocol of a file without a card.
        preset_of: the same by configuration, where it depends on that.
        unseen: names the fields of the configuration, as `--set` takes them, that a file without a
            card or a `config.json` does not tell, by its shapes; their usual values are assumed.
        suits: tells by shapes, under the official names, whether a file can be of this kind; asked
            where another kind has the same names.
    """

    id: str
    model: type[nn.Module]
    config: type
    sizes: Mapping[str, Any]
    tiny: Mapping[str, Any]
    tables: Mapping[str, Layout]
    infer: Callable[[Shapes, Any], Any]
    traits: Callable[[Any], dict[str, Any]]
    preset: str
    preset_of: Callable[[Any], str] | None = None
    unseen: Callable[[Shapes], tuple[str, ...]] | None = None
    suits: Callable[[Shapes], bool] | None = None

    def build(self, config: Any) -> nn.Module:
        """Build the model on the meta device: all names and shapes, no memory for weights.

        Raises:
            CheckpointError: the configuration asks for an absurdly large position table.
        """
        _refuse_absurd_tables(config)
        with torch.device("meta"), _Hollow():
            return self.model(config)

    def shapes(self, config: Any) -> dict[str, tuple[int, ...]]:
        """Return the name and shape of every tensor of the model."""
        return dict(_shapes_of(self, config))

    def size_of(self, config: Any) -> str | None:
        """Return the name of the size that a configuration has, or None."""
        wanted = _size_traits(self.traits(config))
        return next(
            (n for n, each in self.sizes.items() if _size_traits(self.traits(each)) == wanted), None
        )


def _refuse_absurd_tables(config: Any) -> None:
    """Stop a hostile `config.json` or key list: tables are made, not read from a file."""
    if isinstance(config, vit.VideoViTConfig):
        numbers = max(prod(config.grid), prod(config.position_grid)) * config.width
        if numbers > _MAX_TABLE:
            raise CheckpointError(f"a position table of {numbers} numbers makes no sense")
    if is_dataclass(config):
        for part in fields(config):
            _refuse_absurd_tables(getattr(config, part.name))


class _Hollow(TorchFunctionMode):
    """Draw no weights, and make position tables (which start from `arange`) on the CPU.

    On the meta device these functions are written in Python and import the compiler: 1.4 s.
    """

    _SAME_SHAPE = (
        Tensor.normal_,
        Tensor.uniform_,
        nn.init.normal_,
        nn.init.uniform_,
        nn.init.trunc_normal_,
        nn.init.kaiming_uniform_,
        nn.init.xavier_uniform_,
    )

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in self._SAME_SHAPE:
            return args[0] if args else kwargs["tensor"]
        if func is torch.arange:
            return func(*args, **{**kwargs, "device": "cpu"})
        return func(*args, **kwargs)


@lru_cache(maxsize=32)
def _shapes_of(architecture: Architecture, config: Any) -> dict[str, tuple[int, ...]]:
    state = architecture.build(config).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _size_traits(traits: dict[str, Any]) -> dict[str, Any]:
    """Leave out what differs between files of one size."""
    skipped = ("num_classes", "decoder_depth", "tubelet_size", "grid")
    return {name: value for name, value in traits.items() if name not in skipped}
