"""VATEX: clips of ten seconds with ten English sentences each.

`vatex_training_v1.0.json` and its like are lists of `{"videoID", "enCap"}`; some copies also have
the `path` of each video. The lists `train_list.txt` and `test_list.txt` lie beside them: the
retrieval benchmark tests on videos of the validation json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from internvideo.annotations import Annotations, VideoAnnotation
from internvideo.formats.captioned import IdList, Sentences, is_list, list_of_split, sibling
from internvideo.formats.files import Collection, files_by_stem, refuse_split
from internvideo.formats.tables import open_table

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "read", "write"]

_JSON = "vatex_{}_v1.0.json"
_LISTS = {"train": "train_list.txt", "val": "test_list.txt", "test": "test_list.txt"}


def looks_like(file: Glimpse) -> bool:
    """Tell whether this is a json of English sentences by video, or a list beside one."""
    if is_list(file.path):
        return any(file.path.parent.glob("vatex_*.json"))
    return {"videoID", "enCap"} <= set(file.keys)


def read(path: Path, root: Path | str, *, split: str | None = None) -> Annotations:
    """Read the videos of a json, or those of a split, whose list lies beside it.

    The splits are "train" and "test" ("val" is the same); such a list may be given itself. A video
    has its English sentences. It is called by its id, or has the path that the json says; where
    this names any, videos without one are left out, as by the published loader.

    Raises:
        DataError: neither a json nor a list, an unknown split, no json beside a list.
    """
    chosen, source = None, path
    if is_list(path):
        refuse_split(split, path=path)
        part = "training" if path.name.startswith("train") else "validation"
        beside = sorted(each.name for each in path.parent.glob(f"vatex_{part}*.json"))
        chosen = path
        source = sibling(path, beside or [_JSON.format(part)], what="the json with the sentences")
    elif split is not None:
        chosen = list_of_split(path, split, _LISTS)
    table, sentences = open_table(source), Sentences(source)
    rows = list(sentences.rows(table, ["videoID"], expected="VATEX's sentences by video"))
    paths = {str(values["videoID"]): str(values["path"]) for _, values in rows if "path" in values}
    for place, values in rows:
        video, where = str(values["videoID"]), table.where(place)
        told = values.get("enCap") or ()
        if video in sentences.lines:
            reason = f"the video {video!r} is that of row {sentences.lines[video]}, too"
            sentences.refuse(video, place, f"{where}: {reason}")
        elif not told or (paths and video not in paths):
            missing = "path" if told else "English sentence"
            sentences.refuse(video, place, f"{where}: {video!r} has no {missing}", tolerated=True)
        else:
            for text in told if isinstance(told, list) else [told]:
                sentences.add(video, text, place, where=where)
    names = files_by_stem(root)

    def make(video: str) -> VideoAnnotation:
        return VideoAnnotation(
            path=names.get(video) or paths.get(video) or f"{video}.mp4", id=video
        )

    ids = None if chosen is None else IdList.read(chosen)
    return Annotations(
        records=sentences.records(make, ids, tolerated=True),
        file=path,
        root=root,
        description="VATEX, English",
        copying="none",
    )


def write(data: Collection) -> list[Path]:
    """Write a json and a list for training and for test, which is called validation."""
    written = []
    for split, part in (("train", "training"), ("test", "validation")):
        named = [(Path(video.path).stem, video) for video in data.of(split)]
        rows = [{"videoID": name, "enCap": [*video.captions], "chCap": []} for name, video in named]
        written.append(data.write_text(_JSON.format(part), json.dumps(rows)))
        written.append(data.write_text(_LISTS[split], (f"{name}\n" for name, _ in named)))
    return written
