"""What will be done with the objects in a frame of a user's video, and when?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from jaxtyping import UInt8

from internvideo.annotations import NextContact
from internvideo.errors import ConfigError, DataError, VideoError
from internvideo.evaluation.answer import VideoAnswer
from internvideo.evaluation.engine import Seen, Unreadable, answers
from internvideo.evaluation.pictures import Drawn
from internvideo.formats.ego4d_sta import read_boxes
from internvideo.tasks.anticipation.clips import clip_before, whole_view
from internvideo.tasks.anticipation.finding import ContactFinder
from internvideo.tasks.task import Option
from internvideo.video.opening import AnyVideo, name_of, open_video
from internvideo.zoo.hub import LoadedModel
from internvideo.zoo.labels import label_names

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["ContactAnswer", "predict"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ContactAnswer(VideoAnswer, Drawn):
    """What will be touched, the surest object first.

    Attributes:
        time: of the frame with the boxes, in seconds.
        objects: name of the object, of what will be done with it, and all that is known of it.
        frame: to draw on.
    """

    time: float
    objects: tuple[tuple[str, str, NextContact], ...]
    frame: UInt8[np.ndarray, "h w 3"]

    headings: ClassVar[tuple[str, ...]] = ("object", "verb", "contact in")
    """Of the columns of a table of many videos, see `summary`."""
    max_tables: ClassVar[int] = 3
    """Up to so many videos have a table each."""

    def summary(self) -> tuple[str, ...]:
        """Return the surest object as cells of one row."""
        return self._rows()[0] if self.objects else ("", "", "")

    def contents(self) -> dict[str, Any]:
        """Return all objects: boxes in pixels, seconds to contact."""
        return {
            "time": round(self.time, 3),
            "objects": [
                {
                    "box": [round(side, 1) for side in each.box],
                    "object": noun,
                    "verb": verb,
                    "seconds": round(each.seconds or 0.0, 3),
                    "score": round(each.score, 4),
                }
                for noun, verb, each in self.objects
            ],
        }

    def _rows(self) -> list[tuple[str, str, str]]:
        return [(noun, verb, f"{each.seconds:.2f} s") for noun, verb, each in self.objects]

    def draw(self) -> Any:
        """Draw the boxes over their frame."""
        height, width = self.frame.shape[:2]
        figure = self.figure(7, 7 * height / width)
        axes = figure.subplots()
        axes.imshow(self.frame, extent=(0, width, height, 0))
        for noun, verb, each in self.objects:
            left, top, right, bottom = each.box
            x, y = (left, right, right, left, left), (top, top, bottom, bottom, top)
            axes.plot(x, y, color="tab:orange", linewidth=2)
            style = {"color": "white", "backgroundcolor": "black", "fontsize": 9}
            text = f"{verb} {noun}, {each.seconds:.1f} s"
            axes.text(left, top, text, va="bottom", parse_math=False, **style)
        axes.set_axis_off()
        return figure

    def __rich__(self) -> Table:
        return self.filled_table(self.headings, self._rows(), left=("object", "verb"))


def predict(
    model: LoadedModel,
    videos: Iterable[AnyVideo],
    *,
    boxes: Annotated[
        str | Path | None,
        Option("Objects by the name of the video without its ending, as object_detections.json."),
    ] = None,
    at: Annotated[
        float | None, Option("Seconds to the frame with the boxes; by default the last frame.")
    ] = None,
    nouns: Annotated[
        str | None, Option("Class list of the objects, in the order of their numbers.")
    ] = None,
    least_score: Annotated[float, Option("Of the boxes.")] = 0.0,
) -> Iterator[ContactAnswer | VideoError]:
    """Tell what will be done with the objects in a frame of a video, and in how many seconds.

    The boxes are those of a detector, in pixels of cooking.mp4: {"cooking": [{"box": [left, top,
    right, bottom], "score": 0.9, "noun_category_id": 3}]}.

    Raises:
        ConfigError: no boxes are given, or the model does not anticipate contacts.
        DataError: the boxes cannot be read.
    """
    if boxes is None:
        raise ConfigError("what is to be told of? give the objects in the frame as --boxes FILE")
    given, faults = read_boxes(Path(boxes))
    if faults:
        raise DataError(faults[0])
    names = None if nouns is None else label_names(nouns)
    verbs = model.class_names
    asked: dict[int, tuple[NextContact, ...]] = {}
    pictures: dict[int, UInt8[np.ndarray, "h w 3"]] = {}
    sizes: dict[int, tuple[int, int]] = {}
    finder = ContactFinder(model, asked, sizes)

    def read(numbered: tuple[int, AnyVideo]) -> Seen | Unreadable:
        index, video = numbered
        try:
            with open_video(video) as (name, opened):
                kept = given.get(Path(name).stem, ())
                asked[index] = tuple(each for each in kept if each.score >= least_score)
                if not asked[index]:
                    raise VideoError(f"{boxes} has no boxes of {Path(name).stem!r}")
                frame = opened.num_frames - 1 if at is None else round(at * opened.fps)
                clip = clip_before(opened, frame, finder.protocol)
                pictures[index] = clip[-1].cpu().numpy()
                sizes[index] = (clip.shape[2], clip.shape[1])
                view = whole_view(clip, finder.protocol)[None]
                return Seen(name, view, index, start=frame / opened.fps)
        except VideoError as error:
            return Unreadable(name_of(video), error, index)

    for seen, found in answers(finder, enumerate(videos), read):
        if isinstance(found, VideoError):
            yield found
            continue
        assert isinstance(seen, Seen)
        yield ContactAnswer(
            video=seen.name,
            model=model.name,
            protocol=finder.describe(),
            time=seen.start,
            objects=tuple((_named(names, n.noun), _named(verbs, n.verb), n) for n in found),
            frame=pictures.pop(seen.index),
        )


def _named(names: tuple[str, ...] | None, number: int | None) -> str:
    """Return the name of a class, or its number; "nothing" is the class behind the last one."""
    assert number is not None
    if names is None:
        return f"class {number}"
    return names[number] if number < len(names) else "nothing"
