"""ActivityNet Captions: long videos, and a sentence for each of their events.

`train.json` and `val_1.json` map `v_{id}` to `{"duration", "timestamps", "sentences"}`;
`train_ids.json` and `val_ids.json` list ids, some without sentences. The retrieval benchmark takes
all sentences of a video, joined, for one text about it (a paragraph).
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internvideo.annotations import Annotations, Segment, VideoAnnotation
from internvideo.errors import DataError
from internvideo.formats.activitynet import part, video_path
from internvideo.formats.captioned import IdList, Sentences, sibling
from internvideo.formats.files import Collection, files_by_stem, read_json
from internvideo.formats.timestamps import parse_seconds

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "read", "write"]

_IDS = "_ids.json"
_KEYS = {"sentences", "timestamps"}
_SHOWN = 120
_FILES = {"train": "train", "val": "val_1"}


def looks_like(file: Glimpse) -> bool:
    """Tell whether this is a json of sentences with their times by video, or the ids beside it."""
    if file.path.name.endswith(_IDS):
        return file.is_json_list
    first = next(iter(file.json.values()), None)
    return isinstance(first, dict) and first.keys() >= _KEYS and "fps" not in first  # TACoS


def read(path: Path, root: Path | str) -> Annotations:
    """Read the videos of a json, or of a list of ids beside its json.

    Each has one caption, all sentences joined by a space, and a segment with its sentence for each
    event. Videos are `v_{id}` with any ending, in the folder or in a folder of it.

    Raises:
        DataError: neither; or there is no json beside the ids.
    """
    ids, source = None, path
    if path.name.endswith(_IDS):
        ids, stem = IdList.read(path), path.name.removesuffix(_IDS)
        wanted = (f"{stem}_1.json", f"{stem}.json")
        source = sibling(path, wanted, what="the json with the sentences")
    content = read_json(source)
    if not isinstance(content, dict):
        raise DataError(f"{source}: expected a json object of ids and their sentences")
    sentences, videos = Sentences(source), dict[str, VideoAnnotation]()
    names = files_by_stem(root, subfolders=True)
    for place, (name, about) in enumerate(content.items(), start=1):
        try:
            found = _video(sentences, name, about, place)
        except DataError as error:
            sentences.refuse(name, place, f"{source}: video {place} ({name}): {error}")
        else:
            videos[name] = replace(found, path=video_path(name.removeprefix("v_"), names))
    return Annotations(
        records=sentences.records(videos.__getitem__, ids, tolerated=True),
        file=path,
        root=root,
        description="ActivityNet Captions, the sentences of a video joined",
        clips="videos",
        copying="none",
    )


def _video(sentences: Sentences, name: str, about: Any, place: int) -> VideoAnnotation:
    """Return the record of a video without its path; what it cannot use is kept in `sentences`."""
    if not isinstance(about, dict) or not about.keys() >= _KEYS:
        raise DataError(f"expected {', '.join(sorted(_KEYS))}, got {str(about)[:_SHOWN]}")
    texts, times = about["sentences"], about["timestamps"]
    if not isinstance(texts, list) or not isinstance(times, list) or len(texts) != len(times):
        raise DataError(f"not one timestamp for each sentence: {str(about)[:_SHOWN]}")
    duration = about.get("duration")
    duration = None if duration is None else parse_seconds(duration)
    segments = []
    for text, span in zip(texts, times, strict=True):
        where = f"{sentences.path}: video {place} ({name})"
        if not sentences.add(name, text, place, where=where):
            continue
        if not isinstance(span, list) or len(span) != 2:
            shown = f"the timestamp {str(span)[:_SHOWN]}; expected [start, end] in seconds"
            sentences.refuse(name, place, f"{where}: {shown}")
            continue
        try:
            start, end = part(*span, path=sentences.path, number=place)
        except DataError as error:
            sentences.refuse(name, place, str(error))
            continue
        segments.append(Segment(start=start, end=end, captions=(text.strip(),)))
    text = " ".join(sentences.captions.get(name, ()))
    captions, parts = (text,) if text else (), tuple(segments)
    return VideoAnnotation(path="", id=name, duration=duration, captions=captions, segments=parts)


def write(data: Collection) -> list[Path]:
    """Write the json and the ids of training and validation."""
    written = []
    for split, name in _FILES.items():
        about = {
            Path(video.path).stem: {
                "duration": video.duration,
                "timestamps": [[segment.start, segment.end] for segment in video.segments],
                "sentences": [segment.captions[0] for segment in video.segments],
            }
            for video in data.of(split)
        }
        written.append(data.write_text(f"{name}.json", json.dumps(about)))
        written.append(data.write_text(f"{split}{_IDS}", json.dumps([*about])))
    return written
