"""Where training clips come from: the procedural world, a Kinetics list, an MSR-VTT json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from internvideo.data.samples import Sample
from internvideo.errors import DataError
from internvideo.video import Video
from internvideo.video.preprocessing import Preprocessing
from internvideo.world import CaptionMix, World

__all__ = ["KineticsSource", "MSRVTTSource", "WorldSource"]


class WorldSource:
    """Clips of the procedural world, rendered on access."""

    def __init__(self, world: World, *, num_clips: int, captions: CaptionMix) -> None:
        self.world = world
        self.num_clips = num_clips
        self.captions = captions

    def __len__(self) -> int:
        return self.num_clips

    def read(self, index: int, rng: np.random.Generator) -> Sample:
        """Return clip `index` with one caption drawn from the mix."""
        clip = self.world[index]
        caption = self.world.caption(clip.truth, rng, mix=self.captions)
        return Sample(frames=clip.frames, caption=caption, key=self.key(index))

    def key(self, index: int) -> str:
        """Return the name of a clip."""
        return f"world-{self.world.seed}-{index}"


@dataclass(frozen=True, slots=True)
class _Entry:
    path: Path
    captions: tuple[str, ...] = ()
    label: int | None = None


class _VideoSource:
    """Clips cut from video files by the sampling rule of a `Preprocessing`."""

    def __init__(self, entries: list[_Entry], preprocessing: Preprocessing) -> None:
        self.entries = entries
        self.preprocessing = preprocessing

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, index: int, rng: np.random.Generator) -> Sample:
        """Decode one clip; draw one of its captions, if it has any."""
        entry = self.entries[index]
        with Video(entry.path) as video:
            views = self.preprocessing.sample(video.num_frames, video.fps)
            frames = video.frames(views[len(views) // 2]).numpy()
        caption = str(rng.choice(entry.captions)) if entry.captions else None
        return Sample(frames=frames, caption=caption, label=entry.label, key=self.key(index))

    def key(self, index: int) -> str:
        """Return the path of a video."""
        return str(self.entries[index].path)


class KineticsSource(_VideoSource):
    """A Kinetics list: one `path label` a line, separated by the last space; no header.

    Raises:
        DataError: an empty list, or a line without a label (its number is named).
    """

    def __init__(
        self, annotations: Path, preprocessing: Preprocessing, *, root: Path | None = None
    ) -> None:
        root = root or annotations.parent
        entries = []
        for number, line in enumerate(_read_text(annotations).splitlines(), start=1):
            if not line.strip():
                continue
            path, _, label = line.strip().rpartition(" ")
            if not path or not label.lstrip("-").isdigit():
                raise DataError(
                    f"{annotations}:{number}: expected 'path label' separated by a space, "
                    f"got {line.strip()!r}"
                )
            entries.append(_Entry(path=root / path, label=int(label)))
        super().__init__(_not_empty(entries, annotations), preprocessing)


class MSRVTTSource(_VideoSource):
    """The videos of one split of an MSR-VTT json, with all their sentences.

    Raises:
        DataError: not an MSR-VTT json, or no captioned video in the split.
    """

    def __init__(
        self, annotations: Path, preprocessing: Preprocessing, *, videos: Path, split: str
    ) -> None:
        try:
            data = json.loads(_read_text(annotations))
            listed = [video for video in data["videos"] if video["split"] == split]
            captions: dict[str, list[str]] = {}
            for sentence in data["sentences"]:
                captions.setdefault(sentence["video_id"], []).append(sentence["caption"])
            names = [video["video_id"] for video in listed]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise DataError(
                f"{annotations} is not an MSR-VTT json ({type(error).__name__}: {error}); expected "
                "'videos' (video_id, split) and 'sentences' (video_id, caption)"
            ) from None
        entries = [
            _Entry(path=videos / f"{name}.mp4", captions=tuple(captions[name]))
            for name in names
            if name in captions
        ]
        super().__init__(_not_empty(entries, annotations), preprocessing)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"no annotation file {path}") from None


def _not_empty(entries: list[_Entry], path: Path) -> list[_Entry]:
    if not entries:
        raise DataError(f"{path} lists no clips that can be used")
    return entries
