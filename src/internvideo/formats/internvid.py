"""InternVid, written: captions about parts of longer videos. `captions` reads it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from internvideo.formats.files import Collection
from internvideo.formats.timestamps import format_timestamp
from internvideo.video.writer import join_videos

__all__ = ["write"]

_CLIPS_A_VIDEO = 5


def write(data: Collection) -> list[Path]:
    """Write `internvid_{split}.jsonl`, and `videos/{YoutubeID}.mp4` of five clips each.

    Aesthetic_Score and UMT_Score are drawn, they mean nothing here.
    """
    (data.directory / "videos").mkdir(exist_ok=True)
    written, numbers = [], {video.path: number for number, video in enumerate(data.videos)}
    for split in data.layout.splits:
        held, rows = data.of(split), []
        for first in range(0, len(held), _CLIPS_A_VIDEO):
            clips = held[first : first + _CLIPS_A_VIDEO]
            name, start = clips[0].id, 0.0
            paths = [data.directory / clip.path for clip in clips]
            join_videos(paths, data.directory / "videos" / f"{name}.mp4")
            for clip in clips:
                end = start + (clip.duration or 0)
                rows.append(_row(name, numbers[clip.path], start, end, clip.captions[0]))
                start = end
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        written.append(data.write_text(f"internvid_{split}.jsonl", lines))
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
