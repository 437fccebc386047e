"""DiDeMo: some sentences about moments of each video, which lasts up to thirty seconds.

`{split}_data.json` is a list of `{"video", "description", "times"}`, a sentence each; `times` are
what some annotators marked, first and last of the pieces of five seconds. The retrieval benchmark
takes all sentences of a video, joined in their order, for one text about it, and the videos of
`{split}_list.txt`. Names keep the ending of the original: `1@N00_2_a.mov` is `1@N00_2_a.mov.mp4`.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internvideo.annotations import Annotations, Segment, VideoAnnotation
from internvideo.formats.captioned import IdList, Sentences, is_list, sibling
from internvideo.formats.files import Collection, files_by_stem
from internvideo.formats.tables import open_table

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "read", "write"]

_KEYS = {"video", "description", "times"}
_PIECE = 5.0
_ANNOTATORS = 4
_SHOWN = 120


def looks_like(file: Glimpse) -> bool:
    """Tell whether this is a json of sentences with their times, or the list beside one."""
    if is_list(file.path):
        return (file.path.parent / _data_of(file.path)).is_file()
    return set(file.keys) >= _KEYS


def read(path: Path, root: Path | str) -> Annotations:
    """Read the videos of a json, or of a list beside its json.

    Each has one caption, all sentences joined, and a segment with its sentence for each moment: the
    one that most annotators marked, of equally many the first.

    Raises:
        DataError: neither; or there is no json beside the list.
    """
    ids, source = None, path
    if is_list(path):
        ids = IdList.read(path)
        source = sibling(path, [_data_of(path)], what="the json with the sentences")
    table, sentences = open_table(source), Sentences(source)
    moments: dict[str, list[Segment]] = {}
    for place, values in sentences.rows(table, _KEYS, expected="DiDeMo's sentences"):
        video, text = str(values["video"]), values["description"]
        if sentences.add(video, text, place, where=table.where(place)):
            moment = _moment(values["times"], text)
            if moment is not None:
                moments.setdefault(video, []).append(moment)
            else:
                shown = str(values["times"])[:_SHOWN]
                reason = f"the times {shown} are no pairs of pieces of five seconds, from 0 on"
                sentences.refuse(video, place, f"{table.where(place)}: {reason}")
    names = files_by_stem(root)

    def make(video: str) -> VideoAnnotation:
        return VideoAnnotation(
            path=_video_path(video, names),
            id=video,
            captions=(" ".join(sentences.captions[video]),),
            segments=tuple(moments.get(video, ())),
        )

    return Annotations(
        records=sentences.records(make, ids, tolerated=True),
        file=path,
        root=root,
        description="DiDeMo, the sentences of a video joined",
        clips="videos",
        copying="none",
    )


def _data_of(path: Path) -> str:
    return path.name.replace("_list.txt", "_data.json")


def _moment(times: Any, text: str) -> Segment | None:
    if not isinstance(times, list) or not times or not all(map(_is_span, times)):
        return None
    (first, last), _ = Counter(map(tuple, times)).most_common(1)[0]
    return Segment(start=_PIECE * first, end=_PIECE * (last + 1), captions=(text,))


def _is_span(pair: Any) -> bool:
    return (
        isinstance(pair, list)
        and len(pair) == 2
        and all(type(piece) is int for piece in pair)
        and 0 <= pair[0] <= pair[1]
    )


def _video_path(name: str, names: Mapping[str, str]) -> str:
    for stem in (name, name.rpartition(".")[0]):  # made an mp4, or as it was downloaded
        if stem in names:
            return names[stem]
    return f"{name}.mp4"


def write(data: Collection) -> list[Path]:
    """Write the json and the list of each split; every annotator marks the same pieces."""
    written = []
    for split in data.layout.splits:
        rows: list[dict[str, Any]] = []
        names: list[str] = []
        for video in data.of(split):
            names.append(Path(video.path).name.removesuffix(".mp4"))
            for segment in video.segments:
                assert segment.end is not None
                pieces = [round(segment.start / _PIECE), math.ceil(segment.end / _PIECE) - 1]
                row = {
                    "num_segments": math.ceil((video.duration or segment.end) / _PIECE),
                    "description": segment.captions[0],
                    "dl_link": "",
                    "times": [pieces] * _ANNOTATORS,
                    "video": names[-1],
                }
                rows.append({**row, "annotation_id": 1000 * int(video.id) + len(rows)})
        written.append(data.write_text(f"{split}_data.json", json.dumps(rows)))
        written.append(data.write_text(f"{split}_list.txt", (f"{name}\n" for name in names)))
    return written
