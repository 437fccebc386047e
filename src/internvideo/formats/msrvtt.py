"""MSR-VTT: one json with videos and sentences, and the lists of the 1k-A protocol beside it.

| file                                       | videos                                            |
|--------------------------------------------|---------------------------------------------------|
| `MSRVTT_data.json`                         | the full splits train, validate and test          |
| `MSRVTT_train.9k.csv` (`video_id`)         | those of the list, with the sentences of the json |
| `MSRVTT_JSFUSION_test.csv` (`sentence`, …) | the test of 1k-A, one sentence a video            |
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internvideo.annotations import Annotations, VideoAnnotation
from internvideo.errors import DataError
from internvideo.formats.captioned import IdList, Sentences, sibling
from internvideo.formats.files import (
    Collection,
    choose_split,
    files_by_stem,
    holds_json,
    read_json,
    refuse_split,
)
from internvideo.formats.tables import Table

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "read", "write"]

_DATA = "MSRVTT_data.json"
_HEADER = ["key", "vid_key", "video_id", "sentence"]
_PAIR, _IDS = _HEADER[2:], _HEADER[2:3]
_LISTS = {"1ka-train": "MSRVTT_train.9k.csv", "1ka-test": "MSRVTT_JSFUSION_test.csv"}


def looks_like(file: Glimpse) -> bool:
    """Tell whether this is a json with videos and sentences, or one of the lists."""
    if not file.lines:
        return {"videos", "sentences"} <= set(file.json)
    headers = [file.header(mark) for mark in ",;"]
    named = file.path.name.startswith("MSRVTT_") and file.suffix == ".csv"
    return named or any({*_PAIR} <= {*each} or each == _IDS for each in headers)


def read(path: Path, root: Path | str, *, split: str | None = None) -> Annotations:
    """Read the captioned videos of a list, or of one split of a json.

    Splits are "train", "validate" and "test", and "1ka-train" and "1ka-test" for the lists beside
    the json. Videos are called by their ids.

    Raises:
        DataError: none of these files, or an unknown split.
    """
    if not holds_json(path):
        refuse_split(split, path=path)
        return _read_list(path, root)
    sentences, splits = _read_data(path)
    lists = [name for name, file in _LISTS.items() if (path.parent / file).is_file()]
    held = [*splits.values(), *(lists if split or len(set(splits.values())) > 1 else ())]
    wanted = choose_split(split, held, path=path) if splits else None
    if wanted in _LISTS:
        return _read_list(path.parent / _LISTS[wanted], root, data=path)
    ids = IdList(path, "video")
    for place, (name, each) in enumerate(splits.items(), start=1):
        if wanted in (None, each):
            ids.add(name, place)
    return Annotations(
        records=sentences.records(_maker(root), ids, tolerated=True),
        file=path,
        root=root,
        description="MSR-VTT json",
    )


def _read_data(path: Path) -> tuple[Sentences, dict[str, str]]:
    """Return the sentences of a json, and the split of each video."""
    data = read_json(path)
    sentences = Sentences(path)
    try:
        for place, each in enumerate(data["sentences"], start=1):
            where = f"{path}: sentence {place}"
            sentences.add(str(each["video_id"]), each["caption"], place, where=where)
        return sentences, {str(video["video_id"]): str(video["split"]) for video in data["videos"]}
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not an MSR-VTT json ({type(error).__name__}: {error}); expected "
            "'videos' (video_id, split) and 'sentences' (video_id, caption)"
        ) from None


def _read_list(path: Path, root: Path | str, *, data: Path | None = None) -> Annotations:
    ids, pairs = IdList(path), Sentences(path)
    expected = f"columns {','.join(_HEADER)} or {','.join(_IDS)}, separated by commas"
    for line, values in pairs.rows(Table(path, "csv"), _IDS, expected=expected):
        if ids.add(values["video_id"].strip(), line) and "sentence" in values:
            pairs.add(values["video_id"].strip(), values["sentence"], line)
    what, sentences = "pairs of MSR-VTT 1k-A", pairs
    if ids.lines and not pairs.lines:
        source = data or sibling(path, [_DATA], what="the json with the sentences")
        what, (sentences, _) = f"MSR-VTT list, sentences of {source.name}", _read_data(source)
        sentences.unread = pairs.unread
    records = sentences.records(_maker(root), ids)
    return Annotations(records=records, file=path, root=root, description=what, copying="rows")


def _maker(root: Path | str) -> Callable[[str], VideoAnnotation]:
    names = files_by_stem(root)
    return lambda name: VideoAnnotation(path=names.get(name, f"{name}.mp4"), id=name)


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
    return [
        data.write_text(_DATA, json.dumps(_data(data.videos), indent=1)),
        data.write_csv(_LISTS["1ka-train"], _IDS, train),
        data.write_csv(_LISTS["1ka-test"], _HEADER, test),
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
