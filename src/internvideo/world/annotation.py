"""The truth about a clip as an annotation of its video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from internvideo.annotations import ActorBox, NextContact, Segment, Track, VideoAnnotation
from internvideo.world.actions import ACTIONS, action_named
from internvideo.world.choices import draw_choice
from internvideo.world.clip import World
from internvideo.world.scene import Scene
from internvideo.world.sprites import BACKGROUNDS

__all__ = ["action_template", "annotate", "scaled_truth"]


def scaled_truth(scene: Scene, scale: int) -> dict[str, Any]:
    """Return everything about a scene as plain values, in pixels of a video enlarged `scale`-fold.

    The keys are those of `Scene.to_dict`.
    """
    truth = scene.to_dict()
    truth["size"] *= scale
    for actor in truth["actors"]:
        actor["boxes"] = [
            None if box is None else [round(side * scale, 2) for side in box]
            for box in actor["boxes"]
        ]
    return truth


def annotate(
    world: World,
    scene: Scene,
    *,
    path: str,
    fps: float,
    scale: int = 1,
    id: str = "",
    split: str = "",
    captions: Sequence[str] = (),
    moments: Sequence[str] = (),
    choices: bool = False,
    key_frames: bool = False,
) -> VideoAnnotation:
    """Return the annotation of a clip; of an untrimmed video, its segments and their sentences.

    Args:
        world: where the clip comes from; its actions are the classes.
        scene: the truth about it.
        path: of its video.
        fps: frames per second of the video.
        scale: pixels of the video for one of the clip.
        id: name of the video.
        split: part of the collection that it is in.
        captions: sentences about it.
        moments: a sentence about each of its events; none leaves these without.
        choices: draw its multiple-choice question, too.
        key_frames: say once a second where every object is and which of `ACTIONS` it performs; the
            end of an action is what an acting object will come to, its contact.

    Raises:
        ConfigError: the world has too few actions, colours or objects for such a question.
    """
    actions = world.style.actions
    return VideoAnnotation(
        path=path,
        id=id,
        split=split,
        duration=scene.num_frames / fps,
        fps=fps,
        num_frames=scene.num_frames,
        label=None if world.untrimmed else world.label_of(scene),
        category=BACKGROUNDS.index(scene.background.kind),
        captions=tuple(captions),
        segments=tuple(
            Segment(
                start=event.start / fps,
                end=event.end / fps,
                label=actions.index(event.action)
                if world.classes == "actions"
                else world.label_of(scene),
                captions=tuple(text for text in moments[number : number + 1] if text),
            )
            for number, event in enumerate(scene.events)
        ),
        tracks=()
        if world.untrimmed
        else tuple(
            Track(
                name=f"{actor['color']} {actor['name']}",
                boxes=tuple(None if box is None else tuple(box) for box in actor["boxes"]),
            )
            for actor in scaled_truth(scene, scale)["actors"]
        ),
        questions=() if world.untrimmed else tuple(world.questions(scene)),
        choices=(draw_choice(world, scene),) if choices else (),
        boxes=tuple(_key_boxes(scene, fps)) if key_frames else (),
        contacts=tuple(_contacts(world, scene, fps, scale)) if key_frames else (),
        size=(scene.size * scale, scene.size * scale),
    )


def _key_boxes(scene: Scene, fps: float) -> Iterator[ActorBox]:
    """Yield where every visible object is at each whole second, and what it does then."""
    still = ACTIONS.index("still")
    found = [actor.boxes(scene.size) for actor in scene.actors]
    for second in range(1, int(scene.num_frames / fps)):
        frame = round(second * fps)
        for number, (boxes, visible) in enumerate(found):
            if not visible[frame]:
                continue
            labels = {
                ACTIONS.index(event.action)
                for event in scene.events
                if number in event.actors and event.start <= frame < event.end
            }
            left, top, right, bottom = (boxes[frame] / scene.size).tolist()
            yield ActorBox(
                time=float(second),
                box=(left, top, right, bottom),
                labels=tuple(sorted(labels or {still})),
                actor=number,
            )


def _contacts(world: World, scene: Scene, fps: float, scale: int) -> Iterator[NextContact]:
    """Yield the acting objects at each whole second, and when their actions will be over."""
    found = [actor.boxes(scene.size) for actor in scene.actors]
    for second in range(1, int(scene.num_frames / fps)):
        frame = round(second * fps)
        for event in scene.events:
            if not event.start < frame < event.end:
                continue
            for number in event.actors:
                boxes, visible = found[number]
                if visible[frame]:
                    left, top, right, bottom = (boxes[frame] * scale).tolist()
                    yield NextContact(
                        time=frame / fps,
                        box=(left, top, right, bottom),
                        noun=world.style.objects.index(scene.actors[number].name),
                        verb=ACTIONS.index(event.action),
                        seconds=(event.end - frame) / fps,
                    )


def action_template(action: str) -> str:
    """Return an action as a class of Something-Something: "[Something] moves left"."""
    entry = action_named(action)
    subject = "[Something]" if entry.num_actors == 1 else "[Something] and [something]"
    return f"{subject} {entry.phrases[0]}"
