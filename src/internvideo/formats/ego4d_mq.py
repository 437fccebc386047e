"""Ego4D Moment Queries: named moments of clips, in seconds of the clip.

| file                                                            |                              |
|-----------------------------------------------------------------|------------------------------|
| `moments_{train,val,test_unannotated}.json`                     | official                     |
| {clip_uid: {"video_id", "parent_start_sec", "annotations", …}}  | that of the official baseline|

One record a clip; its `parent` is the video that it was cut from. Only primary labels count, of all
annotators, in alphabetical order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internvideo.annotations import Annotations, BadLine, Segment, VideoAnnotation
from internvideo.errors import DataError
from internvideo.formats.activitynet import part
from internvideo.formats.class_names import ClassNames
from internvideo.formats.files import Collection, choose_split, files_by_stem, read_json

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "read", "write"]

_TRAINING = "moments_train.json"
_BASELINE = {"video_id", "clip_id", "annotations", "subset"}


@dataclass(frozen=True, slots=True)
class _Clip:
    """A clip of either file."""

    uid: str
    video: str
    start: Any
    end: Any
    split: str
    moments: list[Mapping[str, Any]]


def looks_like(file: Glimpse) -> bool:
    """Tell whether annotators gave clips `labels`, or clips have the fields of the baseline."""
    first = next(iter(file.json.values()), None)
    if isinstance(first, Mapping) and first.keys() >= _BASELINE:
        return True
    videos = file.json.get("videos")
    for video in videos if isinstance(videos, list) else ():
        for clip in (isinstance(video, Mapping) and video.get("clips")) or ():
            for annotation in (isinstance(clip, Mapping) and clip.get("annotations")) or ():
                return isinstance(annotation, Mapping) and "labels" in annotation
    return False


def read(
    path: Path, root: Path | str, *, labels: Path | None = None, split: str | None = None
) -> Annotations:
    """Read the clips; their videos are `{clip_uid}.mp4` or another ending below `root`.

    The classes are by default the primary labels of the file, and of the training file beside it,
    in alphabetical order; the official training file has all 110.
    """
    clips = _read_clips(path)
    subset = choose_split(split, [clip.split for clip in clips], path=path)
    if labels is None:
        training = path.with_name(_TRAINING)
        more = _read_clips(training) if training.is_file() and training != path else []
        held = [moment for clip in [*clips, *more] for moment in clip.moments]
        names = sorted({str(moment["label"]) for moment in held if "label" in moment})
        classes = ClassNames(names, path)
    else:
        classes = ClassNames.read(labels)
    videos = files_by_stem(root)

    def records() -> Iterator[VideoAnnotation | BadLine]:
        for number, clip in enumerate(clips, start=1):
            if subset is not None and clip.split != subset:
                continue
            segments = []
            try:
                begins, ends = part(clip.start, clip.end, path=path, number=number)
            except DataError as error:
                yield BadLine(number, str(error))
                continue
            for moment in clip.moments:
                try:
                    times = moment.get("start_time"), moment.get("end_time")
                    start, end = part(*times, path=path, number=number)
                    label = classes.index(str(moment.get("label")), path=path, number=number)
                    segments.append(Segment(start=start, end=end, label=label))
                except DataError as error:
                    yield BadLine(number, f"{error} (clip {clip.uid})")
            yield VideoAnnotation(
                path=videos.get(clip.uid, f"{clip.uid}.mp4"),
                id=clip.uid,
                parent=clip.video,
                offset=begins,
                split=clip.split,
                duration=ends - begins,
                segments=tuple(segments),
                line=number,
            )

    return Annotations(
        records=records(),
        file=path,
        root=root,
        description="Ego4D moments",
        class_names=classes.names,
        copying="none",
        segments_only=True,
    )


def _read_clips(path: Path) -> list[_Clip]:
    content = read_json(path)
    return list(_baseline_clips(content) if _is_baseline(content) else _clips(content, path))


def _is_baseline(content: Any) -> bool:
    first = next(iter(content.values()), None) if isinstance(content, dict) else None
    return isinstance(first, dict) and first.keys() >= _BASELINE


def _baseline_clips(content: Mapping[str, Any]) -> Iterator[_Clip]:
    for uid, clip in content.items():
        start, end = clip.get("parent_start_sec"), clip.get("parent_end_sec")
        moments = [each for each in clip["annotations"] if each.get("primary", True)]
        yield _Clip(uid, str(clip["video_id"]), start, end, str(clip["subset"]), moments)


def _clips(content: Any, path: Path) -> Iterator[_Clip]:
    if not isinstance(content, dict) or not isinstance(content.get("videos"), list):
        raise DataError(f"{path}: expected a json with 'videos', as Ego4D's moments_val.json has")
    for video in content["videos"]:
        for clip in video.get("clips") or ():
            moments = [
                moment
                for annotation in clip.get("annotations") or ()
                for moment in annotation.get("labels") or ()
                if moment.get("primary")
            ]
            yield _Clip(
                str(clip.get("clip_uid")),
                str(video.get("video_uid") or ""),
                clip.get("video_start_sec"),
                clip.get("video_end_sec"),
                str(video.get("split") or ""),
                moments,
            )


def write(data: Collection) -> list[Path]:
    """Write `moments_{split}.json`, as `read` reads them."""
    written = []
    for split in data.layout.splits:
        videos = [_video(data, video) for video in data.of(split)]
        content = {"version": "1", "description": "Moments", "videos": videos}
        text = json.dumps(content, ensure_ascii=False, indent=1)
        written.append(data.write_text(f"moments_{split}.json", (text, "\n")))
    return written


def _video(data: Collection, video: VideoAnnotation) -> dict[str, Any]:
    moments = [
        {
            "label": data.classes[segment.label],
            "primary": True,
            "start_time": segment.start,
            "end_time": segment.end,
            "video_start_time": video.offset + segment.start,
            "video_end_time": video.offset + (segment.end or 0.0),
        }
        for segment in video.segments
        if segment.label is not None
    ]
    clip = {
        "clip_uid": video.id,
        "video_start_sec": video.offset,
        "video_end_sec": video.offset + (video.duration or 0.0),
        "annotations": [{"annotator_id": "world", "labels": moments}],
    }
    return {"video_uid": video.parent or video.id, "split": video.split, "clips": [clip]}
