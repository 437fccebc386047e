"""TACoS: sentences about parts of long cooking videos, in frames.

{"s13-d21.avi": {"timestamps": [[first, last], …], "sentences": […], "fps", "num_frames"}}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internvideo.annotations import Annotations, BadLine, Segment, VideoAnnotation
from internvideo.errors import DataError
from internvideo.formats.activitynet import part
from internvideo.formats.files import files_by_stem, read_json

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "read"]

_KEYS = {"timestamps", "sentences", "fps", "num_frames"}


def looks_like(file: Glimpse) -> bool:
    """Tell whether the first video of a json has timestamps, sentences, fps and num_frames."""
    first = next(iter(file.json.values()), None)
    return isinstance(first, dict) and first.keys() >= _KEYS


def read(path: Path, root: Path | str) -> Annotations:
    """Read the sentences, one record a video; videos have the names of the json below `root`."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a json object of videos, as TACoS has them")
    names = files_by_stem(root)

    def records() -> Iterator[VideoAnnotation | BadLine]:
        for number, (name, video) in enumerate(content.items(), start=1):
            where = f"{path}: video {number} ({name})"
            try:
                fps, num_frames, moments = _checked(video, where)
            except DataError as error:
                yield BadLine(number, str(error))
                continue
            segments = []
            for place, (times, sentence) in enumerate(moments):
                try:
                    segments.append(_moment(times, str(sentence), fps, path, number, place))
                except DataError as error:
                    yield BadLine(number, str(error))
            yield VideoAnnotation(
                path=names.get(Path(name).stem, str(name)),
                id=Path(name).stem,
                duration=num_frames / fps,
                fps=fps,
                num_frames=num_frames,
                segments=tuple(segments),
                line=number,
            )

    return Annotations(
        records=records(),
        file=path,
        root=root,
        description="TACoS json",
        copying="none",
        segments_only=True,
    )


def _checked(video: Any, where: str) -> tuple[float, int, list[tuple[Any, Any]]]:
    if not isinstance(video, Mapping) or not video.keys() >= _KEYS:
        raise DataError(f"{where} lacks one of {', '.join(sorted(_KEYS))}")
    fps, num_frames = video["fps"], video["num_frames"]
    if not (isinstance(fps, int | float) and isinstance(num_frames, int | float) and fps > 0):
        raise DataError(f"{where} has {num_frames!r} frames at {fps!r} frames/s")
    times, sentences = video["timestamps"], video["sentences"]
    if len(times) != len(sentences):
        raise DataError(f"{where} has {len(times)} timestamps, but {len(sentences)} sentences")
    return float(fps), int(num_frames), list(zip(times, sentences, strict=True))


def _moment(times: Any, sentence: str, fps: float, path: Path, number: int, place: int) -> Segment:
    if not isinstance(times, list) or len(times) != 2 or not sentence.strip():
        raise DataError(
            f"{path}: video {number}, moment {place + 1} is {times!r}, {sentence!r}; expected "
            "[first, last] in frames and a sentence"
        )
    first, last = part(*times, path=path, number=number)
    return Segment(
        start=first / fps, end=last / fps, captions=(sentence.strip(),), id=f"{number}/{place}"
    )
