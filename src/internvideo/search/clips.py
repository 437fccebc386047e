"""The hits of a search as video files: exactly their frames, with their sound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from internvideo.errors import VideoError
from internvideo.search.hits import Hit
from internvideo.video.clips import write_clip

__all__ = ["cut_hits"]


def cut_hits(hits: Sequence[Hit], folder: Path) -> Iterator[tuple[Hit, Path | VideoError]]:
    """Write each hit to a file of a folder, see `write_clip`; yield it, or why there is none.

    The best hit is `01-….mp4`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for rank, hit in enumerate(hits, start=1):
        name = PurePosixPath(hit.path.partition("?")[0]).stem
        path = folder / f"{rank:02}-{name}-{hit.start:.2f}s.mp4"
        part = hit.part
        frames = range(part.first_frame, part.first_frame + part.num_frames)
        try:
            write_clip(path, part.file.path, frames)
            yield hit, path
        except VideoError as error:
            yield hit, error
