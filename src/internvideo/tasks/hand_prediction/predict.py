"""Where will the hands of a user's video be?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from internvideo.errors import VideoError
from internvideo.evaluation.answer import VideoAnswer
from internvideo.evaluation.engine import Seen, Unreadable, answers
from internvideo.evaluation.pictures import Drawn
from internvideo.formats.ego4d_fhp import KEY_FRAMES
from internvideo.tasks.hand_prediction.finding import HandFinder
from internvideo.tasks.task import Option
from internvideo.video.opening import AnyVideo, name_of, open_video
from internvideo.video.preprocessing import FrameSource, Preprocessing
from internvideo.zoo.hub import LoadedModel

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["HandAnswer", "predict"]

_HANDS = ("left", "right")


@dataclass(frozen=True, kw_only=True, slots=True)
class HandAnswer(VideoAnswer, Drawn):
    """Where hands will be after a part of a video.

    Attributes:
        time: of the end of that part, in seconds.
        size: width and height of the frame in pixels.
        places: key frame, hand (left, right), x and y in pixels.
        frame: the last one that was seen, to draw on.
    """

    time: float
    size: tuple[int, int]
    places: Float[np.ndarray, "5 2 2"]
    frame: UInt8[np.ndarray, "h w 3"]

    headings: ClassVar[tuple[str, ...]] = ("left hand at contact", "right hand at contact")
    """Of the columns of a table of many videos, see `summary`."""
    max_tables: ClassVar[int] = 3
    """Up to so many videos have a table each."""

    def summary(self) -> tuple[str, ...]:
        """Return where the hands are in the end, as cells of one row."""
        return tuple(map(_shown, self.places[-1]))

    def contents(self) -> dict[str, Any]:
        """Return the places by key frame and hand."""
        return {
            "time": round(self.time, 3),
            "size": list(self.size),
            "key_frames": {
                name: {
                    hand: [round(value, 1) for value in point.tolist()]
                    for hand, point in zip(_HANDS, row, strict=True)
                }
                for name, row in zip(KEY_FRAMES, self.places, strict=True)
            },
        }

    def draw(self) -> Any:
        """Draw the ways of the hands over the last frame that was seen; a cross is the contact."""
        width, height = self.size
        figure = self.figure(6, 6 * height / width)
        axes = figure.subplots()
        axes.imshow(self.frame, extent=(0, width, height, 0))
        for hand, (name, color) in enumerate(zip(_HANDS, ("tab:orange", "tab:cyan"), strict=True)):
            x, y = self.places[:, hand, 0], self.places[:, hand, 1]
            axes.plot(x, y, "o-", color=color, markersize=4, label=f"{name} hand")
            axes.plot(x[-1:], y[-1:], "x", color=color, markersize=12, markeredgewidth=3)
        axes.legend(loc="lower right", fontsize=8)
        axes.set_axis_off()
        return figure

    def __rich__(self) -> Table:
        headings = ("key frame", *(f"{hand} hand" for hand in _HANDS))
        rows = (
            (name, *map(_shown, row)) for name, row in zip(KEY_FRAMES, self.places, strict=True)
        )
        return self.filled_table(headings, rows, left=("key frame",))


def _shown(point: Float[np.ndarray, " 2"]) -> str:
    return f"{point[0]:.0f} {point[1]:.0f}"


def predict(
    model: LoadedModel,
    videos: Iterable[AnyVideo],
    *,
    at: Annotated[
        float | None, Option("Seconds to the end of the part that is seen; by default all.")
    ] = None,
    length: Annotated[float, Option("Seconds of that part.", minimum=0.1)] = 2.0,
) -> Iterator[HandAnswer | VideoError]:
    """Predict where hands will be, at five key frames after a part of a video.

    In pixels of videos such as those that the model was trained on: a picture of another size than
    theirs has other places. With --plot they are drawn over the last frame that is seen.

    Raises:
        ConfigError: the model does not predict hands.
    """
    finder = HandFinder(model)
    pictures: dict[int, UInt8[np.ndarray, "h w 3"]] = {}
    read = partial(_read, finder.protocol, at, length, pictures)
    for seen, found in answers(finder, enumerate(videos), read):
        if isinstance(found, VideoError):
            yield found
            continue
        assert isinstance(seen, Seen)
        frame = pictures.pop(seen.index)
        yield HandAnswer(
            video=seen.name,
            model=model.name,
            protocol=finder.protocol.describe(),
            time=seen.end,
            size=(frame.shape[1], frame.shape[0]),
            places=np.reshape(found, (len(KEY_FRAMES), 2, 2)),
            frame=frame,
        )


def _read(
    protocol: Preprocessing,
    at: float | None,
    length: float,
    pictures: dict[int, UInt8[np.ndarray, "h w 3"]],
    numbered: tuple[int, AnyVideo],
) -> Seen | Unreadable:
    index, video = numbered
    try:
        with open_video(video) as (name, opened):
            end = opened.num_frames if at is None else round(at * opened.fps)
            if not 0 < end <= opened.num_frames:
                duration = opened.num_frames / opened.fps
                raise VideoError(f"{name} lasts {duration:g} s, so nothing ends at {at:g} s")
            part = _Part(opened, max(end - round(length * opened.fps), 0), end)
            views = protocol.load(part)
            pictures[index] = opened.frames([end - 1])[0].cpu().numpy()
            return Seen(name, views, index, end=end / opened.fps)
    except VideoError as error:
        return Unreadable(name_of(video), error, index)


class _Part:
    """Some frames of a video, from `start` to `end - 1`."""

    def __init__(self, video: FrameSource, start: int, end: int) -> None:
        self.video, self.start = video, start
        self.num_frames, self.fps = end - start, video.fps

    def frames(self, indices: Sequence[int], /) -> UInt8[Tensor, "t h w 3"]:
        return self.video.frames([self.start + number for number in indices])
