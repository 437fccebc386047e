"""The annotation formats by name: the one list that readers, recipes and the command line share."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

__all__ = ["LIST_KINDS", "FileKind", "ListKind"]

FileKind: TypeAlias = Literal[
    "kinetics",
    "something-something",
    "ucf101",
    "hmdb51",
    "moments",
    "activitynet",
    "hacs",
    "hybrid",
    "labelled",
    "class-folders",
    "msvd",
    "videochat",
]
"""Formats that are read from their file, the folder of the videos, classes and split alone."""

ListKind: TypeAlias = Literal[FileKind, "msrvtt", "captions"]
"""All formats: MSR-VTT is a kind of its own in recipes, and captions have columns to choose."""

LIST_KINDS: tuple[ListKind, ...] = get_args(ListKind)
