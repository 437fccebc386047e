"""The procedural world as a data set on disk: painted videos, annotated in a public format.

Every data set has its videos, the annotation files of the format, and `truth.jsonl`, one line a
clip with everything there is to know about it (actors, boxes, tracks, timeline, captions,
questions). Boxes there are in pixels of the written video. The same arguments write the same bytes
of annotation.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import UInt8

from internvideo.annotations import VideoAnnotation
from internvideo.errors import ConfigError
from internvideo.formats import WRITABLE, Format, Layout, find_format
from internvideo.formats.files import Collection
from internvideo.video.writer import write_video
from internvideo.world import ACTIONS, CaptionMix, Encoding, World, write_mp4
from internvideo.world.annotation import action_template, annotate, scaled_truth
from internvideo.world.clip import map_clips

__all__ = ["WrittenWorld", "write_world"]

Progress: TypeAlias = Callable[[int, int], None]

_JPEG_QUALITY = 95
_LONGEST = 300  # seconds of an untrimmed video
_WORLD, _ENCODING = World(), Encoding()
_WHOLE_SENTENCES = CaptionMix(
    action_only=0.0, appearance_only=0.0, generic=0.0, texture=0.5, color=1.0, shape=0.95
)


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenWorld:
    """What is on disk.

    Attributes:
        directory: the folder.
        videos: paths of the videos, in the order of their numbers.
        truth: path of `truth.jsonl`.
        annotations: paths of the annotation files.
    """

    directory: Path
    videos: tuple[Path, ...]
    truth: Path
    annotations: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """What a process needs to write clips; `split_ends` are clip counts up to each split's end."""

    directory: Path
    layout: Layout
    mix: CaptionMix
    choices: bool
    encoding: Encoding
    split_ends: tuple[int, ...]

    def split_of(self, index: int) -> str:
        return self.layout.splits[sum(index >= end for end in self.split_ends)]


def write_world(
    directory: str | Path,
    num_clips: int,
    *,
    kind: str = "kinetics",
    world: World = _WORLD,
    splits: Sequence[float] | None = None,
    captions: int | None = None,
    mix: CaptionMix | None = None,
    encoding: Encoding = _ENCODING,
    workers: int = 1,
    progress: Progress | None = None,
) -> WrittenWorld:
    """Write clips of a world as a data set in one format.

    The test split's captions are held out of training (`internvideo.world.is_held_out`).

    Args:
        directory: folder to write to; made if it is missing.
        num_clips: clips over all splits; the splits are consecutive ranges of clip numbers.
        kind: the format, one of `internvideo.formats.WRITABLE`.
        world: where the clips come from; a format whose videos have several moments joins as many
            events, each as long as its clips.
        splits: shares of the splits; by default those of the format.
        captions: sentences a clip; by default as many as the format has. Moments have one each.
        mix: what the sentences speak of; by default whole sentences where they are the annotation.
        encoding: frame rate, enlargement and quality of the videos.
        workers: processes.
        progress: called with (clips written, clips in all).

    Returns:
        the paths of what was written.

    Raises:
        ConfigError: an unknown format, or a number of clips, captions, workers or a share that is
            impossible.
    """
    form, directory = find_format(kind, WRITABLE), Path(directory)
    assert form.layout is not None
    layout = form.layout if captions is None else replace(form.layout, captions=captions)
    if layout.captions < 1:
        raise ConfigError(f"captions must be at least 1, got {layout.captions}")
    job = _Job(
        directory=directory,
        layout=layout,
        mix=mix or (_WHOLE_SENTENCES if _has_sentences(form) else CaptionMix()),
        choices=form.annotates[0] == "choices",
        encoding=encoding,
        split_ends=_split_ends(num_clips, splits or layout.shares, layout.splits),
    )
    world, job = _with_moments(world, job)
    directory.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    videos: list[VideoAnnotation] = []
    for part in map_clips(_write_part, world, range(num_clips), job, workers=workers):
        for line, video in part:
            lines.append(line)
            videos.append(video)
        if progress is not None:
            progress(len(lines), num_clips)
    actions = ACTIONS if layout.key_frames else world.class_names
    classes = [action_template(action) for action in actions] if layout.templates else actions
    data = Collection(
        directory=directory, videos=videos, classes=classes, layout=layout,
        objects=world.style.objects,
    )  # fmt: skip
    truth = data.write_text("truth.jsonl", lines)
    written = form.load().write(data)
    return WrittenWorld(
        directory=directory,
        videos=tuple(directory / video.path for video in videos),
        truth=truth,
        annotations=tuple(written),
    )


def _has_sentences(form: Format) -> bool:
    """Return whether sentences are what is annotated, so that they should be whole ones."""
    untrimmed = form.layout is not None and form.layout.untrimmed
    return form.annotates[0] == "captions" or (untrimmed and "captions" in form.annotates)


def _with_moments(world: World, job: _Job) -> tuple[World, _Job]:
    """Return the world and the frame rate that a format with several moments a video needs."""
    moments, seconds = job.layout.moments, job.layout.moment_seconds
    frames = world.num_frames
    if job.layout.untrimmed:
        longest = (seconds or _LONGEST) * job.encoding.fps
        return replace(world, untrimmed=True, num_frames=longest), job
    if seconds is not None:
        fps = max(round(frames / seconds), 1)
        frames, job = fps * seconds, replace(job, encoding=replace(job.encoding, fps=fps))
    if moments > 1:
        world = replace(world, num_events=moments, num_frames=moments * frames)
    return world, job


def _write_part(
    world: World, indices: Sequence[int], job: _Job
) -> list[tuple[str, VideoAnnotation]]:
    """Write the videos of some clips; return their lines of truth and their annotations."""
    written, layout, encoding = [], job.layout, job.encoding
    for index in indices:
        clip = world[index]
        scene = clip.truth
        seconds = scene.num_frames / encoding.fps
        split = job.split_of(index)
        shown = clip.frames[: round(layout.shown * scene.num_frames)]
        relative = layout.place(
            layout.video, index, scene.action, split=split, seconds=seconds, frame=len(shown) - 1
        )
        video = job.directory / relative
        video.parent.mkdir(parents=True, exist_ok=True)
        _write_video(video, shown, encoding)
        if layout.frames is not None:
            _write_frames(job, index, scene.action, clip.frames)
        moments = None
        if layout.moments > 1 or layout.untrimmed:
            moments = world.moment_captions(scene, job.mix, held_out=split == "test")
        captions = moments
        if captions is None:
            captions = world.captions(scene, layout.captions, job.mix, held_out=split == "test")
        annotation = annotate(
            world,
            scene,
            path=relative,
            fps=encoding.fps,
            scale=encoding.scale,
            id=_name(job, world, index, video),
            split=split,
            captions=() if layout.untrimmed else [" ".join(moments)] if moments else captions,
            moments=moments or (),
            choices=job.choices,
            key_frames=layout.key_frames,
        )
        line: dict[str, Any] = {
            "video": relative,
            "split": split,
            "fps": encoding.fps,
            **scaled_truth(scene, encoding.scale),
            "captions": captions,
            "questions": [
                {"question": each.question, "answer": each.answer, "kind": each.kind}
                for each in annotation.questions
            ],
        }
        written.append((json.dumps(line, ensure_ascii=False) + "\n", annotation))
    return written


def _write_video(
    path: Path, frames: UInt8[np.ndarray, "frames height width 3"], encoding: Encoding
) -> None:
    if path.suffix == ".gif":
        enlarged = frames.repeat(encoding.scale, axis=1).repeat(encoding.scale, axis=2)
        write_video(path, enlarged, fps=encoding.fps, codec="gif")
    else:
        write_mp4(path, frames, encoding)


def _write_frames(
    job: _Job, index: int, action: str, frames: UInt8[np.ndarray, "frames height width 3"]
) -> None:
    from PIL import Image

    assert job.layout.frames is not None
    scale = job.encoding.scale
    for number, picture in enumerate(frames, start=1):
        path = job.directory / job.layout.place(job.layout.frames, index, action, frame=number)
        path.parent.mkdir(parents=True, exist_ok=True)
        enlarged = picture.repeat(scale, axis=0).repeat(scale, axis=1)
        Image.fromarray(enlarged).save(path, quality=_JPEG_QUALITY, subsampling=0)


def _name(job: _Job, world: World, index: int, video: Path) -> str:
    if job.layout.key_frames and not job.layout.untrimmed:
        return video.stem.rsplit("_", 2)[0]
    if job.layout.untrimmed:
        return video.stem.removeprefix("v_")
    return _youtube_id(world.seed, index) if job.layout.youtube_ids else str(index)


def _youtube_id(seed: int, index: int) -> str:
    """Return eleven characters as YouTube's ids have them; every eighth starts with a dash."""
    digest = hashlib.sha256(f"{seed} {index}".encode()).digest()
    name = base64.urlsafe_b64encode(digest)[:11].decode()
    return f"-{name[1:]}" if digest[-1] % 8 == 0 else name


def _split_ends(num_clips: int, shares: Sequence[float], names: Sequence[str]) -> tuple[int, ...]:
    if num_clips < 1:
        raise ConfigError(f"num_clips must be at least 1, got {num_clips}")
    if len(shares) != len(names) or min(shares) < 0 or not math.isclose(sum(shares), 1.0):
        raise ConfigError(
            f"splits must be {len(names)} shares ({', '.join(names)}) that sum to 1, got {shares}"
        )
    return tuple(round(num_clips * sum(shares[: place + 1])) for place in range(len(shares) - 1))
