"""LSMDC: clips cut from films, with one sentence a row.

Six columns, separated by tabs, without a header: clip, start and end of what is told, start and end
of the clip in the film (`HH:MM:SS,mmm`), sentence. A clip may have several rows; its video lies in
a folder for each film: `1004_Juno/1004_Juno_00.00.32.511-00.00.36.411.avi`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from internvideo.annotations import Annotations, BadLine, VideoAnnotation
from internvideo.errors import DataError
from internvideo.formats.captioned import flaw_of
from internvideo.formats.files import Collection, files_by_stem, opened

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["EXCLUDED", "clip_path", "looks_like", "read", "write"]

_SHAPE = "clip, 4 times, sentence, separated by tabs"
_COLUMNS = 6
_CLIP = re.compile(r".+_\d\d\.\d\d\.\d\d\.\d{3}-\d\d\.\d\d\.\d\d\.\d{3}\t")
_FILES = {
    "train": "LSMDC16_annos_training.csv",
    "val": "LSMDC16_annos_val.csv",
    "test": "LSMDC16_challenge_1000_publictect.csv",
}
EXCLUDED = range(58_200, 58_300)
"""Clips, in the order of the training file, that the published training leaves out."""
_SHOWN = 120


def looks_like(file: Glimpse) -> bool:
    """Tell whether this is a list whose clips are called as LSMDC's, or that is called as its."""
    if file.path.name.startswith(tuple(_FILES.values())):
        return True
    return bool(file.lines) and _CLIP.match(file.lines[0]) is not None


def read(path: Path, root: Path | str) -> Annotations:
    """Read a list, one record a row.

    Of a file whose name has "train" in it, the 100 clips that the published training leaves out are
    left out; the description says so.
    """
    names = files_by_stem(root, subfolders=True)
    numbers = dict[str, int]()
    excluded = EXCLUDED if "train" in path.name.lower() else range(0)

    def records() -> Iterator[VideoAnnotation | BadLine]:
        for line, clip, sentence in _rows(path):
            if sentence is None:
                yield BadLine(line, clip)
            elif numbers.setdefault(clip, len(numbers)) not in excluded:
                video = clip_path(clip, names)
                yield VideoAnnotation(path=video, id=clip, captions=(sentence,), line=line)

    def description() -> str:
        left_out = sum(number in excluded for number in numbers.values())
        published = f"; {left_out} clips are left out, as in the published training"
        return f"LSMDC list{published * bool(left_out)}"

    return Annotations(records=records(), file=path, root=root, description=description)


def _rows(path: Path) -> Iterator[tuple[int, str, str | None]]:
    """Yield line, clip and sentence of each row; in place of the clip, why there is no sentence."""
    empty = True
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            empty = False
            fields = line.rstrip("\r\n").split("\t")
            if len(fields) != _COLUMNS:
                shown = f"{len(fields)} fields in {line.strip()[:_SHOWN]!r}"
                yield number, f"{path}:{number}: {shown}; expected {_SHAPE}", None
            elif flaw := flaw_of(fields[-1]):
                yield number, f"{path}:{number}: the sentence {fields[-1][:_SHOWN]!r} {flaw}", None
            else:
                yield number, fields[0], fields[-1].strip()
    if empty:
        raise DataError(f"{path} is empty: it lists no clips; check that it was copied completely")


def clip_path(clip: str, names: Mapping[str, str]) -> str:
    """Return the video of a clip, among the files that are there, see `files_by_stem`."""
    movie = clip.partition(".")[0].rpartition("_")[0]
    return names.get(clip, f"{movie}/{clip}.avi")


def write(data: Collection) -> list[Path]:
    """Write the list of each split; each clip lasts from the start to the end in its name."""
    written = []
    for split, name in _FILES.items():
        rows: list[str] = []
        for video in data.of(split):
            clip = Path(video.path).stem
            start, end = (
                time.replace(".", ":", 2).replace(".", ",")
                for time in clip.rpartition("_")[2].split("-")
            )
            rows += [
                "\t".join((clip, start, end, start, end, caption)) + "\n"
                for caption in video.captions
            ]
        written.append(data.write_text(name, rows))
    return written
