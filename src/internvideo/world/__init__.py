"""Procedural videos with complete ground truth: actions that need time to tell apart.

Textured coloured shapes and handwritten digits act over drifting backgrounds. `World(seed=0)[7]` is
a clip and the truth about it; `generate` paints many; `write_kinetics`, `write_ucf101` and the like
write video files with annotations in the official formats. Nothing here knows of models or tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from internvideo.world.actions import (
        ACTIONS,
        REVERSAL_PAIRS,
        Action,
        Motion,
        action_named,
        reversal_of,
        trajectory,
    )
    from internvideo.world.clip import World, WorldClip, generate
    from internvideo.world.encode import Encoding, write_mp4
    from internvideo.world.formats import (
        WrittenWorld,
        write_hmdb51,
        write_internvid,
        write_kinetics,
        write_msrvtt,
        write_msvd,
        write_multiple_choice,
        write_something_something,
        write_something_something_frames,
        write_ucf101,
        write_videochat,
        write_webvid,
    )
    from internvideo.world.language import (
        CaptionMix,
        QuestionAnswer,
        action_prompts,
        color_prompts,
        is_held_out,
        object_prompts,
        plain_caption,
        vocabulary,
    )
    from internvideo.world.painting import render
    from internvideo.world.scene import Actor, Background, Event, Scene
    from internvideo.world.sprites import BACKGROUNDS, COLORS, OBJECTS, TEXTURES

__all__ = [
    "ACTIONS",
    "BACKGROUNDS",
    "COLORS",
    "OBJECTS",
    "REVERSAL_PAIRS",
    "TEXTURES",
    "Action",
    "Actor",
    "Background",
    "CaptionMix",
    "Encoding",
    "Event",
    "Motion",
    "QuestionAnswer",
    "Scene",
    "World",
    "WorldClip",
    "WrittenWorld",
    "action_named",
    "action_prompts",
    "color_prompts",
    "generate",
    "is_held_out",
    "object_prompts",
    "plain_caption",
    "render",
    "reversal_of",
    "trajectory",
    "vocabulary",
    "write_hmdb51",
    "write_internvid",
    "write_kinetics",
    "write_mp4",
    "write_msrvtt",
    "write_msvd",
    "write_multiple_choice",
    "write_something_something",
    "write_something_something_frames",
    "write_ucf101",
    "write_videochat",
    "write_webvid",
]

_HOMES = {
    "actions": (
        "ACTIONS",
        "REVERSAL_PAIRS",
        "Action",
        "Motion",
        "action_named",
        "reversal_of",
        "trajectory",
    ),
    "clip": ("World", "WorldClip", "generate"),
    "encode": ("Encoding", "write_mp4"),
    "formats": (
        "WrittenWorld",
        "write_hmdb51",
        "write_internvid",
        "write_kinetics",
        "write_msrvtt",
        "write_msvd",
        "write_multiple_choice",
        "write_something_something",
        "write_something_something_frames",
        "write_ucf101",
        "write_videochat",
        "write_webvid",
    ),
    "language": (
        "CaptionMix",
        "QuestionAnswer",
        "action_prompts",
        "color_prompts",
        "is_held_out",
        "object_prompts",
        "plain_caption",
        "vocabulary",
    ),
    "painting": ("render",),
    "scene": ("Actor", "Background", "Event", "Scene"),
    "sprites": ("BACKGROUNDS", "COLORS", "OBJECTS", "TEXTURES"),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
