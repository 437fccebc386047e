"""WebVid, written: a csv of captions for each split. `captions` reads it."""

from __future__ import annotations

from pathlib import Path

from internvideo.annotations import VideoAnnotation
from internvideo.formats.files import Collection

__all__ = ["write"]

_HEADER = ["videoid", "contentUrl", "duration", "page_dir", "name"]


def write(data: Collection) -> list[Path]:
    """Write `results_world_{split}.csv`; a video is `videos/{page_dir}/{videoid}.mp4`.

    `contentUrl` is empty, `duration` is written as `PT00H00M02S`, `name` is the caption.
    """
    return [
        data.write_csv(f"results_world_{split}.csv", _HEADER, list(map(_row, data.of(split))))
        for split in data.layout.splits
    ]


def _row(video: VideoAnnotation) -> list[str]:
    path, seconds = Path(video.path), round(video.duration or 0)
    length = f"PT{seconds // 3600:02d}H{seconds // 60 % 60:02d}M{seconds % 60:02d}S"
    return [path.stem, "", length, path.parent.name, video.captions[0]]
