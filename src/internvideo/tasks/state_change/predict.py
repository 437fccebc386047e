"""Where in a frame of a user's video is the object that changes its state?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from internvideo.errors import VideoError
from internvideo.evaluation.answer import VideoAnswer
from internvideo.evaluation.arrays import as_list
from internvideo.evaluation.engine import Seen, Unreadable, answers
from internvideo.tasks.state_change.finding import ObjectFinder
from internvideo.tasks.state_change.pictures import key_frame, view_of
from internvideo.tasks.task import Option
from internvideo.video.opening import AnyVideo, name_of, open_video
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo.hub import LoadedModel

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["ObjectAnswer", "predict"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectAnswer(VideoAnswer):
    """The objects in one frame, the surest first.

    Attributes:
        size: width and height of the frame in pixels.
        time: of the frame in seconds.
        boxes: left, top, right and bottom side in pixels.
        scores: from 0 to 1.
        labels: names of the classes.
    """

    size: tuple[int, int]
    time: float
    boxes: tuple[tuple[float, ...], ...]
    scores: tuple[float, ...]
    labels: tuple[str, ...]

    headings: ClassVar[tuple[str, ...]] = ("object", "box", "score")
    """Of the columns of a table of many videos, see `summary`."""
    max_tables: ClassVar[int] = 3
    """Up to so many videos have a table each."""

    def summary(self) -> tuple[str, ...]:
        """Return the surest object as cells of one row."""
        return self._rows()[0]

    def contents(self) -> dict[str, Any]:
        """Return all objects."""
        parts = zip(self.boxes, self.scores, self.labels, strict=True)
        return {
            "size": list(self.size),
            "time": round(self.time, 3),
            "objects": [
                {"box": [round(side, 1) for side in box], "score": score, "label": label}
                for box, score, label in parts
            ],
        }

    def _rows(self) -> list[tuple[str, str, str]]:
        parts = zip(self.labels, self.boxes, self.scores, strict=True)
        return [
            (label, " ".join(f"{side:.0f}" for side in box), f"{score:.3f}")
            for label, box, score in parts
        ]

    def __rich__(self) -> Table:
        return self.filled_table(self.headings, self._rows(), left=("object",))


def predict(
    model: LoadedModel,
    videos: Iterable[AnyVideo],
    *,
    at: Annotated[
        float | None, Option("Seconds to the key frame; by default the middle of the video.")
    ] = None,
    top_k: Annotated[int, Option("Surest boxes.", flags=("-k",), minimum=1)] = 5,
) -> Iterator[ObjectAnswer | VideoError]:
    """Find the object that changes its state in a frame of a video, or in a picture.

    Models: dino-uniformer-l-ego4d-scod and dino-swin-l-ego4d-scod, whose files are fetched when
    they are asked for.

    Raises:
        ConfigError: the model does not find objects in pictures.
    """
    finder = ObjectFinder(model, limit=top_k)
    names = model.class_names
    assert names is not None  # a detector has classes, named or numbered
    sizes: dict[int, tuple[int, int]] = {}
    read = partial(_read, finder.protocol, at, sizes)
    for seen, found in answers(finder, enumerate(videos), read, batch_size=1):
        if isinstance(found, VideoError):
            yield found
            continue
        assert isinstance(seen, Seen)
        width, height = sizes.pop(seen.index)
        extent = found.boxes.new_tensor([width, height, width, height])
        yield ObjectAnswer(
            video=seen.name,
            model=model.name,
            protocol=finder.describe(),
            size=(width, height),
            time=seen.start,
            boxes=tuple(tuple(box) for box in as_list(found.boxes * extent)),
            scores=tuple(as_list(found.scores)),
            labels=tuple(names[int(label)] for label in as_list(found.labels)),
        )


def _read(
    protocol: Preprocessing,
    at: float | None,
    sizes: dict[int, tuple[int, int]],
    numbered: tuple[int, AnyVideo],
) -> Seen | Unreadable:
    index, video = numbered
    try:
        with open_video(video) as (name, opened):
            frame = key_frame(opened, at)
            sizes[index] = (frame.shape[1], frame.shape[0])
            middle = (opened.num_frames // 2) / opened.fps
            time = middle if at is None else at
            return Seen(name, view_of(frame, protocol), index, start=time)
    except VideoError as error:
        return Unreadable(name_of(video), error, index)
