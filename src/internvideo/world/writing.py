"""Writing the world to disk: what the writers of all formats share.

Every writer leaves the same things behind: the videos under `videos/`, the annotation files of the
dataset it imitates, and `truth.jsonl`, one line a clip with everything there is to know about it
(actors, boxes, tracks, timeline, captions, questions). Boxes there are in pixels of the written
video. A writer called again with the same arguments writes the same bytes of annotation.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import UInt8

from internvideo.errors import ConfigError
from internvideo.world.clip import World, map_clips
from internvideo.world.encode import Encoding, write_mp4
from internvideo.world.language import CaptionMix

__all__ = [
    "DatasetWriter",
    "Layout",
    "Progress",
    "TruthLine",
    "WrittenWorld",
    "in_split",
    "write_csv",
    "write_text",
]

Progress: TypeAlias = Callable[[int, int], None]
TruthLine: TypeAlias = dict[str, Any]

_JPEG_QUALITY = 95
_WORLD, _ENCODING = World(), Encoding()


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenWorld:
    """What a writer left on disk.

    Attributes:
        directory: the folder.
        videos: paths of the videos, in the order of their numbers.
        truth: path of `truth.jsonl`.
        annotations: paths of the files of the imitated dataset.
    """

    directory: Path
    videos: tuple[Path, ...]
    truth: Path
    annotations: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """How a format lays out its videos; plain values, as processes need it.

    Attributes:
        splits: names of the splits, in the order of the clips.
        video: path of a video below the directory; `{index}` is the number of the clip, `{snake}`
            and `{camel}` its action as `move_left` and `MoveLeft`.
        frames: likewise the path of a frame as an image, `{frame}` being its number from 1; None
            writes no images.
        captions: sentences a clip in `truth.jsonl`.
        mix: what they speak of.
    """

    splits: tuple[str, ...]
    video: str
    frames: str | None = None
    captions: int = 5
    mix: CaptionMix = field(default_factory=CaptionMix)

    def __post_init__(self) -> None:
        if self.captions < 1:
            raise ConfigError(f"captions must be at least 1, got {self.captions}")

    def place(self, pattern: str, index: int, action: str, frame: int = 0) -> str:
        """Return the path that a pattern gives for a clip."""
        words = action.split()
        camel = "".join(word.capitalize() for word in words)
        return pattern.format(index=index, snake="_".join(words), camel=camel, frame=frame)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """What a process needs to write clips; `split_ends` are clip counts up to each split's end."""

    directory: Path
    layout: Layout
    encoding: Encoding
    split_ends: tuple[int, ...]

    def split_of(self, index: int) -> str:
        place = sum(index >= end for end in self.split_ends)
        return self.layout.splits[place]


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetWriter:
    """Writes clips of a world as a dataset in one format; each format is one of these.

    Attributes:
        layout: where the videos go.
        shares: shares of the splits of the layout, unless others are asked for.
        annotate: writes the annotation files into the directory, and returns their paths.
    """

    layout: Layout
    shares: tuple[float, ...]
    annotate: Callable[[Path, World, list[TruthLine]], list[Path]]

    def __call__(
        self,
        directory: str | Path,
        num_clips: int,
        *,
        world: World = _WORLD,
        splits: Sequence[float] | None = None,
        captions: int | None = None,
        mix: CaptionMix | None = None,
        encoding: Encoding = _ENCODING,
        workers: int = 1,
        progress: Progress | None = None,
    ) -> WrittenWorld:
        """Write all videos, `truth.jsonl`, and the annotation files.

        Args:
            directory: folder to write to; made if it is missing.
            num_clips: clips over all splits; the splits are consecutive ranges of clip numbers.
            world: where the clips come from.
            splits: shares of the splits; by default those of the format.
            captions: sentences a clip; by default as many as the format has.
            mix: what the sentences speak of; by default what is usual for the format.
            encoding: frame rate, enlargement and quality of the videos.
            workers: processes.
            progress: called with (clips written, clips in all).

        Returns:
            the paths of what was written.

        Raises:
            ConfigError: a number of clips, captions, workers or a share is impossible.
        """
        directory = Path(directory)
        layout = replace(
            self.layout,
            captions=self.layout.captions if captions is None else captions,
            mix=mix or self.layout.mix,
        )
        job = _Job(
            directory=directory,
            layout=layout,
            encoding=encoding,
            split_ends=_split_ends(num_clips, splits or self.shares, layout.splits),
        )
        directory.mkdir(parents=True, exist_ok=True)
        lines: list[TruthLine] = []
        for part in map_clips(_write_part, world, range(num_clips), job, workers=workers):
            lines += part
            if progress is not None:
                progress(len(lines), num_clips)
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        return WrittenWorld(
            directory=directory,
            videos=tuple(directory / line["video"] for line in lines),
            truth=write_text(directory / "truth.jsonl", text),
            annotations=tuple(self.annotate(directory, world, lines)),
        )


def _write_part(world: World, indices: Sequence[int], job: _Job) -> list[TruthLine]:
    """Write some clips; return their lines of truth."""
    lines, layout = [], job.layout
    for index in indices:
        clip = world[index]
        action = clip.truth.action
        relative = layout.place(layout.video, index, action)
        video = job.directory / relative
        video.parent.mkdir(parents=True, exist_ok=True)
        write_mp4(video, clip.frames, job.encoding)
        if layout.frames is not None:
            _write_frames(job, index, action, clip.frames)
        split = job.split_of(index)
        lines.append(
            {
                "video": relative,
                "split": split,
                "fps": job.encoding.fps,
                **_scaled(clip.truth.to_dict(), job.encoding.scale),
                "captions": world.captions(
                    clip.truth, layout.captions, layout.mix, held_out=split == "test"
                ),
                "questions": [asdict(item) for item in world.questions(clip.truth)],
            }
        )
    return lines


def _write_frames(
    job: _Job, index: int, action: str, frames: UInt8[np.ndarray, "frames height width 3"]
) -> None:
    from PIL import Image

    assert job.layout.frames is not None
    scale = job.encoding.scale
    for number, picture in enumerate(frames, start=1):
        path = job.directory / job.layout.place(job.layout.frames, index, action, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        enlarged = picture.repeat(scale, axis=0).repeat(scale, axis=1)
        Image.fromarray(enlarged).save(path, quality=_JPEG_QUALITY, subsampling=0)


def _scaled(truth: TruthLine, scale: int) -> TruthLine:
    """Return the truth with its pixels counted in the enlarged video."""
    truth["size"] *= scale
    for actor in truth["actors"]:
        actor["boxes"] = [
            None if box is None else [round(side * scale, 2) for side in box]
            for box in actor["boxes"]
        ]
    return truth


def _split_ends(num_clips: int, shares: Sequence[float], names: Sequence[str]) -> tuple[int, ...]:
    if num_clips < 1:
        raise ConfigError(f"num_clips must be at least 1, got {num_clips}")
    if len(shares) != len(names) or min(shares) < 0 or not math.isclose(sum(shares), 1.0):
        raise ConfigError(
            f"splits must be {len(names)} shares ({', '.join(names)}) that sum to 1, got {shares}"
        )
    return tuple(round(num_clips * sum(shares[: place + 1])) for place in range(len(shares) - 1))


def in_split(lines: list[TruthLine], split: str) -> list[TruthLine]:
    """Return the lines of one split."""
    return [line for line in lines if line["split"] == split]


def write_text(path: Path, text: str) -> Path:
    """Write a text file, making its folder; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def write_csv(path: Path, header: list[str], rows: list[list[str]]) -> Path:
    """Write a csv file with a header; return its path."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return path
