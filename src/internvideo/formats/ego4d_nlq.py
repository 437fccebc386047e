"""Ego4D Natural Language Queries: sentences, each of which asks for a part of a clip.

    {"videos": [{"video_uid", "clips": [{"clip_uid", "video_start_sec", "video_end_sec",
      "annotations": [{"annotation_uid", "language_queries": [{"query", "clip_start_sec",
      "clip_end_sec"}]}]}]}]}

One record a clip; its `parent` is the video that it was cut from. A query is a segment with one
sentence, called `annotation_uid/number`: its place in the list counts, whatever the others hold.
Queries without times, of the test split, have no end.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internvideo.annotations import Annotations, BadLine, Segment, VideoAnnotation
from internvideo.errors import DataError
from internvideo.formats.files import Collection, choose_split, files_by_stem, read_json

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "query_id", "read", "split_query_id", "write"]


def looks_like(file: Glimpse) -> bool:
    """Tell whether some clip of the videos has `language_queries`."""
    return any(
        "language_queries" in annotation for _, clip in _clips(file.json) for annotation in clip
    )


def query_id(annotation_uid: str, number: int) -> str:
    """Return the name of a query."""
    return f"{annotation_uid}/{number}"


def split_query_id(name: str) -> tuple[str, int]:
    """Return the annotation and the number that a query is called by in a submission.

    Raises:
        DataError: it is no name of such a query.
    """
    annotation, _, number = name.rpartition("/")
    if not annotation or not number.isdigit():
        raise DataError(
            f"the query {name!r} has no annotation_uid and query_idx; only queries of Ego4D can be "
            "handed in to its challenge"
        )
    return annotation, int(number)


def read(path: Path, root: Path | str, *, split: str | None = None) -> Annotations:
    """Read the clips; their videos are `{clip_uid}.mp4` or another ending below `root`.

    Queries without words, which the official data has and its baseline leaves out, and those that
    end before they begin, are lines that cannot be used.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("videos"), list):
        raise DataError(f"{path}: expected a json with 'videos', as Ego4D's nlq_val.json has them")
    held = [str(video["split"]) for video in content["videos"] if "split" in video]
    subset = choose_split(split, held, path=path)
    names = files_by_stem(root)

    def records() -> Iterator[VideoAnnotation | BadLine]:
        number = 0
        for video in content["videos"]:
            if subset is not None and video.get("split") != subset:
                continue
            for clip in video.get("clips") or ():
                number += 1
                try:
                    segments, unusable = _queries(clip, f"{path}: clip {number}")
                    uid, start, end = _place(clip, f"{path}: clip {number}")
                except DataError as error:
                    yield BadLine(number, str(error))
                    continue
                yield from (BadLine(number, message) for message in unusable)
                yield VideoAnnotation(
                    path=names.get(uid, f"{uid}.mp4"),
                    id=uid,
                    parent=str(video.get("video_uid") or ""),
                    offset=start,
                    split=str(video.get("split") or ""),
                    duration=end - start,
                    segments=tuple(segments),
                    line=number,
                )

    return Annotations(
        records=records(), file=path, root=root, description="Ego4D language queries"
    )


def _clips(content: Mapping[str, Any]) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    """Yield each clip with its annotations, of whatever json this is."""
    videos = content.get("videos")
    for video in videos if isinstance(videos, list) else ():
        clips = video.get("clips") if isinstance(video, dict) else None
        for clip in clips if isinstance(clips, list) else ():
            found = clip.get("annotations") if isinstance(clip, dict) else None
            yield clip, [each for each in found or () if isinstance(each, dict)]


def _place(clip: Mapping[str, Any], where: str) -> tuple[str, float, float]:
    """Return the id of a clip, and its start and end in the video."""
    uid = clip.get("clip_uid")
    if not uid:
        raise DataError(f"{where} has no clip_uid")
    start, end = (_seconds(clip, f"video_{side}_sec", where) for side in ("start", "end"))
    if start is None or end is None or end <= start:
        raise DataError(
            f"{where} ({uid}) is from {start} to {end} s of its video; expected a part of it"
        )
    return str(uid), start, end


def _queries(clip: Mapping[str, Any], where: str) -> tuple[list[Segment], list[str]]:
    """Return the queries about a clip, and why some cannot be used."""
    found: list[Segment] = []
    unusable: list[str] = []
    for annotation in clip.get("annotations") or ():
        uid = str(annotation.get("annotation_uid"))
        for number, query in enumerate(annotation.get("language_queries") or ()):
            try:
                found.append(_query(query, query_id(uid, number), where))
            except DataError as error:
                unusable.append(str(error))
    return found, unusable


def _query(query: Mapping[str, Any], name: str, where: str) -> Segment:
    place = f"{where}, query {name}"
    words = str(query.get("query") or "").strip()
    if not words.strip("? "):
        raise DataError(f"{place} has no words")
    start, end = (_seconds(query, f"clip_{side}_sec", place) for side in ("start", "end"))
    if (start is None) != (end is None) or (end is not None and end < (start or 0.0)):
        raise DataError(f"{place} is from {start} to {end} s; it ends before it begins")
    return Segment(start=start or 0.0, end=end, captions=(words,), id=name)


def _seconds(values: Mapping[str, Any], key: str, where: str) -> float | None:
    value = values.get(key)
    if value is None:
        return None
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{where}: {key} is {value!r}; expected seconds")
    return float(value)


def write(data: Collection) -> list[Path]:
    """Write `nlq_{split}.json`, as `read` reads them."""
    written = []
    for split in data.layout.splits:
        videos = [_video(video) for video in data.of(split)]
        content = {"version": "1", "description": "NLQ", "videos": videos}
        text = json.dumps(content, ensure_ascii=False, indent=1)
        written.append(data.write_text(f"nlq_{split}.json", (text, "\n")))
    return written


def _video(video: VideoAnnotation) -> dict[str, Any]:
    annotations: dict[str, list[dict[str, Any]]] = {}
    for place, segment in enumerate(video.segments):
        uid, number = split_query_id(segment.id or query_id(f"{video.id}-queries", place))
        queries = annotations.setdefault(uid, [])
        queries += [{"query": ""}] * (number - len(queries))  # a number counts the unusable ones
        query: dict[str, Any] = {"query": " ".join(segment.captions)}
        if segment.end is not None:
            query |= {"clip_start_sec": segment.start, "clip_end_sec": segment.end}
        queries.append(query)
    clip = {
        "clip_uid": video.id,
        "video_start_sec": video.offset,
        "video_end_sec": video.offset + (video.duration or 0.0),
        "annotations": [
            {"annotation_uid": uid, "language_queries": queries}
            for uid, queries in annotations.items()
        ],
    }
    return {"video_uid": video.parent or video.id, "split": video.split, "clips": [clip]}
