"""Errors that a user can act on.

Everything the library raises on bad input derives from `InternVideoError`; the command line prints
its message as one line and exits with code 2. Programming mistakes stay ordinary exceptions.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "InternVideoError",
    "MissingExtraError",
    "UnknownNameError",
    "VideoError",
    "did_you_mean",
    "require",
]


class InternVideoError(ValueError):
    """Bad input, told in one line: what was received, what was expected, what to do next."""


class VideoError(InternVideoError):
    """A video that cannot be read; the message names the file and the reason."""


class CheckpointError(InternVideoError):
    """A weight file that is unsafe, broken, or belongs to another model."""


class ConfigError(InternVideoError):
    """A recipe or option with an unknown key or an impossible value."""


class DataError(InternVideoError):
    """An annotation file or dataset that cannot be used as it is."""


class UnknownNameError(InternVideoError):
    """A model, recipe or dataset name that does not exist."""


class MissingExtraError(InternVideoError, ImportError):
    """An optional package is needed; the message names the extra that brings it."""


def did_you_mean(name: str, known: Iterable[str], *, count: int = 3) -> str:
    """Return `" Did you mean 'a' or 'b'?"` for the nearest known names, or an empty string."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=count, cutoff=0.5)
    if not near:
        return ""
    return f" Did you mean {' or '.join(repr(by_lower[match]) for match in near)}?"


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional module, or say which extra brings it.

    Raises:
        MissingExtraError: the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"this needs the package '{module}'; "
            f"install it with: pip install 'internvideo[{extra}]'"
        ) from error
