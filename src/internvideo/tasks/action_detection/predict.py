"""Who does what in a user's video: boxes once a second, linked to tracks."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (tensors and arrays leave the types of their lists open)

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from internvideo.annotations import ActorBox
from internvideo.data.key_frames import frames_around, whole_view
from internvideo.errors import ConfigError, VideoError
from internvideo.evaluation.engine import Batch
from internvideo.formats.ava import Persons, read_persons
from internvideo.tasks.action_detection.answer import Detection, DetectionAnswer, Tracker
from internvideo.tasks.action_detection.finding import ActorActions, check_detector, scored
from internvideo.tasks.action_detection.persons import DETECTORS, load_person_detector
from internvideo.tasks.task import Option
from internvideo.video.opening import AnyVideo, name_of, open_video
from internvideo.video.preprocessing import FrameSource
from internvideo.zoo.hub import LoadedModel

__all__ = ["predict"]

_BATCH = 8

BoxFinder: TypeAlias = Callable[[UInt8[Tensor, "h w 3"], float], tuple[ActorBox, ...]]


def predict(
    model: LoadedModel,
    videos: Iterable[AnyVideo],
    *,
    boxes: Annotated[
        str | Path | None,
        Option("Boxes of people, in place of a detector: a json or csv as those of AVA."),
    ] = None,
    person_detector: Annotated[
        str, Option("Which detector of torchvision finds people.")
    ] = DETECTORS[0],
    person_weights: Annotated[
        str | Path | None, Option("Its weights; by default those of torchvision are fetched once.")
    ] = None,
    least_score: Annotated[float, Option("Of the boxes of people.")] = 0.8,
    every: Annotated[
        float, Option("Seconds from one looked-at moment to the next.", minimum=0.04)
    ] = 1.0,
    top_k: Annotated[int, Option("Actions of a box.", flags=("-k",), minimum=1)] = 3,
    threshold: Annotated[
        float, Option("Least score of an action behind the first one.", minimum=0.0)
    ] = 0.3,
) -> Iterator[DetectionAnswer | VideoError]:
    """Find what people in a video do, and where.

    People are found once a second by a detector of torchvision, or given as --boxes; the model
    tells what is done in each box, from the frames around it, and boxes that overlap are one
    person. With --video the answer is drawn into the video, with --json it is one line.

    Raises:
        ConfigError: the model is no detector, or has no names of actions.
        DataError: the boxes cannot be read.
        CheckpointError: the weights of the detector of persons cannot be had.
    """
    network = check_detector(model)
    names = model.class_names
    if names is None or len(names) != network.config.num_classes:
        raise ConfigError(f"{model.name} has no names of its actions; load it with labels=…")
    if every <= 0:
        raise ConfigError(f"--every must be above 0 s, got {every:g}")
    persons: Persons | None = None
    finder: BoxFinder | None = None
    if boxes is not None:
        persons = read_persons(Path(boxes), {})
    else:
        device = next(network.parameters()).device
        weights = None if person_weights is None else Path(person_weights)
        finder = load_person_detector(
            person_detector, weights, least_score=least_score, device=device
        )

    def answers() -> Iterator[DetectionAnswer | VideoError]:
        for video in videos:
            try:
                with open_video(video) as (name, opened):
                    asked = _boxes_of(opened, Path(name).stem, persons, finder, every, least_score)
                    found, failures = _asked(model, opened, asked)
            except VideoError as error:
                yield error
                continue
            tracker, detections = Tracker(patience=2.5 * every), list[Detection]()
            for answer in found:
                for box, track, values in zip(
                    answer.boxes, tracker.link(answer.boxes), answer.scores.tolist(), strict=True
                ):
                    actions = _best(names, values, top_k, threshold)
                    detections.append(Detection(box=box, actions=actions, track=track))
            yield DetectionAnswer(
                video=name_of(video),
                model=model.name,
                protocol=f"{model.protocol.num_frames} frames stride "
                f"{model.protocol.frame_stride}, every {every:g} s, "
                + (f"boxes of {boxes}" if boxes is not None else person_detector),
                detections=tuple(detections),
                source=video,
                every=every,
                failures=failures,
            )

    return answers()


def _best(
    names: Sequence[str], values: Sequence[float], top_k: int, threshold: float
) -> tuple[tuple[str, float], ...]:
    order = sorted(range(len(values)), key=lambda place: -values[place])[:top_k]
    kept = [place for rank, place in enumerate(order) if rank == 0 or values[place] >= threshold]
    return tuple((names[place], values[place]) for place in kept)


def _boxes_of(
    video: FrameSource,
    stem: str,
    persons: Persons | None,
    finder: BoxFinder | None,
    every: float,
    least_score: float,
) -> list[tuple[ActorBox, ...]]:
    """Return the boxes of each moment that has any.

    Raises:
        VideoError: the file of boxes has none of this video.
    """
    duration = video.num_frames / video.fps
    if persons is not None:
        start, found = f"{stem},", list[tuple[ActorBox, ...]]()
        for key in sorted(key for key in persons if key.startswith(start)):
            time = float(key[len(start) :])
            kept = [(box, score) for box, score in persons[key] if score >= least_score]
            if kept and time < duration:
                found.append(tuple(ActorBox(time=time, box=b, score=s) for b, s in kept))
        if not found:
            raise VideoError(
                f"the boxes have none of {stem!r} within its {duration:g} s from score "
                f"{least_score:g} on; their image_id must be {stem}_SECOND"
            )
        return found
    assert finder is not None
    found = []
    for time in np.arange(min(every, duration) / 2, duration, every).tolist():
        frame = min(round(time * video.fps), video.num_frames - 1)
        found.append(finder(video.frames([frame])[0], time))
    return [held for held in found if held]


def _asked(
    model: LoadedModel, video: FrameSource, asked: Sequence[tuple[ActorBox, ...]]
) -> tuple[list[ActorActions], dict[float, str]]:
    """Return what is done in the boxes of each moment, and the moments that cannot be read."""
    found, failures = list[ActorActions](), dict[float, str]()
    batch = Batch.of(model.model, (), _BATCH)
    for start in range(0, len(asked), _BATCH):
        clips, boxes, sizes = list[Tensor](), list[tuple[ActorBox, ...]](), list[tuple[int, int]]()
        for held in asked[start : start + _BATCH]:
            try:
                clip = frames_around(video, held[0].time, model.protocol)
            except VideoError as error:
                failures[held[0].time] = str(error)
                continue
            clips.append(whole_view(clip, model.protocol))
            boxes.append(held)
            sizes.append((clip.shape[2], clip.shape[1]))
        if clips:
            found += scored(model.model, clips, boxes, sizes, batch)
    return found, failures
