"""The queries of annotated videos: a sentence each, and the part of the video that it asks for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from internvideo.annotations import VideoAnnotation
from internvideo.data.feature_videos import AnnotatedVideos, read_videos
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.data import AnnotatedData
from internvideo.video.preprocessing import Preprocessing

__all__ = ["Query", "check_words", "open_queries", "queries_of", "question"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Query:
    """A sentence that asks for a part of a video.

    Attributes:
        video: id of the video, or its path where it has none.
        number: of the query among those of its video, from 0.
        text: the sentence.
        times: start and end of the true part in seconds; None where they are not known.
        id: its name at its source.
    """

    video: str
    number: int
    text: str
    times: tuple[float, float] | None = None
    id: str = ""

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"query {self.id or self.number} of {self.video}"


def queries_of(video: VideoAnnotation) -> tuple[Query, ...]:
    """Return the queries of a video: every sentence of every segment.

    A part that ends with its video, and a query whose times are not known, have no end in their
    annotation: it is the former where the segment begins behind the start of the video.
    """
    found: list[Query] = []
    for segment in video.segments:
        end = segment.end
        if end is None and segment.start > 0:
            end = video.duration
        times = None if end is None else (segment.start, end)
        for text in segment.captions:
            found.append(Query(video.id or video.path, len(found), text, times, segment.id))
    return tuple(found)


def question(text: str) -> str:
    """Return a sentence as the baseline of Ego4D writes it: lower case, one question mark behind.

    >>> question(" Where is the cup? ")
    'where is the cup?'
    """
    return text.strip(" ").strip("?").lower() + "?"


def check_words(text: str) -> str:
    """Return a sentence that has words.

    Raises:
        ConfigError: it has none.
    """
    if not any(character.isalnum() for character in text):
        raise ConfigError(f"the query {text!r} has no words; ask for something to be seen")
    return text


def open_queries(data: AnnotatedData, protocol: Preprocessing | None = None) -> AnnotatedVideos:
    """Read videos with queries; what cannot be used, or never be found, is warned of.

    Raises:
        DataError: the file cannot be used, or has no queries.
        ConfigError: an option that queries do not have.
    """
    del protocol
    if data.is_world:
        raise ConfigError("the world has no list of queries; write one, and give its file")
    if data.labels is not None:
        raise ConfigError("--labels does not go with language queries; leave it out")
    path = Path(data.path)
    videos = read_videos(path, kind=data.format, root=data.root, split=data.split)
    if not any(queries_of(video) for video in videos.videos):
        raise DataError(f"{path} has no sentences about parts of videos; is it a list of queries?")
    warn_of_odd_queries(videos)
    return videos


def warn_of_odd_queries(videos: AnnotatedVideos) -> None:
    """Warn of lines that are left out, and of queries outside their videos: how many, and one."""
    odd = {
        "cannot be used and are left out": [line.message for line in videos.bad_lines],
        "reach beyond the end of their video": list(_beyond(videos.videos)),
    }
    for what, names in odd.items():
        if names:
            _LOG.warning("%s: %d queries %s: %s", videos.file, len(names), what, names[0])


def _beyond(videos: Sequence[VideoAnnotation]) -> list[str]:
    return [
        f"{query.name} ends at {query.times[1]:g} s, the video at {video.duration:g} s"
        for video in videos
        for query in queries_of(video)
        if query.times and video.duration is not None and query.times[1] > video.duration
    ]
