"""What is handed in to the challenge of Ego4D's moment queries, written and read.

    {"version": "1.0", "challenge": "ego4d_moment_queries",
     "detect_results": {"CLIP": [{"label", "score", "segment": [start, end]}, …]},
     "retrieve_results": {"CLIP": […]}}

Times are seconds from the start of a clip. Recall takes the moments of a clip in the order of the
file, so they stand from the surest to the least sure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from internvideo.evaluation.segment_matching import SegmentTable
from internvideo.evaluation.segment_submission import read_submission, submission_rows
from internvideo.evaluation.segments import Segments
from internvideo.files import json_text, write_whole

__all__ = ["Answers", "read_answers", "write_answers"]

_HEADER = {"version": "1.0", "challenge": "ego4d_moment_queries"}
_DETECTED, _RETRIEVED = "detect_results", "retrieve_results"


@dataclass(frozen=True, eq=False, slots=True)
class Answers:
    """Moments of all clips, by the place of the clip.

    Attributes:
        detected: for mAP.
        retrieved: for recall.
    """

    detected: SegmentTable
    retrieved: SegmentTable

    @classmethod
    def of(cls, detected: Sequence[Segments], retrieved: Sequence[Segments]) -> Answers:
        """Return the moments of the clips 0, 1, 2, … together."""
        return cls(SegmentTable.of(detected), SegmentTable.of(retrieved))


def read_answers(path: Path, clips: Sequence[str], classes: Sequence[str]) -> Answers:
    """Read such a file.

    Args:
        path: the file.
        clips: names of the annotated clips.
        classes: names of the classes.

    Raises:
        DataError: one of the two lists is missing, or as `read_submission` says.
    """
    detected = read_submission(path, clips, classes, key=_DETECTED)
    retrieved = read_submission(path, clips, classes, key=_RETRIEVED)
    return Answers(detected.table, retrieved.table)


def write_answers(
    path: Path, clips: Sequence[str], answers: Answers, classes: Sequence[str]
) -> None:
    """Write the file that the challenge takes."""
    lists = {
        key: submission_rows(zip(clips, table.by_video(len(clips)), strict=True), classes)
        for key, table in ((_DETECTED, answers.detected), (_RETRIEVED, answers.retrieved))
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, f"{json_text({**_HEADER, **lists})}\n")
