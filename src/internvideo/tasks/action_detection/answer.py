"""The answer about a user's video: who is where when, and does what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from internvideo.annotations import ActorBox, Box
from internvideo.evaluation.answer import VideoAnswer
from internvideo.evaluation.timeline import clock
from internvideo.video.opening import AnyVideo

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Detection", "DetectionAnswer", "Tracker", "iou"]


def iou(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared) if areas > shared else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Detection:
    """Someone at one moment.

    Attributes:
        box: with its time and score.
        actions: name and score of the likeliest ones, the best first.
        track: number of the person in the video.
    """

    box: ActorBox
    actions: tuple[tuple[str, float], ...]
    track: int


@dataclass(kw_only=True, slots=True)
class Tracker:
    """Links boxes of one moment to those of the moments before: the most overlapping pairs first.

    Attributes:
        least_overlap: of boxes that can be the same person.
        patience: seconds after which a person who was not seen is another one.
        count: tracks so far.
    """

    least_overlap: float = 0.3
    patience: float = 2.5
    count: int = 0
    _last: dict[int, ActorBox] = field(default_factory=dict[int, ActorBox])

    def link(self, boxes: Sequence[ActorBox]) -> list[int]:
        """Return the track of each box of the next moment; boxes of known people keep theirs."""
        if not boxes:
            return []
        now = boxes[0].time
        self._last = {t: b for t, b in self._last.items() if now - b.time <= self.patience}
        pairs = sorted(
            (
                (iou(last.box, box.box), track, place)
                for track, last in self._last.items()
                for place, box in enumerate(boxes)
            ),
            key=lambda each: -each[0],
        )
        found: dict[int, int] = {
            place: box.actor for place, box in enumerate(boxes) if box.actor is not None
        }
        taken = set(found.values())
        for overlap, track, place in pairs:
            if overlap >= self.least_overlap and place not in found and track not in taken:
                found[place] = track
                taken.add(track)
        self.count = max(self.count, *(track + 1 for track in taken)) if taken else self.count
        for place, box in enumerate(boxes):
            if place not in found:
                found[place] = self.count
                self.count += 1
            self._last[found[place]] = box
        return [found[place] for place in range(len(boxes))]


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectionAnswer(VideoAnswer):
    """What people in a video do.

    Attributes:
        detections: in the order of their times.
        source: the video, to draw on.
        every: seconds from one looked-at moment to the next.
        failures: moments that could not be looked at, and why.
    """

    detections: tuple[Detection, ...]
    source: AnyVideo
    every: float
    failures: Mapping[float, str] = field(default_factory=dict[float, str])

    headings: ClassVar[tuple[str, ...]] = ("people", "most often")
    """Of the columns of a table of many videos, see `summary`."""
    max_tables: ClassVar[int] = 3
    """Up to so many videos have a table each."""

    @property
    def tracks(self) -> dict[int, list[Detection]]:
        """The detections of each person."""
        found: dict[int, list[Detection]] = {}
        for each in self.detections:
            found.setdefault(each.track, []).append(each)
        return dict(sorted(found.items()))

    @property
    def incomplete(self) -> str:
        """Which moments could not be looked at; empty where all could."""
        if not self.failures:
            return ""
        time, reason = next(iter(self.failures.items()))
        return f"{len(self.failures)} moments cannot be read, such as {clock(time)}: {reason}"

    def summary(self) -> tuple[str, ...]:
        """Return the number of people and what they do most often, as cells of one row."""
        best = [each.actions[0][0] for each in self.detections if each.actions]
        return str(len(self.tracks)), max(best, key=best.count) if best else ""

    def contents(self) -> dict[str, Any]:
        """Return the tracks: boxes as fractions of the picture, actions with their scores."""
        return {
            "every": self.every,
            "tracks": [
                {
                    "track": track,
                    "boxes": [
                        {
                            "time": round(each.box.time, 3),
                            "box": [round(side, 4) for side in each.box.box],
                            "score": round(each.box.score, 4),
                            "actions": [
                                {"action": name, "score": round(value, 4)}
                                for name, value in each.actions
                            ],
                        }
                        for each in held
                    ],
                }
                for track, held in self.tracks.items()
            ],
            "failures": [{"time": t, "reason": why} for t, why in self.failures.items()],
        }

    def __rich__(self) -> Table:
        from rich.markup import escape

        table = self.empty_table()
        for heading in ("person", "time", "action", "score"):
            table.add_column(heading, justify="right" if heading == "score" else "left")
        for track, held in self.tracks.items():
            before = ""
            for place, each in enumerate(held):
                name, value = each.actions[0] if each.actions else ("", 0.0)
                if name == before:
                    continue
                before = name
                person = "" if place else str(track)
                table.add_row(person, clock(each.box.time), escape(name), f"{value:.2f}")
            table.add_section()
        return table
