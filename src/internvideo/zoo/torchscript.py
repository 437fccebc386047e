"""Take the tensors out of a TorchScript archive without loading its program.

OpenAI publishes CLIP as TorchScript: a zip with the tensors, a pickle that says which module has
which tensor, and code. `torch.jit.load` would compile that code and run what the archive declares
as set-up, so it must not see a file that nobody vouches for. Here the code is not opened at all:
the pickle is read by an interpreter that knows tensors, lists and "some module", and nothing else.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from internvideo.errors import CheckpointError
from internvideo.zoo import pickles

__all__ = ["read_tensors"]

_MAX_DEPTH = 64
_STORAGES = {
    f"torch.{name}Storage": dtype
    for name, dtype in {
        "Float": torch.float32,
        "Double": torch.float64,
        "Half": torch.float16,
        "BFloat16": torch.bfloat16,
        "Long": torch.int64,
        "Int": torch.int32,
        "Short": torch.int16,
        "Char": torch.int8,
        "Byte": torch.uint8,
        "Bool": torch.bool,
    }.items()
}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the parameters and buffers of an archive under their state-dict names.

    Raises:
        CheckpointError: damaged, or its pickle names something that a module's tensors do not need.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            root = next(n for n in archive.namelist() if n.partition("/")[2] == "data.pkl")
            program = archive.read(root)
            names = pickles.globals_of(io.BytesIO(program))
            if refused := sorted(name for name in names if _replacement(name) is None):
                raise CheckpointError(
                    f"{path} is refused: this TorchScript archive would import"
                    f" {', '.join(refused[:5])}; nothing was executed"
                )
            prefix = root.removesuffix("data.pkl")
            module = _Unpickler(io.BytesIO(program), archive, prefix).load()
    except CheckpointError:
        raise
    except (
        zipfile.BadZipFile, pickle.UnpicklingError, OSError, EOFError, RuntimeError, ValueError,
        TypeError, KeyError, IndexError, AttributeError, StopIteration, MemoryError,
    ) as error:  # fmt: skip
        raise CheckpointError(f"{path}: damaged TorchScript archive ({error})") from error
    state: dict[str, Tensor] = {}
    _collect(module, "", state, path, _MAX_DEPTH)
    if not state:
        raise CheckpointError(f"{path}: a TorchScript archive without tensors")
    return state


class _Module:
    """Any scripted module: its attributes."""

    attributes: Mapping[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.attributes = state if isinstance(state, Mapping) else {}


def _ordered_dict() -> OrderedDict:
    return OrderedDict()


def _same(value: Any, *_: Any) -> Any:
    """Stand for the functions that only tell the type of a list."""
    return value


def _rebuild(storage: Any, offset: int, size: tuple, stride: tuple, *_: Any) -> Tensor:
    if not isinstance(storage, Tensor):
        raise pickle.UnpicklingError("a tensor without storage")
    return torch.as_strided(storage, size, stride, offset)


def _replacement(name: str) -> Any:
    """Return what the interpreter puts in place of a global, or None to refuse it."""
    if name.startswith("__torch__."):
        return _Module
    if name.startswith("torch.jit._pickle."):
        return _same
    if name in _STORAGES:
        return _STORAGES[name]
    known = {"torch._utils._rebuild_tensor_v2": _rebuild, "collections.OrderedDict": _ordered_dict}
    return known.get(name)


class _Unpickler(pickle.Unpickler):
    """Resolves every global to one of the stand-ins above; nothing is imported."""

    def __init__(self, file: Any, archive: zipfile.ZipFile, prefix: str) -> None:
        super().__init__(file)
        self._archive, self._prefix = archive, prefix
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module_name: str, global_name: str) -> Any:
        replacement = _replacement(f"{module_name}.{global_name}")
        if replacement is None:
            raise pickle.UnpicklingError(f"global {module_name}.{global_name}")
        return replacement

    def persistent_load(self, pid: Any) -> Tensor:
        kind, dtype, key = pid[0], pid[1], str(pid[2])
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError("a persistent object that is not a storage")
        if key not in self._storages:
            data = bytearray(self._archive.read(f"{self._prefix}data/{key}"))
            self._storages[key] = (
                torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
            )
        return self._storages[key]


def _collect(module: Any, prefix: str, state: dict[str, Tensor], path: Path, depth: int) -> None:
    if depth == 0:
        raise CheckpointError(f"{path}: modules nested deeper than {_MAX_DEPTH}")
    if not isinstance(module, _Module):
        raise CheckpointError(f"{path}: the archive holds no module")
    for name, value in module.attributes.items():
        if isinstance(value, Tensor):
            state[f"{prefix}{name}"] = value
        elif isinstance(value, _Module):
            _collect(value, f"{prefix}{name}.", state, path, depth - 1)
