"""Ego4D Short-Term Anticipation: objects that will be touched, how, and in how many seconds.

    {"info": {"video_metadata": {video_id: {"frame_width", "frame_height", "fps"}}},
     "verb_categories": [{"id", "name"}], "noun_categories": [{"id", "name"}],
     "annotations": [{"uid", "video_id", "frame", "objects": [{"box": [left, top, right, bottom],
        "noun_category_id", "verb_category_id", "time_to_contact"}]}]}

One record an annotated frame of `{video_id}.mp4`; those of a test split have no objects. Boxes are
in pixels of the original frame, times in seconds, classes the ids of their categories. Boxes of a
detector are `{uid: [{"box", "score", "noun_category_id"}]}`; answers are `{"version", "challenge",
"results": {uid: [objects with a "score"]}}`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internvideo.annotations import Annotations, BadLine, NextContact, Segment, VideoAnnotation
from internvideo.errors import DataError
from internvideo.files import replacing
from internvideo.formats.files import Collection, is_list, is_mapping, read_json

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "read", "read_boxes", "read_results", "write", "write_results"]

CHALLENGE = "ego4d_short_term_object_interaction_anticipation"
_TRUE = ("noun_category_id", "verb_category_id", "time_to_contact")


def looks_like(file: Glimpse) -> bool:
    """Tell whether a json lists annotated frames of videos."""
    listed = file.json.get("annotations")
    first: Any = listed[0] if is_list(listed) and listed else None
    return is_mapping(first) and {"uid", "video_id", "frame"} <= first.keys()


def read(path: Path, root: Path | str) -> Annotations:
    """Read the frames; an object that is malformed, or whose box has no area, is left out.

    Raises:
        DataError: the file is no such json.
    """
    content = read_json(path)
    if not is_mapping(content) or not is_list(content.get("annotations")):
        raise DataError(
            f"{path}: expected a json with a list 'annotations', as fho_sta_val.json has"
        )
    info: Any = content.get("info")
    known: Any = info.get("video_metadata", {}) if is_mapping(info) else {}
    return Annotations(
        records=_records(content["annotations"], known, path), file=path, root=root,
        description="Ego4D next contacts", class_names=_names(content.get("verb_categories")),
        copying="none",
    )  # fmt: skip


def _names(categories: Any) -> tuple[str, ...] | None:
    """Return the names of classes by their ids, which count from 0; None where they do not."""
    try:
        found = {int(each["id"]): str(each["name"]) for each in categories}
        return tuple(found[number] for number in range(len(found)))
    except (KeyError, TypeError, ValueError):
        return None


def _records(
    entries: list[Any], known: Mapping[str, Any], path: Path
) -> Iterator[VideoAnnotation | BadLine]:
    for place, entry in enumerate(entries, start=1):
        held: dict[str, Any] = entry if is_mapping(entry) else {}
        uid, video, frame = (held.get(name) for name in ("uid", "video_id", "frame"))
        if not isinstance(uid, str) or not isinstance(video, str) or not isinstance(frame, int):
            yield BadLine(place, f"{path}: annotation {place} has no uid, video_id or frame")
            continue
        about: Any = known.get(video, {})
        fps, width, height = (about.get(n) for n in ("fps", "frame_width", "frame_height"))
        if not _is_number(fps) or fps <= 0:
            yield BadLine(place, f"{path}: {uid}: info.video_metadata has no fps of {video}")
            continue
        faults: list[str] = []
        objects = held.get("objects", [])
        contacts = _contacts(objects, f"{path}: {uid}", _TRUE, faults, time=frame / fps)
        yield from (BadLine(place, fault) for fault in faults)
        yield VideoAnnotation(
            path=f"{video}.mp4",
            id=uid,
            parent=video,
            fps=float(fps),
            size=(width, height) if isinstance(width, int) and isinstance(height, int) else None,
            segments=(Segment(start=frame / fps, end=frame / fps),),
            contacts=contacts,
            line=place,
        )


def _contacts(
    given: Any, where: str, names: Sequence[str], faults: list[str], *, time: float = 0.0
) -> tuple[NextContact, ...]:
    """Return objects that have a box and numbers of these names; note what is wrong."""
    found: list[NextContact] = []
    if not is_list(given):
        faults.append(f"{where}: its objects are {given!r}; expected a list")
        given = []
    for place, each in enumerate(given, start=1):
        held: dict[str, Any] = each if is_mapping(each) else {}
        box: Any = held.get("box")
        if (
            not is_list(box)
            or len(box) != 4
            or not all(map(_is_number, (*box, *(held.get(name) for name in names))))
        ):
            faults.append(f"{where}: object {place} is {each!r}; expected box, {', '.join(names)}")
        elif box[2] <= box[0] or box[3] <= box[1]:
            faults.append(f"{where}: object {place}: the box {box} has no area")
        else:
            is_whole = "verb_category_id" in names
            found.append(
                NextContact(
                    box=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
                    noun=int(held["noun_category_id"]),
                    verb=int(held["verb_category_id"]) if is_whole else None,
                    seconds=float(held["time_to_contact"]) if is_whole else None,
                    time=time,
                    score=float(held["score"]) if "score" in names else 1.0,
                )
            )
    return tuple(found)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def read_boxes(path: Path) -> tuple[dict[str, tuple[NextContact, ...]], list[str]]:
    """Return the boxes of a detector by the uid of their frame, and what cannot be used.

    Raises:
        DataError: the file is no such json.
    """
    content = read_json(path)
    if not is_mapping(content):
        raise DataError(f"{path}: expected a json {{uid: [box, score, noun_category_id]}}")
    return _of_uids(content, path, ("noun_category_id", "score"))


def read_results(path: Path) -> tuple[dict[str, tuple[NextContact, ...]], list[str]]:
    """Return the answers of a submission by the uid of their frame, and what cannot be used.

    Raises:
        DataError: the file is no such json.
    """
    content = read_json(path)
    if not is_mapping(content) or not is_mapping(content.get("results")):
        raise DataError(f"{path}: expected a json with 'results': {{uid: [detections]}}")
    return _of_uids(content["results"], path, (*_TRUE, "score"))


def _of_uids(
    given: Mapping[str, Any], path: Path, names: Sequence[str]
) -> tuple[dict[str, tuple[NextContact, ...]], list[str]]:
    faults: list[str] = []
    found = {uid: _contacts(each, f"{path}: {uid}", names, faults) for uid, each in given.items()}
    return found, faults


def write_results(path: Path, answers: Mapping[str, Sequence[NextContact]]) -> None:
    """Write a submission."""
    results = {
        uid: [{**_object(each), "score": round(each.score, 6)} for each in held]
        for uid, held in answers.items()
    }
    content = {"version": "1.0", "challenge": CHALLENGE, "results": results}
    with replacing(path) as draft:
        draft.write_text(json.dumps(content) + "\n", encoding="utf-8")


def _object(contact: NextContact) -> dict[str, Any]:
    values = (contact.noun, contact.verb, contact.seconds)
    return {
        "box": [round(side, 2) for side in contact.box],
        **dict(zip(_TRUE, values, strict=True)),
    }


def write(data: Collection) -> list[Path]:
    """Write `fho_sta_{split}.json`, as `read` reads it: an annotation a key frame with contacts."""
    written = []
    for split in data.layout.splits:
        videos = data.of(split)
        entries: list[dict[str, Any]] = []
        for video in videos:
            assert video.fps is not None
            for time in sorted({each.time for each in video.contacts}):
                frame = round(time * video.fps)
                held = [_object(each) for each in video.contacts if each.time == time]
                entry = {"uid": f"{video.id}_{frame:07d}", "video_id": video.id, "frame": frame}
                entries.append(entry | {"objects": held})
        content = {
            "info": {"version": "1.0", "video_metadata": dict(map(_metadata, videos))},
            "verb_categories": _categories(data.classes),
            "noun_categories": _categories(data.objects),
            "annotations": entries,
        }
        text = json.dumps(content, indent=1)
        written.append(data.write_text(f"fho_sta_{split}.json", (text, "\n")))
    return written


def _metadata(video: VideoAnnotation) -> tuple[str, dict[str, Any]]:
    assert video.size is not None
    width, height = video.size
    return video.id, {"frame_width": width, "frame_height": height, "fps": video.fps}


def _categories(names: Sequence[str]) -> list[dict[str, Any]]:
    return [{"id": number, "name": name} for number, name in enumerate(names)]
