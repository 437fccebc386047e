"""Clips from annotated videos: opened when they are read, decoding only the frames of the clip."""

from __future__ import annotations

import numpy as np

from internvideo.data.clip_list import ClipEntry, ClipList
from internvideo.data.clip_sampling import ClipSampling, Part, part_frames
from internvideo.data.samples import ClipViews, Sample
from internvideo.errors import VideoError
from internvideo.video import Preprocessing, Video
from internvideo.video.frames import Window
from internvideo.video.preprocessing import FrameSource
from internvideo.video.rawframes import FrameFiles

__all__ = ["VideoListSource", "entry_part", "frame_files", "open_entry"]


class VideoListSource:
    """The clips of an annotation file.

    Args:
        clips: what the annotation file says.
        protocol: the input protocol of the model.
        sampling: how the frames of a training clip are drawn; None takes the middle clip of the
            protocol.
        whole_videos: evaluate a part of a video by views of the whole video, as is the custom for
            ActivityNet.
    """

    def __init__(
        self,
        clips: ClipList,
        protocol: Preprocessing,
        *,
        sampling: ClipSampling | None = None,
        whole_videos: bool = False,
    ) -> None:
        self.clips = clips
        self.protocol = protocol
        self.sampling = sampling
        self.whole_videos = whole_videos

    def __len__(self) -> int:
        return len(self.clips)

    def read(self, index: int, rng: np.random.Generator) -> Sample:
        """Decode one training clip; draw its frames and, if it has captions, one of them.

        Raises:
            VideoError: the video cannot be read; the message names it.
        """
        entry = self.clips[index]
        with self.open(index) as video:
            return _sample(entry, video, rng, protocol=self.protocol, sampling=self.sampling)

    def read_views(self, index: int, protocol: Preprocessing) -> ClipViews:
        """Decode a video once and return all its views.

        Raises:
            VideoError: the video cannot be read; the message names it.
        """
        entry = self.clips[index]
        with self.open(index) as video:
            return _views(entry, video, protocol, whole_video=self.whole_videos)

    def open(self, index: int) -> Video:
        """Open the whole video of a clip.

        Raises:
            VideoError: there is none.
        """
        return open_entry(self.clips[index])

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the labels in their order, where the annotations tell them."""
        return self.clips.class_names

    @property
    def still(self) -> np.ndarray:
        """Which clips are still images, bool; their samples have one frame."""
        return self.clips.still

    def key(self, index: int) -> str:
        """Return the path of a video, with the part that is meant."""
        return self.clips[index].key

    def label(self, index: int) -> int | None:
        """Return the label of a clip without reading it."""
        return self.clips[index].label

    def check_labels(self, num_classes: int) -> None:
        """Check that every clip has a label from 0 to `num_classes - 1`.

        Raises:
            DataError: names the first that has not, with file and line.
        """
        self.clips.check_labels(num_classes)


def open_entry(entry: ClipEntry) -> Video:
    """Open the video, the frame files or the still image of an entry."""
    if entry.template is None:
        return Video(entry.path, still=entry.is_image)
    return Video(entry.path, pattern=frame_files(entry) or _glob_of(entry.template))


def frame_files(entry: ClipEntry) -> FrameFiles | None:
    """Return the frame files of an entry, where the annotation counts them."""
    if entry.template is None or entry.num_frames is None:
        return None
    return FrameFiles(template=entry.template, first=entry.first_frame, count=entry.num_frames)


def _glob_of(template: str) -> str:
    before, _, rest = template.partition("{")
    return f"{before}*{rest.partition('}')[2]}"


def entry_part(entry: ClipEntry, video: FrameSource) -> Part | None:
    """Return the part of the video that an entry means; None is the whole.

    Raises:
        VideoError: the part lies behind the end of the video.
    """
    if entry.start is None:
        return None
    duration = entry.duration or video.num_frames / video.fps
    end = duration if entry.end is None else entry.end
    if entry.start >= duration:
        raise VideoError(
            f"{entry.path}: the annotated part begins at {entry.start:g} s, but the video is over "
            f"after {duration:g} s"
        )
    return Part(start=entry.start, end=end, duration=duration)


def _sample(
    entry: ClipEntry,
    video: FrameSource,
    rng: np.random.Generator,
    *,
    protocol: Preprocessing,
    sampling: ClipSampling | None,
) -> Sample:
    """Draw the frames and the caption of one training clip and decode it."""
    part = None if entry.is_image else entry_part(entry, video)
    if entry.is_image:
        indices = np.zeros(1, np.int64)
    elif sampling is not None:
        indices = sampling.indices(video.num_frames, video.fps, rng, entry.path, part=part)
    else:
        first, count = (
            (0, video.num_frames) if part is None else part_frames(video.num_frames, part)
        )
        clips = protocol.sample(count, video.fps)
        indices = first + clips[len(clips) // 2]
    frames = video.frames(indices.tolist()).numpy()
    caption = str(rng.choice(entry.captions)) if entry.captions else None
    return Sample(frames=frames, caption=caption, label=entry.label, key=entry.key)


def _views(
    entry: ClipEntry, video: FrameSource, protocol: Preprocessing, *, whole_video: bool = False
) -> ClipViews:
    """Return all views of an entry; each frame is decoded once."""
    part = None if whole_video else entry_part(entry, video)
    seen = video if part is None else Window(video, *part_frames(video.num_frames, part))
    return ClipViews(protocol.load(seen), entry.label, entry.key)
