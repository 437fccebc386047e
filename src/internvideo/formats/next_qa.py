"""NExT-QA: five answers to a question about causes, order in time, or what is seen.

`{train,val,test}.csv` has the columns `video`, `question`, `answer` (from 0), `qid`, `type` and
`a0` to `a4`. The videos lie in numbered folders: `map_vid_vidorID.json`, beside the csv or the
videos, maps `4010069381` to `1164/4010069381`; without it they are looked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from internvideo.annotations import Annotations, Choice
from internvideo.errors import DataError
from internvideo.formats.files import files_by_stem, read_json
from internvideo.formats.multiple_choice import choice
from internvideo.formats.questions import by_video
from internvideo.formats.tables import Table
from internvideo.video.sources import is_url

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "read"]

_OPTIONS = ("a0", "a1", "a2", "a3", "a4")
_COLUMNS = {"video", "question", "answer", "qid", "type", *_OPTIONS}
_MAPPING = "map_vid_vidorID.json"
_KINDS = {
    "CW": "causal/why",
    "CH": "causal/how",
    "TN": "temporal/next",
    "TC": "temporal/present",
    "TP": "temporal/previous",
    "DC": "descriptive/count",
    "DL": "descriptive/location",
    "DO": "descriptive/other",
}


def looks_like(file: Glimpse) -> bool:
    """Tell whether this is a csv with the columns of NExT-QA."""
    return set(file.header()) >= _COLUMNS


def read(path: Path, root: Path | str) -> Annotations:
    """Read questions, one record a video; a question is called `{video}_{qid}`."""
    names = files_by_stem(root, subfolders=True)
    places = [path.parent] if is_url(str(root)) else [path.parent, Path(root)]
    mapping = next((read_json(p / _MAPPING) for p in places if (p / _MAPPING).is_file()), {})

    def parse(number: int, values: dict[str, Any]) -> tuple[str, Choice]:
        video = str(values["video"])
        answer, kind = str(values["answer"]).strip(), str(values["type"])
        if not answer.isdigit():
            raise DataError(f"the answer is {answer!r}; expected a number from 0 to 4")
        row = {
            "question": values["question"],
            "options": [values[name] for name in _OPTIONS],
            "answer": int(answer),
            "kind": _KINDS.get(kind, kind),
            "id": f"{video}_{values['qid']}",
        }
        return names.get(video, f"{mapping.get(video, video)}.mp4"), choice(row, number)

    rows = Table(path, "csv").parsed(parse)
    return Annotations(records=by_video(rows), file=path, root=root, description="NExT-QA")
