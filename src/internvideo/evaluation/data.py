"""Annotated videos as a user names them: a list or folder in any format, or the world."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from internvideo.data.build import ListKind, open_list
from internvideo.data.clip_list import ClipList
from internvideo.data.feature_videos import AnnotatedVideos, read_videos
from internvideo.data.samples import EvaluationSource
from internvideo.data.untrimmed import UntrimmedSource
from internvideo.data.world import EVALUATION_SEED, WorldSource
from internvideo.errors import ConfigError, DataError
from internvideo.formats.detect import detect_kind
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.sources import is_url
from internvideo.world import World

__all__ = ["AnnotatedData", "open_segments", "open_untrimmed", "open_videos"]

_WORLD = "world"
_WORLD_CLIPS = 600
_LOOKED_FOR = 20
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class AnnotatedData:
    """Annotated videos as a user names them.

    Attributes:
        path: the annotation file or folder, or "world" for clips of the procedural world.
        format: of the annotations; None detects it from their content.
        root: folder or address of the videos; None is the folder of the annotations.
        labels: the class list, or the id of a label map.
        split: for files that hold several.
        first_label: what numbers of classes count from in the file; None is 0.
        num_clips: for the world.
        seed: likewise.
        num_events: likewise: actions in a clip, one after the other.
    """

    path: str
    format: str | None = None
    root: str | None = None
    labels: str | None = None
    split: str | None = None
    first_label: int | None = None
    num_clips: int | None = None
    seed: int | None = None
    num_events: int | None = None

    def __post_init__(self) -> None:
        if not self.is_world:
            for option in ("num_clips", "seed", "num_events"):
                if getattr(self, option) is not None:
                    name = option.replace("_", "-")
                    raise ConfigError(
                        f"--{name} belongs to --data world, but the data is {self.path}"
                    )
            return
        for option in ("num_clips", "num_events"):
            value = getattr(self, option)
            if value is not None and value < 1:
                raise ConfigError(f"{option} must be at least 1, got {value}")
        for option in ("format", "root", "labels", "split", "first_label"):
            if getattr(self, option) is not None:
                name = option.replace("_", "-")
                raise ConfigError(
                    f"--{name} belongs to a list or folder; the world is rendered and knows its "
                    "classes (a folder of that name is given as ./world)"
                )

    @property
    def is_world(self) -> bool:
        """Whether the clips are those of the procedural world."""
        return self.path == _WORLD

    @property
    def name(self) -> str:
        """What a report calls the data."""
        if not self.is_world:
            return self.path
        source = self.world_source()
        events = f", {self.num_events} events each" if self.num_events else ""
        return f"{source.num_clips} clips of the world, seed {source.world.seed}{events}"

    def only_file(self) -> Path:
        """Return the annotation file, for data that have no videos to look at.

        Raises:
            ConfigError: the world, or an option beside the file.
        """
        if self.is_world:
            raise ConfigError("the world has no such annotations; give an annotation file")
        self.refuse("format", "root", "labels", "split", "first_label")
        return Path(self.path)

    def refuse(self, *options: str) -> None:
        """Refuse options that do not matter to these data; raises ConfigError."""
        for option in options:
            if getattr(self, option) is not None:
                name = option.replace("_", "-")
                raise ConfigError(f"--{name} does not matter to {self.path}; leave it out")

    def with_class_list(self, labels: Path | None) -> AnnotatedData:
        """Return the same videos with their format detected, and with classes from this file.

        Where captions are expected elsewhere, they are the classes here (ViCLIP's zero-shot sets).

        Raises:
            DataError: the format cannot be detected.
        """
        path = Path(self.path)
        kind = self.format or detect_kind(path)
        if kind == "captions" and self.format is None and path.suffix in (".json", ".csv"):
            kind = "labelled"
        return replace(self, format=kind, labels=None if labels is None else str(labels))

    def world_source(self, actions: tuple[str, ...] | None = None) -> WorldSource:
        """Return the clips of the world, which are rendered when they are read.

        Args:
            actions: the classes; None for all.
        """
        seed = EVALUATION_SEED if self.seed is None else self.seed
        world = World(seed=seed, num_events=self.num_events or 1, actions=actions)
        return WorldSource(world, num_clips=self.num_clips or _WORLD_CLIPS)


def open_videos(data: AnnotatedData, protocol: Preprocessing) -> EvaluationSource:
    """Open annotated videos of any format, or of the world.

    Raises:
        DataError: the annotations cannot be used; the line is named.
        ConfigError: an unknown format, or an option that it does not have.
    """
    if data.is_world:
        return data.world_source()
    path = Path(data.path)
    kind: ListKind = data.format or detect_kind(path)  # type: ignore[assignment]
    labels = None if data.labels is None else Path(data.labels)
    source = open_list(
        kind,
        path,
        protocol=protocol,
        root=data.root,
        labels=labels,
        split=data.split,
        first_label=data.first_label or 0,
    )
    _warn_of_root(source.clips, given=data.root is not None)
    return source


def open_segments(data: AnnotatedData, *, task: str, kind: str, expected: str) -> AnnotatedVideos:
    """Read untrimmed videos and their segments with classes.

    Args:
        data: a file.
        task: what the user asks for, in words.
        kind: the format in which the world can be written for it.
        expected: annotations of this task.

    Raises:
        DataError: the file cannot be used, or names no classes.
        ConfigError: the world, which has to be written first, or an option that there is not.
    """
    if data.is_world:
        raise ConfigError(f"write the world first: internvideo world --format {kind} --out FOLDER")
    if data.first_label:
        raise ConfigError(f"--first-label does not go with {task}; leave it out")
    labels = None if data.labels is None else Path(data.labels)
    videos = read_videos(
        Path(data.path), kind=data.format, root=data.root, labels=labels, split=data.split
    )
    if not videos.class_names:
        raise DataError(
            f"{videos.file} names no classes; give them with --labels, or annotations such as "
            f"{expected}"
        )
    return videos


def open_untrimmed(data: AnnotatedData, *, kind: str) -> UntrimmedSource:
    """Open annotated videos as they are; what cannot be used is in `annotated.bad_lines`.

    Args:
        data: a file.
        kind: its format, where the user names none.

    Raises:
        DataError: the file cannot be used.
        ConfigError: the world, which has to be written first, or an option that there is not.
    """
    if data.is_world:
        raise ConfigError(f"write the world first: internvideo world --format {kind} --out FOLDER")
    if data.labels is not None or data.first_label is not None:
        raise ConfigError(f"--labels and --first-label do not go with {data.path}; leave them out")
    return UntrimmedSource(
        read_videos(Path(data.path), kind=data.format or kind, root=data.root, split=data.split)
    )


def _warn_of_root(clips: ClipList, *, given: bool) -> None:
    """Say how to name the folder of the videos where none of the first is in that of the list."""
    paths = [clips.path(place) for place in range(min(_LOOKED_FOR, len(clips)))]
    if not given and not any(is_url(path) or Path(path).exists() for path in paths):
        _LOG.warning("%s is not there; --root names the folder that paths are below", paths[0])
