"""What a pickle would import, found out without unpickling it.

PyTorch's `.pth`, `.pt`, `.bin` and `.ckpt` files are pickles: programs that may import and call
anything. Here such a program is only read, as a list of instructions.
`torch.load(weights_only=True)` then runs it on an interpreter that knows tensors and plain
containers. Training checkpoints also hold options (`argparse.Namespace`, configuration
dictionaries); for those, stand-ins take the place of the named class, so that nothing but torch is
imported and nothing at all is called.
"""

from __future__ import annotations

import argparse
import pickletools
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Collection, Iterator
from pathlib import PurePosixPath
from typing import IO, Any

from internvideo.errors import CheckpointError

__all__ = ["globals_of", "stand_ins"]

# Containers of options, by class name: each package has its own copy of them.
_OPTION_CLASSES = {
    "AttrDict",
    "CfgNode",
    "Config",
    "ConfigDict",
    "DictConfig",
    "DotDict",
    "EasyDict",
    "Namespace",
}
_STATE_CLASSES = {"DynamicLossScaler", "LossScaler", "defaultdict"}
_PATHS = {"Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath"}
_PLAIN_TYPES = {"bool", "bytes", "dict", "float", "int", "list", "object", "str", "tuple"}
_STRINGS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "STRING", "BINSTRING"}
_MAX_PROGRAM = 1 << 28  # bytes; the pickle of a 1B model is under 1 MB, its tensors lie outside it


def globals_of(file: IO[bytes], *, programs: int = 1) -> set[str]:
    """Return the `module.name` of everything that the next pickles in a file would import.

    Args:
        file: read from its position.
        programs: number of pickles to read; a file of torch before 1.6 holds five in a row.

    Raises:
        CheckpointError: not a pickle, or a broken or absurdly long one.
    """
    found: set[str] = set()
    for _ in range(programs):
        start = file.tell()
        try:
            for name in _imports(file):
                found.add(name)
                if file.tell() - start > _MAX_PROGRAM:
                    raise CheckpointError("the pickle program is absurdly long")
        except (ValueError, EOFError, IndexError, OverflowError, MemoryError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"not a readable pickle ({error})") from error
    return found


def stand_ins(
    names: Collection[str], *, permit: Collection[str] = ()
) -> tuple[list[Any], list[str]]:
    """Return (stand-in, `module.name`) pairs for torch's `safe_globals`, and the refused names.

    Refused is what is neither torch's own, nor harmless, nor permitted.
    """
    pairs, refused = [], []
    for name in sorted(set(names) - _torch_globals()):
        replacement = _Anything if name in permit else _stand_in(name)
        if replacement is None:
            refused.append(name)
            continue
        if replacement is not argparse.Namespace:
            # torch finds a permitted global by identity of the class: every name gets its own
            replacement = type(replacement.__name__, (replacement,), {})
        pairs.append((replacement, name))
    return pairs, refused


def _imports(file: IO[bytes]) -> Iterator[str]:
    """Yield the globals of one pickle; protocol 4 takes their names from strings before."""
    strings: list[str | None] = []
    memo: dict[int, str | None] = {}
    for opcode, argument, _ in pickletools.genops(file):
        match opcode.name:
            case "GLOBAL" | "INST":
                module, _, name = str(argument).partition(" ")
                yield _modern(module, name)
            case "STACK_GLOBAL":
                module, name = ([None, None, *strings])[-2:]
                yield f"{module or '?'}.{name or '?'}"
            case "EXT1" | "EXT2" | "EXT4":
                yield f"copyreg extension {argument}"
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[int(argument or 0)] = strings[-1] if strings else None
            case "MEMOIZE":
                memo[len(memo)] = strings[-1] if strings else None
            case "GET" | "BINGET" | "LONG_BINGET":
                strings.append(memo.get(int(argument or 0)))
            case name if name in _STRINGS:
                strings.append(str(argument))
        del strings[:-4]


def _modern(module: str, name: str) -> str:
    """Translate a name of Python 2, as the unpickler itself does."""
    return ".".join(NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name)))


def _torch_globals() -> set[str]:
    from torch import _weights_only_unpickler as unpickler

    return set(unpickler._get_allowed_globals()) | set(unpickler._get_user_allowed_globals())


# The stand-ins keep what they are given, and call nothing.


class _PlainDict:
    """Becomes an ordered dictionary; attributes of the original land in its `__dict__`."""

    def __new__(cls, *_: Any) -> OrderedDict:
        return OrderedDict()


class _PathText:
    """Becomes the text of a path."""

    def __new__(cls, *parts: str) -> str:
        return str(PurePosixPath(*(str(part) for part in parts)))


class _NumpyType:
    """Remembers the code of a numpy dtype."""

    code: str

    def __new__(cls, code: str = "", *_: Any) -> _NumpyType:
        self = object.__new__(cls)
        self.code = code
        return self

    def __setstate__(self, _state: Any) -> None:
        """Ignore byte order and flags; scalars are written in the order of the machine."""


class _NumpyScalar:
    """Becomes the Python number behind a numpy scalar."""

    def __new__(cls, dtype: Any = None, data: Any = b"") -> Any:
        import numpy as np

        code = getattr(dtype, "code", "")
        raw = data if isinstance(data, bytes) else b""
        if code[:1] not in {"b", "i", "u", "f"} or not code[1:].isdigit():
            return None
        kind = np.dtype(code)
        return np.frombuffer(raw, kind, 1)[0].item() if len(raw) == kind.itemsize else None


class _Anything:
    """Takes any arguments and any state, and forgets the arguments."""

    def __new__(cls, *_: Any) -> Any:
        return object.__new__(cls)

    def __setstate__(self, _state: Any) -> None:
        """Forget the state."""


_NUMPY = {
    f"numpy.{core}.multiarray.{name}": stand_in
    for core in ("core", "_core")
    for name, stand_in in (("scalar", _NumpyScalar), ("_reconstruct", _Anything))
} | {"numpy.dtype": _NumpyType, "numpy.ndarray": _Anything}


def _stand_in(name: str) -> type | None:
    """Return what takes the place of a harmless class, or None for all others."""
    module, _, last = name.rpartition(".")
    if name == "argparse.Namespace":
        return argparse.Namespace
    if name in _NUMPY:
        return _NUMPY[name]
    if module.startswith("numpy.dtypes"):
        return _NumpyType
    if module.startswith("pathlib") and last in _PATHS:
        return _PathText
    if last in _OPTION_CLASSES or last in _STATE_CLASSES:
        return _PlainDict
    if module == "builtins" and last in _PLAIN_TYPES:
        return _Anything
    return None
