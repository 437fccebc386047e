"""Which simulators there are."""

from __future__ import annotations

from internvideo.errors import ConfigError
from internvideo.simulator.backend import Backend
from internvideo.simulator.embedded import EmbeddedBackend

__all__ = ["open_backend"]


def open_backend(
    name: str, *, scenes: str = "", sliding: bool = True, radius: float = 0.1
) -> Backend:
    """Start a simulator.

    Args:
        name: `rooms` is the embedded one.
        scenes: the folder below which the scenes of episodes lie.
        sliding: whether an agent that meets a wall at an angle slides along it.
        radius: of the agent in metres: 0.1 in R2R-CE, 0.18 in RxR-CE.

    Raises:
        ConfigError: an unknown name.
        MissingExtraError: what it needs is not installed.
    """
    if name == "rooms":
        return EmbeddedBackend(scenes=scenes, sliding=sliding, radius=radius)
    raise ConfigError(f"unknown simulator '{name}'; there is rooms")
