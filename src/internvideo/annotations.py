"""What is known of a video: the records that annotation formats read and write.

An annotation belongs to a video: what holds of the whole stands in a `VideoAnnotation` itself, what
holds of a part of it in a `Segment`. Clips, windows and pairs are views that are derived from these
records, see `internvideo.data`. Classes are numbers from 0; their names go with the collection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

__all__ = [
    "ActorBox",
    "Annotations",
    "BadLine",
    "Box",
    "Choice",
    "HandPoint",
    "NextContact",
    "Question",
    "Segment",
    "Track",
    "VideoAnnotation",
]

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom side; in pixels, where nothing else is said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A part of a video; it has the label and the captions of the video where it has none itself.

    Attributes:
        start: its start in seconds.
        end: its end in seconds; None is the end of the video.
        label: class number, or None.
        captions: sentences about it, or one that asks for it.
        id: its name at its source, where answers are handed in under it.
    """

    start: float
    end: float | None = None
    label: int | None = None
    captions: tuple[str, ...] = ()
    id: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Track:
    """An object through the frames of a video.

    Attributes:
        name: what it is.
        boxes: where it is, one a frame; None where it is not seen.
    """

    name: str
    boxes: tuple[Box | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ActorBox:
    """Someone at one moment of a video, and what they do then.

    Attributes:
        time: of the key frame, in seconds from the start of the video.
        box: left, top, right and bottom side as fractions of the picture; may reach beyond it.
        labels: class numbers of all that is done at once.
        actor: number of the person in the video, where that is known.
        score: how sure a detector is that someone is there.
    """

    time: float
    box: Box
    labels: tuple[int, ...] = ()
    actor: int | None = None
    score: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class HandPoint:
    """Where a hand is at one of the key frames that follow a clip.

    Attributes:
        key_frame: number of the key frame, from 0; the last one is at contact.
        hand: 0 is the left one, 1 the right one.
        point: x and y in pixels of the annotated picture.
    """

    key_frame: int
    hand: int
    point: tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class NextContact:
    """An object that will be touched, as it is seen before; or what someone takes for one.

    Attributes:
        box: its sides in pixels of the picture.
        noun: class of the object.
        verb: class of what will be done with it; None where a detector found no more than a box.
        seconds: until it is touched; likewise.
        time: of the picture, in seconds from the start of the video.
        score: how sure a detector is.
    """

    box: Box
    noun: int
    verb: int | None = None
    seconds: float | None = None
    time: float = 0.0
    score: float = 1.0


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a video, or a turn of a conversation.

    Attributes:
        question: what is asked.
        answer: the true answer.
        kind: what it asks about, where that is known; a part behind a slash is a finer kind.
        instruction: how to answer.
        line: line in the annotation file.
    """

    question: str
    answer: str
    kind: str = ""
    instruction: str = ""
    line: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Some sentences, of which one is about the video; or some answers to a question about it.

    Attributes:
        options: the sentences, two or more.
        answer: number of the true one, from 0.
        question: what is asked; empty where the options are sentences about the video.
        kind: what the wrong ones differ in, or the question is about, where that is known; a part
            behind a slash is a finer kind.
        id: name of the question in its file, where it has one.
        line: line in the annotation file.
    """

    options: tuple[str, ...]
    answer: int
    question: str = ""
    kind: str = ""
    id: str = ""
    line: int = 0

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is compared with the video: the options, or the question with each of them.

        Source: the reference's reader of TGIF-QA (fixture `vqa-annotations`).
        """
        if not self.question:
            return self.options
        asked = f"{self.question}Options: {' '.join(self.options)}Answer: "
        return tuple(f"{asked}{option}" for option in self.options)


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoAnnotation:
    """What is known of one video.

    Attributes:
        path: video file, image, folder of frames, or address; below the root of the collection.
        id: its name at its source, such as an id of YouTube.
        parent: the id of a longer video that it was cut from.
        offset: where it begins there, in seconds.
        split: the part of the collection that it is in, where one file has several.
        duration: length in seconds.
        fps: frames per second.
        num_frames: number of frames; of a folder, how many of its files count.
        first_frame: number in the name of the first frame file, for `template`.
        template: name of a frame file, such as `img_{:05d}.jpg`; set for folders of frames.
        label: class number, or None.
        category: number of its topic, beside its class.
        captions: sentences about it.
        segments: its annotated parts.
        tracks: the objects in it.
        boxes: who does what at its key frames.
        hands: where hands will be after its end.
        contacts: objects that will be touched, at its key frames.
        size: width and height of its pictures in pixels.
        questions: questions about it, or the turns of one conversation.
        choices: multiple-choice questions about it.
        line: line (or 1-based place) in the annotation file.
    """

    path: str
    id: str = ""
    parent: str = ""
    offset: float = 0.0
    split: str = ""
    duration: float | None = None
    fps: float | None = None
    num_frames: int | None = None
    first_frame: int = 1
    template: str | None = None
    label: int | None = None
    category: int | None = None
    captions: tuple[str, ...] = ()
    segments: tuple[Segment, ...] = ()
    tracks: tuple[Track, ...] = ()
    boxes: tuple[ActorBox, ...] = ()
    hands: tuple[HandPoint, ...] = ()
    contacts: tuple[NextContact, ...] = ()
    size: tuple[int, int] | None = None
    questions: tuple[Question, ...] = ()
    choices: tuple[Choice, ...] = ()
    line: int = 0


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line of an annotation file that says nothing usable, and why (file and line included).

    Attributes:
        line: line (or 1-based place) in the file.
        message: what is wrong.
        tolerated: the published files have such, and their readers leave them out; so no error
            even where the others are one.
    """

    line: int
    message: str
    tolerated: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotations:
    """An annotation file, whose records are read one after the other.

    Attributes:
        records: the videos, in the order of the file, and the lines that cannot be used.
        file: the file, for messages.
        root: folder or address that relative paths are below.
        description: what is read, such as "UCF101 list"; a function where the records tell.
        class_names: names of the labels in their order, where the format names them.
        clips: what a clip is where parts of a video are annotated: each of them, or (where they are
            moments in a longer text about the video) the whole video with its own captions.
        copying: whether the file can be copied without some records: a record is a line, or a row
            of a csv (whose texts may have line ends), or "none" of both.
        segments_only: clips are segments only: a video without any, such as one of a test split, is
            none itself.
        corrected: asked after the last record: what to read instead, where only the whole file
            shows that some of the records were wrong.
    """

    records: Iterable[VideoAnnotation | BadLine]
    file: Path
    root: Path | str
    description: str | Callable[[], str]
    class_names: tuple[str, ...] | None = None
    clips: Literal["segments", "videos"] = "segments"
    copying: Literal["lines", "rows", "none"] = "lines"
    segments_only: bool = False
    corrected: Callable[[], Annotations | None] | None = None
