"""What a model of another library is, before its weights are read; and what can go wrong."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import SafetensorError

from internvideo.errors import CheckpointError, require
from internvideo.models.external import ExternalConfig, ExternalTokenizerConfig
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo import environment
from internvideo.zoo.repository import hub_is_known

__all__ = [
    "FAILURES",
    "NUM_FRAMES",
    "External",
    "first_line",
    "in_one_line",
    "local_only",
    "read_tokenizer",
    "three",
]

NUM_FRAMES = 8
"""Frames that an image model is shown of a video."""

FAILURES = (
    OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, ImportError,
    pickle.UnpicklingError, SafetensorError,
)  # fmt: skip
"""What the other libraries raise for files that are absent, broken, or of an unknown kind."""


@dataclass(frozen=True, kw_only=True)
class External:
    """What a name stands for.

    Attributes:
        config: of the model.
        protocol: its input protocol.
        weights: folder, hub id, file, or name and tag of `open_clip`; None draws them at random.
        whole: class in the other library that the weights are of; `config` may be of a part.
        labels: names of the classes of a classifier.
        tokenizer: content of `tokenizer.json`.
    """

    config: ExternalConfig
    protocol: Preprocessing
    weights: str | tuple[str, str] | None
    whole: str
    labels: tuple[str, ...] | None = None
    tokenizer: bytes = b""


def local_only(location: str) -> bool:
    """Tell whether the hub must not, or cannot, be asked."""
    return Path(location).is_dir() or environment.is_offline() or not hub_is_known()


def read_tokenizer(
    location: str, length: int, *, clean: Any = "none"
) -> tuple[bytes, ExternalTokenizerConfig]:
    """Return the `tokenizer.json` of a folder or hub id, and how it is used.

    Args:
        location: as `transformers` takes it.
        length: of a row; less where the tokenizer says so.
        clean: see `ExternalTokenizerConfig`.
    """
    library = require("transformers", extra="transformers")
    found = library.AutoTokenizer.from_pretrained(location, local_files_only=local_only(location))
    content = found.backend_tokenizer.to_str().encode()
    return content, ExternalTokenizerConfig(
        context_length=min(found.model_max_length, length),
        num_bytes=len(content),
        pad_id=found.pad_token_id or 0,
        padding_side=found.padding_side,
        clean=clean,
    )


def three(values: Iterable[float]) -> tuple[float, float, float]:
    """Return the numbers of three channels."""
    red, green, blue = (round(float(each), 8) for each in values)
    return red, green, blue


def first_line(error: BaseException) -> str:
    """Return the first line of a message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


@contextlib.contextmanager
def in_one_line(source: str) -> Iterator[None]:
    """Turn what another library raises into one line about a source.

    Raises:
        CheckpointError: one of `FAILURES` was raised.
    """
    try:
        yield
    except CheckpointError:
        raise
    except FAILURES as error:
        reason = first_line(error)
        if isinstance(error, LocalEntryNotFoundError) or "couldn't connect" in reason:
            reason = "it is not in the hub's cache, and the hub is not reachable"
        raise CheckpointError(f"{source} cannot be loaded: {reason}") from error
