"""General video understanding: pretrain, adapt and use video foundation models.

    >>> import internvideo as iv
    >>> model = iv.load("viclip-nano")
    >>> model.classify("clip.mp4", ["a star moves left", "a star moves right"])  # doctest: +SKIP

Importing the package costs nothing: names are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from internvideo.errors import InternVideoError
    from internvideo.pipeline import VideoModel, load
    from internvideo.recipe import list_recipes, load_recipe
    from internvideo.results import Classification
    from internvideo.training import run_recipe
    from internvideo.video import Preprocessing, Video, find_videos, write_video
    from internvideo.world import World
    from internvideo.zoo import find_card, list_models, verify

__version__ = "0.1.0"

_HOMES = {
    "Classification": "results",
    "InternVideoError": "errors",
    "Preprocessing": "video",
    "Video": "video",
    "VideoModel": "pipeline",
    "World": "world",
    "find_card": "zoo",
    "find_videos": "video",
    "list_models": "zoo",
    "list_recipes": "recipe",
    "load": "pipeline",
    "load_recipe": "recipe",
    "run_recipe": "training",
    "verify": "zoo",
    "write_video": "video",
}

__all__ = [
    "Classification",
    "InternVideoError",
    "Preprocessing",
    "Video",
    "VideoModel",
    "World",
    "__version__",
    "find_card",
    "find_videos",
    "list_models",
    "list_recipes",
    "load",
    "load_recipe",
    "run_recipe",
    "verify",
    "write_video",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'internvideo' has no attribute '{name}'")
    return getattr(importlib.import_module(f"internvideo.{home}"), name)


def __dir__() -> list[str]:
    return __all__
