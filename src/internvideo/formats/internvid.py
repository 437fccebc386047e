"""InternVid, written: captions about parts of longer videos. `captions` reads it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from internvideo.annotations import VideoAnnotation
from internvideo.formats.files import write_text
from internvideo.formats.timestamps import format_timestamp
from internvideo.video.writer import join_videos

if TYPE_CHECKING:
    from internvideo.formats import Layout

__all__ = ["write"]

_CLIPS_A_VIDEO = 5


def write(
    directory: Path, videos: Sequence[VideoAnnotation], *, classes: Sequence[str], layout: Layout
) -> list[Path]:
    """Write `internvid_{split}.jsonl`, and `videos/{YoutubeID}.mp4` of five clips each.

    Aesthetic_Score and UMT_Score are drawn, they mean nothing here.
    """
    del classes
    written = []
    (directory / "videos").mkdir(exist_ok=True)
    for split in layout.splits:
        held = [(place, video) for place, video in enumerate(videos) if video.split == split]
        rows = []
        for first in range(0, len(held), _CLIPS_A_VIDEO):
            clips = held[first : first + _CLIPS_A_VIDEO]
            name, start = clips[0][1].id, 0.0
            paths = [directory / clip.path for _, clip in clips]
            join_videos(paths, directory / "videos" / f"{name}.mp4")
            for place, clip in clips:
                end = start + (clip.duration or 0)
                rows.append(_row(name, place, start, end, clip.captions[0]))
                start = end
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        written.append(write_text(directory / f"internvid_{split}.jsonl", text))
    return written


def _row(name: str, place: int, start: float, end: float, caption: str) -> dict[str, str | float]:
    draw = hashlib.sha256(f"{name} {place}".encode()).digest()
    return {
        "YoutubeID": name,
        "Start_timestamp": format_timestamp(start),
        "End_timestamp": format_timestamp(end),
        "Caption": caption,
        "Aesthetic_Score": round(3 + 3 * draw[0] / 255, 4),
        "UMT_Score": round(0.2 + 0.3 * draw[1] / 255, 4),
    }
