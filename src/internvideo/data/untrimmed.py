"""Annotated untrimmed videos that are read as frames; whoever has one decodes what it needs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np

from internvideo.annotations import VideoAnnotation
from internvideo.data.feature_videos import AnnotatedVideoSource
from internvideo.data.samples import ClipViews, Sample
from internvideo.video import Preprocessing
from internvideo.video.sources import is_url
from internvideo.video.video import Video

__all__ = ["UntrimmedSource", "UntrimmedVideo"]


def _no_frames() -> np.ndarray:
    return np.zeros((0, 0, 0, 3), np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class UntrimmedVideo(Sample):
    """A video with all that is known of it; no frame of it has been decoded."""

    frames: np.ndarray = field(default_factory=_no_frames)
    video: Video
    annotation: VideoAnnotation


class UntrimmedSource(AnnotatedVideoSource):
    """Videos of an annotation file."""

    def path(self, index: int) -> str:
        """Return where a video is."""
        root, path = self.annotated.root, self.annotated.videos[index].path
        if is_url(root) and not is_url(path):
            return f"{root.rstrip('/')}/{path}"
        return path if is_url(path) else os.path.join(root, path)  # noqa: PTH118

    def read(self, index: int, rng: np.random.Generator) -> UntrimmedVideo:
        """Open a video; nothing is drawn.

        Raises:
            VideoError: there is none, or it cannot be opened.
        """
        video = Video(self.path(index))
        return UntrimmedVideo(
            key=self.key(index), video=video, annotation=self.annotated.videos[index]
        )

    def read_views(self, index: int, protocol: Preprocessing) -> ClipViews:
        """Return all views of the whole video.

        Raises:
            VideoError: it cannot be read.
        """
        with Video(self.path(index)) as video:
            return ClipViews(protocol.load(video), self.label(index), self.key(index))
