"""Which simulators there are."""

from __future__ import annotations

from collections.abc import Callable

from internvideo.errors import ConfigError, did_you_mean
from internvideo.simulator.backend import Backend
from internvideo.simulator.embedded import EmbeddedBackend
from internvideo.simulator.habitat import HabitatBackend

__all__ = ["open_backend"]


def open_backend(
    name: str, *, scenes: str = "", sliding: bool = True, radius: float = 0.1
) -> Backend:
    """Start a simulator.

    Args:
        name: `rooms` is the embedded one, `habitat` is Habitat-Sim where that is installed.
        scenes: the folder below which the scenes of episodes lie.
        sliding: whether an agent that meets a wall at an angle slides along it.
        radius: of the agent in metres: 0.1 in R2R-CE, 0.18 in RxR-CE.

    Raises:
        ConfigError: an unknown name.
        MissingExtraError: what it needs is not installed.
    """
    backends: dict[str, Callable[..., Backend]] = {
        "rooms": EmbeddedBackend,
        "habitat": HabitatBackend,
    }
    if name not in backends:
        raise ConfigError(
            f"unknown simulator '{name}'; there are {' and '.join(backends)}."
            f"{did_you_mean(name, backends)}"
        )
    return backends[name](scenes=scenes, sliding=sliding, radius=radius)
