"""Read a weight file of any make without running anything that is in it.

    path ──► which files, which format ──► refuse the unsafe or broken ──► tensors ──► unwrap

The content decides the format, not the ending: safetensors, a zip of torch >= 1.6, the
pickles of torch < 1.6, or a TorchScript archive (whose tensors are read and whose code is left
alone).
"""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from internvideo.errors import CheckpointError
from internvideo.zoo import pickles, torchscript
from internvideo.zoo.weight_files import weight_files

__all__ = ["CheckpointFile", "read_checkpoint"]

Format = Literal["safetensors", "torch", "torch-legacy", "torchscript"]

# Keys under which trainers keep the weights, in the order in which they are tried: an average of
# weights, which ActionFormer is evaluated with, before the weights themselves.
_WRAPPERS = ("model", "module", "state_dict_ema", "state_dict", "model_state", "model_state_dict")
# Keys under which they keep tensors that are no weights.
_STATES = (
    "optimizer", "optimizer_states", "optimizers", "optim", "scaler", "scheduler",
    "lr_scheduler", "lr_schedulers", "callbacks", "loops", "rng_state", "random_state", "amp",
)  # fmt: skip
_MAX_DEPTH = 3
_PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True, kw_only=True)
class CheckpointFile:
    """The tensors of a weight file and what lay around them.

    Attributes:
        path: the file.
        format: how it is written.
        state: the tensors under the names that the file gives them; they may be mapped from the
            disk.
        wrapper: the key that held the weights, e.g. "module"; "" when they lay at the top.
        metadata: plain values beside the weights (epoch, options ...).
        ignored: names of entries among the weights that are not tensors.
    """

    path: Path
    format: Format
    state: dict[str, Tensor]
    wrapper: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor."""
        return {name: tuple(tensor.shape) for name, tensor in self.state.items()}


def read_checkpoint(path: str | Path, *, permit: Collection[str] = ()) -> CheckpointFile:
    """Read the tensors of a safetensors, torch or TorchScript file onto the CPU.

    Args:
        path: the file; its ending does not matter. Or a folder that holds it under a usual name, in
            one piece or in shards with their index.
        permit: `module.Class` names to accept beyond tensors and option containers. They are
            replaced by inert stand-ins and never imported, so a permitted class cannot run either.

    Raises:
        CheckpointError: no such file, broken, no weights in it, or a pickle that would import and
            call something; the message names it, and nothing has been executed.
    """
    path = Path(path)
    parts = [_read_file(each, permit) for each in weight_files(path)]
    if len(parts) == 1:
        return parts[0]
    state: dict[str, Tensor] = {}
    for part in parts:
        if twice := state.keys() & part.state.keys():
            raise CheckpointError(f"{path}: two shards hold {min(twice)}")
        state |= part.state
    return replace(parts[0], path=path, state=state)


def _read_file(path: Path, permit: Collection[str]) -> CheckpointFile:
    kind = _format(path)
    if kind == "safetensors":
        state, metadata = _read_safetensors(path)
        return _checked(CheckpointFile(path=path, format=kind, state=state, metadata=metadata))
    if kind == "torchscript":
        state = torchscript.read_tensors(path)
        return _checked(CheckpointFile(path=path, format=kind, state=state))
    content = _read_pickle(path, kind, permit)
    return _checked(_unwrap(path, kind, content))


def _format(path: Path) -> Format:
    if not path.is_file():
        raise CheckpointError(f"no such file: {path}")
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise CheckpointError(f"{path} is empty (0 bytes)")
    if head.lstrip()[:9].lower() in (b"<!doctype", b"<html><he") or head.lstrip()[:5] == b"<html":
        raise CheckpointError(f"{path} is a web page, not a weight file; download it again")
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path} is a Git LFS pointer; fetch the file itself (git lfs pull)")
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return "safetensors"
    if head.startswith(b"PK"):
        return _zip_format(path)
    if head.startswith(b"\x80"):
        return "torch-legacy"
    raise CheckpointError(
        f"{path} is not a weight file: expected safetensors or a file written by torch.save"
    )


def _zip_format(path: Path) -> Format:
    """Tell a torch file from a TorchScript archive; refuse zip files that torch did not write."""
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointError(f"{path} is truncated or damaged ({error})") from error
    # Torch stores tensors as they are: compressed ones are a zip bomb or another kind of file.
    data = [r for r in records if "/data/" in r.filename or r.filename.endswith("/data.pkl")]
    if any(record.compress_type != zipfile.ZIP_STORED for record in data):
        raise CheckpointError(f"{path} is a compressed zip archive; expected a weight file")
    if sum(record.file_size for record in data) > path.stat().st_size:
        raise CheckpointError(f"{path}: its records claim more bytes than the file has; refused")
    names = {record.filename.partition("/")[2] for record in records}
    if "data.pkl" not in names:
        raise CheckpointError(f"{path} is a zip archive without weights (no data.pkl)")
    return "torchscript" if "constants.pkl" in names else "torch"


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return state, dict(file.metadata() or {})
    except (SafetensorError, ValueError, RuntimeError, OSError) as error:
        raise CheckpointError(f"{path}: broken safetensors file ({error})") from error


def _read_pickle(path: Path, kind: Format, permit: Collection[str]) -> Any:
    """Run the pickle on torch's restricted interpreter, after a look at what it would import."""
    names = _survey(path, kind)
    pairs, refused = pickles.stand_ins(names, permit=permit)
    if refused:
        raise CheckpointError(_refusal(path, refused))
    try:
        with torch.serialization.safe_globals(pairs), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about legacy storages and pickle protocols
            return torch.load(path, map_location="cpu", weights_only=True, mmap=kind == "torch")
    except pickle.UnpicklingError as error:
        reason = _first_line(error)
        if "operand" in reason:
            reason = "its pickle protocol cannot be read safely; save it again with torch.save"
        raise CheckpointError(f"{path} is refused: {reason}") from None
    except (
        RuntimeError, EOFError, OSError, ValueError, TypeError, KeyError, IndexError,
        AttributeError, AssertionError, OverflowError, MemoryError, UnicodeDecodeError,
    ) as error:  # fmt: skip
        raise CheckpointError(f"{path} is truncated or damaged ({_first_line(error)})") from error


def _refusal(path: Path, refused: list[str]) -> str:
    """Say what a pickle would import, and what to do."""
    message = (
        f"{path} is refused: reading it as a pickle would import {', '.join(refused[:5])}, which"
        " weights do not need; nothing was executed."
    )
    if any(name.startswith("torch.nn.modules.") for name in refused):
        return (
            f"{message} It holds a whole pickled model; save model.state_dict() instead, where its"
            " code is at hand: torch.save(torch.load(FILE, weights_only=False).state_dict(), OUT)"
        )
    if all(name.rpartition(".")[2][:1].isupper() for name in refused):
        return (
            f"{message} If you know these classes to be mere containers,"
            f" read_checkpoint(path, permit={tuple(refused)!r}) reads past them."
        )
    return f"{message} Do not trust the file; ask for a safetensors one."


def _survey(path: Path, kind: Format) -> set[str]:
    """Return what the pickles of a file would import."""
    try:
        if kind == "torch-legacy":
            # a map ends where the file ends, whatever length an instruction claims
            with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
                programs = _legacy_programs(path)
                return pickles.globals_of(content, programs=programs)  # type: ignore[arg-type]
        with zipfile.ZipFile(path) as archive:
            name = next(n for n in archive.namelist() if n.partition("/")[2] == "data.pkl")
            return pickles.globals_of(io.BytesIO(archive.read(name)))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path} is truncated or damaged ({error})") from error


def _legacy_programs(path: Path) -> int:
    """Return 5 for a file of torch < 1.6 (magic, version, system, weights, keys), else 1."""
    magic = torch.serialization.MAGIC_NUMBER.to_bytes(10, "little")
    with path.open("rb") as file:
        return 5 if magic in file.read(64) else 1


def _unwrap(path: Path, kind: Format, content: Any) -> CheckpointFile:
    """Find the mapping that holds the weights, and keep the plain values around it."""
    wrapper: list[str] = []
    metadata: dict[str, Any] = {}
    for _ in range(_MAX_DEPTH):
        inner = _wrapper_of(path, content) if isinstance(content, Mapping) else None
        if inner is None:
            break
        metadata.update({str(k): _plain(v) for k, v in content.items() if k != inner})
        wrapper.append(str(inner))
        content = content[inner]
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}, expected a dictionary of tensors"
        )
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not state:
        keys = ", ".join(repr(key) for key in list(content)[:8])
        raise CheckpointError(
            f"{path} holds no weights: no tensors at the top or below one of its keys"
            f" ({keys or 'none'})"
        )
    return CheckpointFile(
        path=path,
        format=kind,
        state=state,
        wrapper=".".join(wrapper),
        metadata={name: value for name, value in metadata.items() if value is not None},
        ignored=tuple(str(name) for name in content if str(name) not in state),
    )


def _wrapper_of(path: Path, content: Mapping[Any, Any]) -> Any:
    """Return the key that holds the weights: a usual one, or the only one that can; else None.

    Raises:
        CheckpointError: several can.
    """
    usual = next((key for key in _WRAPPERS if _holds_tensors(content.get(key))), None)
    if usual is not None or any(isinstance(value, Tensor) for value in content.values()):
        return usual
    able = [key for key, value in content.items() if key not in _STATES and _holds_tensors(value)]
    if len(able) > 1:
        raise CheckpointError(
            f"{path} holds several sets of weights, under {', '.join(map(repr, able))}; save the"
            f" one that you mean: torch.save(torch.load(FILE)[{able[0]!r}], 'weights.pth')"
        )
    return able[0] if able else None


def _holds_tensors(value: Any, depth: int = _MAX_DEPTH) -> bool:
    """Tell whether a mapping holds tensors by name, itself or in a wrapper below it."""
    if not isinstance(value, Mapping) or depth == 0:
        return False
    if not all(isinstance(name, str) for name in value):  # the numbered states of an optimiser
        return False
    if any(isinstance(item, Tensor) for item in value.values()):
        return True
    return any(_holds_tensors(item, depth - 1) for key, item in value.items() if key not in _STATES)


def _plain(value: Any) -> Any:
    """Return plain values and options as they are, and None for all else (optimiser states ...)."""
    if isinstance(value, _PLAIN):
        return value
    if type(value).__name__ == "Namespace":
        value = vars(value)
    if isinstance(value, Mapping):
        kept = {str(k): _plain(v) for k, v in {**value, **getattr(value, "__dict__", {})}.items()}
        return {k: v for k, v in kept.items() if v is not None} or None
    if isinstance(value, list | tuple):
        return list(value) if all(isinstance(item, _PLAIN) for item in value) else None
    return None


def _checked(file: CheckpointFile) -> CheckpointFile:
    """Refuse tensors that claim more elements than they hold."""
    for name, tensor in file.state.items():
        if tensor.is_sparse or tensor.is_quantized or tensor.is_meta:
            raise CheckpointError(f"{file.path}: {name} is not a plain tensor")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise CheckpointError(
                f"{file.path}: {name} claims {tuple(tensor.shape)} but holds only"
                f" {tensor.untyped_storage().nbytes()} bytes; refused"
            )
    return file


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "GLOBAL" in line or "nsupported" in line]
    return (named or lines or [type(error).__name__])[0]
