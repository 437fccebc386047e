"""A folder for each class of videos, divided into lists to train, choose and test on."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from internvideo.data.build import read_list
from internvideo.data.clip_list import ClipEntry, ClipList
from internvideo.errors import ConfigError, DataError
from internvideo.files import write_whole

__all__ = ["SPLITS", "Lists", "relative_path", "unlisted", "write_lists"]

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Lists:
    """What was written.

    Attributes:
        folder: of the lists `train.csv`, `val.csv`, `test.csv` (lines `path label`) and of
            `labels.txt`.
        classes: the names of the classes, in the order of their numbers.
        counts: videos of each split.
        scarce: classes that are missing from the list to test or to choose on.
    """

    folder: Path
    classes: tuple[str, ...]
    counts: Mapping[str, int]
    scarce: tuple[str, ...]


def write_lists(
    videos: Path,
    folder: Path,
    *,
    val: float = 0.15,
    test: float = 0.15,
    group: str | None = None,
    seed: int = 0,
) -> Lists:
    """Divide a folder of classes by video, each class in the same shares.

    The lists name the videos relative to themselves: they are read without a `root`.

    Args:
        videos: has one folder of videos for each class.
        folder: where the lists go.
        val: share of a class's videos that the best weights are chosen by; at least one video of a
            class with two.
        test: share that nothing is chosen by; at least one video of a class with three.
        group: a regular expression whose first group, found in a path below `videos`, names the
            recording that a clip was cut from; a recording is never divided.
        seed: of the draw.

    Raises:
        DataError: not such a folder, or a single class.
        ConfigError: shares that leave nothing to train on, or a bad expression.
    """
    if min(val, test) < 0 or val + test >= 1:
        raise ConfigError(f"val {val} and test {test} are shares, below 1 together")
    clips = read_list("class-folders", videos)
    names = clips.class_names or ()
    if len(names) < 2:
        raise DataError(
            f"{videos} has the single class {', '.join(names)!r}; expected at least two"
        )
    splits = _drawn(clips, _recordings(clips, videos, group), (val, test), seed)
    folder.mkdir(parents=True, exist_ok=True)
    held = {
        split: [entry for entry, where in zip(clips, splits, strict=True) if where == split]
        for split in SPLITS
    }
    for split, entries in held.items():
        lines = (f"{relative_path(each.path, folder)} {each.label}\n" for each in entries)
        write_whole(folder / f"{split}.csv", "".join(lines))
    write_whole(folder / "labels.txt", "".join(f"{name}\n" for name in names))
    measured = [split for split, share in (("val", val), ("test", test)) if share]
    scarce = (
        name
        for number, name in enumerate(names)
        if any(all(each.label != number for each in held[split]) for split in measured)
    )
    counts = {split: len(entries) for split, entries in held.items()}
    return Lists(folder=folder, classes=names, counts=counts, scarce=tuple(scarce))


def unlisted(videos: Path, folder: Path) -> list[str]:
    """Return the videos of a folder of classes that are in none of the lists of a folder.

    Args:
        videos: has one folder of videos for each class.
        folder: of lists that `write_lists` wrote.
    """
    files = (folder / f"{split}.csv" for split in SPLITS)
    texts = (file.read_text(encoding="utf-8") for file in files if file.is_file())
    lines = (line for text in texts for line in text.splitlines())
    listed = {(folder / line.rpartition(" ")[0]).resolve() for line in lines}
    found = (entry.path for entry in read_list("class-folders", videos))
    return [path for path in found if Path(path).resolve() not in listed]


def _recordings(clips: ClipList, videos: Path, group: str | None) -> list[str]:
    """Return the name of the recording of each clip."""
    if group is None:
        return [entry.path for entry in clips]
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise ConfigError(f"group {group!r} is no regular expression: {error}") from None
    if not pattern.groups:
        raise ConfigError(f"group {group!r} has no group; write the recording's name in (…)")

    def recording(entry: ClipEntry) -> str:
        found = pattern.search(Path(entry.path).relative_to(videos).as_posix())
        if found is None:
            raise DataError(f"group {group!r} is not in {entry.path}")
        return str(found[1])

    return [recording(entry) for entry in clips]


def _drawn(
    clips: ClipList, recordings: list[str], shares: tuple[float, float], seed: int
) -> list[str]:
    """Return the split of each clip: of each class, recordings are drawn until a share is full."""
    rng, split_of = np.random.default_rng(seed), dict[str, str]()
    by_class: dict[int | None, list[str]] = {}
    for entry, recording in zip(clips, recordings, strict=True):
        by_class.setdefault(entry.label, []).append(recording)
    for members in by_class.values():
        counts = Counter(members)
        names = sorted(counts)
        open_names = [names[i] for i in rng.permutation(len(names)) if names[i] not in split_of]
        for split, share, least in (("test", shares[1], 3), ("val", shares[0], 2)):
            held = sum(counts[name] for name in names if split_of.get(name) == split)
            wanted = round(share * len(members))
            if share and len(names) >= least:
                wanted = max(wanted, 1)
            while held < wanted and len(open_names) > 1:
                name = open_names.pop()
                split_of[name], held = split, held + counts[name]
        split_of |= dict.fromkeys(open_names, "train")
    return [split_of[recording] for recording in recordings]


def relative_path(path: str, folder: Path) -> str:
    """Return how a list in a folder names a file."""
    try:
        return Path(os.path.relpath(path, folder.resolve())).as_posix()
    except ValueError:  # another drive
        return str(Path(path).absolute())
