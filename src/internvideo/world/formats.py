"""Writing the world to disk: mp4 files with annotations in the formats of public datasets.

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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from internvideo.errors import ConfigError
from internvideo.world.clip import World, map_clips
from internvideo.world.encode import Encoding, write_mp4
from internvideo.world.language import CaptionMix
from internvideo.world.sprites import BACKGROUNDS

__all__ = ["WrittenWorld", "write_kinetics", "write_msrvtt"]

Progress = Callable[[int, int], None]

_DEFAULT_WORLD = World()
_DEFAULT_ENCODING = Encoding()
_DEFAULT_SPLITS = (0.8, 0.1, 0.1)
_RETRIEVAL_MIX = CaptionMix(
    action_only=0.0, appearance_only=0.0, generic=0.0, texture=0.5, color=1.0, shape=0.95
)


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
class _Job:
    """What a process needs to write clips; `split_ends` are clip counts up to each split's end."""

    directory: Path
    pattern: str
    encoding: Encoding
    captions: int
    mix: CaptionMix
    split_names: tuple[str, ...]
    split_ends: tuple[int, ...]

    def split_of(self, index: int) -> str:
        place = sum(index >= end for end in self.split_ends)
        return self.split_names[place]


def _write_part(world: World, indices: Sequence[int], job: _Job) -> list[dict[str, Any]]:
    """Write some clips; return their lines of truth."""
    lines = []
    for index in indices:
        clip = world[index]
        relative = job.pattern.format(index)
        write_mp4(job.directory / relative, clip.frames, job.encoding)
        split = job.split_of(index)
        lines.append(
            {
                "video": relative,
                "split": split,
                "fps": job.encoding.fps,
                **_scaled(clip.truth.to_dict(), job.encoding.scale),
                "captions": world.captions(
                    clip.truth, job.captions, job.mix, held_out=split == "test"
                ),
                "questions": [asdict(item) for item in world.questions(clip.truth)],
            }
        )
    return lines


def _scaled(truth: dict[str, Any], scale: int) -> dict[str, Any]:
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


def _write_clips(
    world: World, num_clips: int, job: _Job, workers: int, progress: Progress | None
) -> list[dict[str, Any]]:
    """Write all videos, then `truth.jsonl`; return its lines."""
    (job.directory / job.pattern).parent.mkdir(parents=True, exist_ok=True)
    lines: list[dict[str, Any]] = []
    for part in map_clips(_write_part, world, range(num_clips), job, workers=workers):
        lines += part
        if progress is not None:
            progress(len(lines), num_clips)
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (job.directory / "truth.jsonl").write_text(text, encoding="utf-8")
    return lines


def write_kinetics(
    directory: str | Path,
    num_clips: int,
    *,
    world: World = _DEFAULT_WORLD,
    splits: tuple[float, float, float] = _DEFAULT_SPLITS,
    encoding: Encoding = _DEFAULT_ENCODING,
    workers: int = 1,
    progress: Progress | None = None,
) -> WrittenWorld:
    """Write a video classification dataset as the VideoMAE family reads Kinetics.

    `train.csv`, `val.csv` and `test.csv` have a line `path label` for every clip: the path is
    relative to the directory, the label counts the world's actions. `labels.txt` names the
    labels, one a line, in their order.

    Args:
        directory: folder to write to; made if it is missing.
        num_clips: clips over all splits; the splits are consecutive ranges of clip numbers.
        world: where the clips come from.
        splits: shares of train, val and test.
        encoding: frame rate, enlargement and quality of the videos.
        workers: processes.
        progress: called with (clips written, clips in all).

    Returns:
        the paths of what was written.

    Raises:
        ConfigError: a number of clips, workers or a share is impossible.
    """
    directory = Path(directory)
    names = ("train", "val", "test")
    job = _Job(
        directory=directory,
        pattern="videos/clip_{:06d}.mp4",
        encoding=encoding,
        captions=5,
        mix=CaptionMix(),
        split_names=names,
        split_ends=_split_ends(num_clips, splits, names),
    )
    lines = _write_clips(world, num_clips, job, workers, progress)
    actions = world.style.actions
    annotations = []
    for name in names:
        rows = [
            f"{line['video']} {actions.index(line['action'])}\n"
            for line in lines
            if line["split"] == name
        ]
        annotations.append(_write_text(directory / f"{name}.csv", "".join(rows)))
    annotations.append(
        _write_text(directory / "labels.txt", "".join(f"{action}\n" for action in actions))
    )
    return _written(directory, lines, annotations)


def write_msrvtt(
    directory: str | Path,
    num_clips: int,
    *,
    world: World = _DEFAULT_WORLD,
    captions: int = 20,
    mix: CaptionMix = _RETRIEVAL_MIX,
    splits: tuple[float, float, float] = _DEFAULT_SPLITS,
    encoding: Encoding = _DEFAULT_ENCODING,
    workers: int = 1,
    progress: Progress | None = None,
) -> WrittenWorld:
    """Write a video-text retrieval dataset in the files of MSR-VTT.

    `MSRVTT_data.json` has `info`, `videos` (video_id, split "train", "validate" or "test", start
    and end time, category = number of the background's kind) and `sentences` (sen_id, video_id,
    caption). `MSRVTT_train.9k.csv` lists the videos of train and validate, as the 1k-A protocol
    trains on both; `MSRVTT_JSFUSION_test.csv` has one sentence for every test video. Sentences of
    the test split are held out of training (`internvideo.world.is_held_out`).

    Args:
        directory: folder to write to; made if it is missing.
        num_clips: clips over all splits; the splits are consecutive ranges of clip numbers.
        world: where the clips come from.
        captions: sentences a video.
        mix: what the sentences speak of; by default of everything.
        splits: shares of train, validate and test.
        encoding: frame rate, enlargement and quality of the videos.
        workers: processes.
        progress: called with (clips written, clips in all).

    Returns:
        the paths of what was written.

    Raises:
        ConfigError: a number of clips, captions, workers or a share is impossible.
    """
    if captions < 1:
        raise ConfigError(f"captions must be at least 1, got {captions}")
    directory = Path(directory)
    names = ("train", "validate", "test")
    job = _Job(
        directory=directory,
        pattern="videos/video{}.mp4",
        encoding=encoding,
        captions=captions,
        mix=mix,
        split_names=names,
        split_ends=_split_ends(num_clips, splits, names),
    )
    lines = _write_clips(world, num_clips, job, workers, progress)
    data = _write_text(directory / "MSRVTT_data.json", json.dumps(_msrvtt_data(lines), indent=1))
    train = [[line["index"]] for line in lines if line["split"] != "test"]
    test = [
        [f"ret{place}", f"msr{line['index']}", f"video{line['index']}", line["captions"][0]]
        for place, line in enumerate(line for line in lines if line["split"] == "test")
    ]
    annotations = [
        data,
        _write_csv(
            directory / "MSRVTT_train.9k.csv", ["video_id"], [[f"video{row[0]}"] for row in train]
        ),
        _write_csv(
            directory / "MSRVTT_JSFUSION_test.csv", ["key", "vid_key", "video_id", "sentence"], test
        ),
    ]
    return _written(directory, lines, annotations)


def _msrvtt_data(lines: list[dict[str, Any]]) -> dict[str, Any]:
    videos, sentences = [], []
    for line in lines:
        video_id = f"video{line['index']}"
        videos.append(
            {
                "category": BACKGROUNDS.index(line["background"]["kind"]),
                "url": "",
                "video_id": video_id,
                "start time": 0.0,
                "end time": line["num_frames"] / line["fps"],
                "split": line["split"],
                "id": line["index"],
            }
        )
        for sentence in line["captions"]:
            sentences.append({"caption": sentence, "video_id": video_id, "sen_id": len(sentences)})
    info = {
        "contributor": "internvideo",
        "data_created": "",
        "version": "1.0",
        "description": "Procedural clips in the format of MSR-VTT",
        "url": "",
        "year": "",
    }
    return {"info": info, "videos": videos, "sentences": sentences}


def _write_text(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def _write_csv(path: Path, header: list[str], rows: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return path


def _written(directory: Path, lines: list[dict[str, Any]], files: list[Path]) -> WrittenWorld:
    return WrittenWorld(
        directory=directory,
        videos=tuple(directory / line["video"] for line in lines),
        truth=directory / "truth.jsonl",
        annotations=tuple(files),
    )
