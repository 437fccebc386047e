"""MSR-VTT: one json with the videos, their splits and their sentences."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internvideo.annotations import Annotations, VideoAnnotation
from internvideo.errors import DataError
from internvideo.formats.files import (
    Collection,
    choose_split,
    files_by_stem,
    read_json,
)

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "read", "write"]


def looks_like(file: Glimpse) -> bool:
    """Tell whether this is a json with videos and sentences."""
    return {"videos", "sentences"} <= set(file.json)


def read(path: Path, root: Path | str, *, split: str | None = None) -> Annotations:
    """Read the captioned videos of one split ("train", "validate" or "test").

    The json has `videos` (video_id, split) and `sentences` (video_id, caption); the videos are
    named by their ids.
    """
    data = read_json(path)
    try:
        captions: dict[str, list[str]] = {}
        for sentence in data["sentences"]:
            captions.setdefault(sentence["video_id"], []).append(sentence["caption"])
        videos = [(video["video_id"], video["split"]) for video in data["videos"]]
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not an MSR-VTT json ({type(error).__name__}: {error}); expected "
            "'videos' (video_id, split) and 'sentences' (video_id, caption)"
        ) from None
    wanted = choose_split(split, [held for _, held in videos], path=path) if videos else None
    names = files_by_stem(root)

    def records() -> Iterator[VideoAnnotation]:
        for line, (name, held) in enumerate(videos, start=1):
            if name in captions and (wanted is None or held == wanted):
                yield VideoAnnotation(
                    path=names.get(name, f"{name}.mp4"),
                    id=name,
                    split=held,
                    captions=tuple(captions[name]),
                    line=line,
                )

    return Annotations(records=records(), file=path, root=root, description="MSR-VTT json")


def write(data: Collection) -> list[Path]:
    """Write `MSRVTT_data.json` and the lists of the 1k-A protocol.

    `MSRVTT_train.9k.csv` lists the videos of train and validate, as that protocol trains on both;
    `MSRVTT_JSFUSION_test.csv` has one sentence for every test video.
    """
    train = [[Path(video.path).stem] for video in data.videos if video.split != "test"]
    test = [
        [f"ret{place}", f"msr{video.id}", Path(video.path).stem, video.captions[0]]
        for place, video in enumerate(data.of("test"))
    ]
    header = ["key", "vid_key", "video_id", "sentence"]
    return [
        data.write_text("MSRVTT_data.json", json.dumps(_data(data.videos), indent=1)),
        data.write_csv("MSRVTT_train.9k.csv", ["video_id"], train),
        data.write_csv("MSRVTT_JSFUSION_test.csv", header, test),
    ]


def _data(videos: Sequence[VideoAnnotation]) -> dict[str, Any]:
    about, sentences = [], []
    for video in videos:
        video_id = Path(video.path).stem
        about.append(
            {
                "category": video.category,
                "url": "",
                "video_id": video_id,
                "start time": 0.0,
                "end time": video.duration,
                "split": video.split,
                "id": int(video.id),
            }
        )
        for sentence in video.captions:
            sentences.append({"caption": sentence, "video_id": video_id, "sen_id": len(sentences)})
    info = {
        "contributor": "internvideo",
        "data_created": "",
        "version": "1.0",
        "description": "Procedural clips in the format of MSR-VTT",
        "url": "",
        "year": "",
    }
    return {"info": info, "videos": about, "sentences": sentences}
