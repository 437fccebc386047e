"""Which captions are searched with: of each video of a source, each caption once."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal, TypeAlias

from internvideo.data.clip_list import ClipList
from internvideo.data.clips import VideoListSource
from internvideo.data.samples import EvaluationSource
from internvideo.data.selection import Selection
from internvideo.data.world import WorldSource
from internvideo.errors import DataError
from internvideo.world import plain_caption

__all__ = ["CaptionSubset", "CaptionedVideos", "captioned_videos"]

CaptionSubset: TypeAlias = Literal["all", "first", "paragraph"]
"""Every caption of a video, its first one alone, or all of them (of all its parts) as one text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionedVideos:
    """Videos, each once, and the captions to find them by.

    Attributes:
        source: the videos.
        captions: of each video, at least one.
        subset: which of the captions in the data they are.
        left_out: what is no query, and why.
    """

    source: EvaluationSource
    captions: tuple[tuple[str, ...], ...]
    subset: CaptionSubset
    left_out: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return the caption subset in words."""
        count = sum(map(len, self.captions))
        videos = f"{len(self.captions)} videos"
        if self.subset == "paragraph":
            return f"the captions of each of {videos} as one paragraph"
        if self.subset == "first":
            return f"the first caption of each of {videos}"
        if count == len(self.captions):
            return f"one caption of each of {videos}"
        return f"all {count} captions of {videos}"


def captioned_videos(source: EvaluationSource, subset: CaptionSubset = "all") -> CaptionedVideos:
    """Return the videos of a source with their captions.

    Clips that are the same part of the same video are one video with the captions of all. A caption
    without a letter or digit is left out, and so is a video without captions; the world has its
    plain captions.

    Args:
        source: a list of captioned videos, or the world.
        subset: which captions; "paragraph" joins them by spaces in their order, and looks at the
            whole video where several parts of it have captions.

    Raises:
        DataError: there are no captions.
    """
    if isinstance(source, WorldSource):
        scenes = (source.world.scene(source.start + index) for index in range(len(source)))
        captions = tuple((plain_caption(scene),) for scene in scenes)
        return CaptionedVideos(source=source, captions=captions, subset=subset)
    if not isinstance(source, VideoListSource):
        raise DataError(
            f"{type(source).__name__} tells no captions without reading its videos; measure "
            "retrieval on one list of captioned videos"
        )
    return _of_list(source, subset)


def _of_list(source: VideoListSource, subset: CaptionSubset) -> CaptionedVideos:
    clips = source.clips
    left_out = [line.message for line in clips.bad_lines]
    parts, captions = _grouped(clips, whole=subset == "paragraph", left_out=left_out)
    if not captions:
        reason = f": {left_out[0]}" if left_out else ""
        raise DataError(
            f"{clips.file} has no captions to search with{reason}; give a list of captioned "
            "videos, such as MSR-VTT's json or a csv with the columns video,caption"
        )
    if subset == "first":
        captions = {key: texts[:1] for key, texts in captions.items()}
    if subset == "paragraph":
        captions = {key: [" ".join(texts)] for key, texts in captions.items()}
        if any(len(each) > 1 for each in parts.values()):
            source = copy.copy(source)
            source.whole_videos = True
    chosen = Selection(source, [next(iter(parts[key].values())) for key in captions], [*captions])
    return CaptionedVideos(
        source=chosen,
        captions=tuple(map(tuple, captions.values())),
        # What the data have joined already (DiDeMo, ActivityNet Captions) is called by its name.
        subset="paragraph" if clips.clips == "videos" else subset,
        left_out=tuple(left_out),
    )


def _grouped(
    clips: ClipList, *, whole: bool, left_out: list[str]
) -> tuple[dict[str, dict[str, int]], dict[str, list[str]]]:
    """Return the place of each part, and the captions, of each video.

    With `whole` a video is a file, else each part is one.
    """
    parts: dict[str, dict[str, int]] = {}
    captions: dict[str, list[str]] = {}
    for place, clip in enumerate(clips):
        where = f"{clips.file}:{clip.line}: {clip.key}"
        if not clip.captions:
            left_out.append(f"{where} has no caption")
        for text in clip.captions:
            if any(map(str.isalnum, text)):
                key = clip.path if whole else clip.key
                parts.setdefault(key, {}).setdefault(clip.key, place)
                captions.setdefault(key, []).append(text)
            else:
                left_out.append(f"{where}: the caption {text!r} has no words")
    return parts, captions
