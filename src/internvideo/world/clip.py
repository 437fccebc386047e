"""The world: a list of clips without end, each made from its number when it is asked for."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
from jaxtyping import UInt8

from internvideo.annotations import Question
from internvideo.errors import ConfigError, UnknownNameError, did_you_mean
from internvideo.world import language
from internvideo.world.actions import ACTIONS, HELD_OUT_ACTIONS, action_named
from internvideo.world.language import CaptionMix
from internvideo.world.painting import paint
from internvideo.world.scene import Scene, SceneStyle, draw_scene
from internvideo.world.sprites import COLORS, HELD_OUT_SHAPES, OBJECTS, SHAPES
from internvideo.world.untrimmed import UNTRIMMED_ACTIONS, draw_untrimmed

__all__ = ["HeldOut", "World", "WorldClip", "generate", "map_clips"]

_CAPTIONS, _QUESTIONS, _MOMENTS = 1, 2, 3
_CHUNK = 32

HeldOut: TypeAlias = Literal["none", "actions", "shapes"]

_Result = TypeVar("_Result")


@dataclass(frozen=True, eq=False, slots=True)
class WorldClip:
    """A clip and the truth about it.

    Attributes:
        frames: uint8 RGB, shape (frames, size, size, 3).
        truth: the scene that was painted.
    """

    frames: UInt8[np.ndarray, "frames size size 3"]
    truth: Scene


@dataclass(frozen=True, kw_only=True)
class World:
    """An endless, deterministic collection of clips.

    `world[i]` depends on the world's settings and `i` alone: not on the order of access, on other
    clips, or on the process. The object holds settings only, so it is cheap to pickle; what is
    painted with is built once per process, on first use, in a tenth of a second.

    Example:
        >>> world = World(seed=0, objects=("star", "circle"))
        >>> world[7].frames.shape
        (16, 64, 64, 3)
        >>> world[7].truth.action == world.scene(7).action
        True

    Attributes:
        seed: another seed is another world, with other clips.
        size: side of the frames in pixels.
        num_frames: length of every clip.
        actions: names to draw from; None for all of `ACTIONS`.
        objects: shapes and digits to draw from; None for all of `OBJECTS`. Digits need scikit-learn
            (the extra "world"), shapes do not.
        colors: colours to draw from; None for all of `COLORS`.
        digit_share: probability that an object is a digit, where both kinds are allowed.
        num_events: actions in a clip, one after the other, each by its own actors.
        idle_objects: numbers of bystanders to draw from, for clips with a single acting object.
        untrimmed: videos of up to `num_frames` in which several performers act now and then, see
            `internvideo.world.untrimmed`; the classes are the actions of one performer.
        classes: whether a clip is labelled by what happens, or by what (first) acts.

    Raises:
        UnknownNameError: an action, object or colour that the world does not have.
        ConfigError: a size, length or share that is impossible.
    """

    seed: int = 0
    size: int = 64
    num_frames: int = 16
    actions: tuple[str, ...] | None = None
    objects: tuple[str, ...] | None = None
    colors: tuple[str, ...] | None = None
    digit_share: float = 0.3
    num_events: int = 1
    idle_objects: tuple[int, ...] = (0, 1)
    untrimmed: bool = False
    classes: Literal["actions", "objects"] = "actions"

    def __post_init__(self) -> None:
        for field, known in (("actions", ACTIONS), ("objects", OBJECTS), ("colors", COLORS)):
            _check_names(field, getattr(self, field), tuple(known))
        if self.seed < 0:
            raise ConfigError(f"World.seed must be at least 0, got {self.seed}")
        if self.size < 8:
            raise ConfigError(f"World.size must be at least 8 pixels, got {self.size}")
        if self.num_events < 1 or self.num_frames < 4 * self.num_events:
            raise ConfigError(
                "World needs at least 1 event and 4 frames for each, "
                f"got num_events={self.num_events} and num_frames={self.num_frames}"
            )
        if not 0.0 <= self.digit_share <= 1.0:
            raise ConfigError(f"World.digit_share must be in 0 … 1, got {self.digit_share}")
        if not self.idle_objects or not all(0 <= count <= 6 for count in self.idle_objects):
            raise ConfigError(
                f"World.idle_objects must be counts from 0 to 6, got {self.idle_objects}"
            )

    @property
    def style(self) -> SceneStyle:
        """Return what may occur in this world's scenes."""
        return SceneStyle(
            actions=self.actions or (UNTRIMMED_ACTIONS if self.untrimmed else ACTIONS),
            objects=self.objects or OBJECTS,
            colors=self.colors or tuple(COLORS),
            digit_share=self.digit_share,
            num_events=self.num_events,
            idle_objects=self.idle_objects,
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the names of the labels, in their order."""
        return self.style.actions if self.classes == "actions" else self.style.objects

    def label_of(self, scene: Scene) -> int:
        """Return the label of a clip, by the truth about it."""
        name = scene.action if self.classes == "actions" else scene.actors[0].name
        return self.class_names.index(name)

    def of_single_objects(self) -> World:
        """Return the same world without bystanders and without actions of two objects."""
        single = (name for name in self.style.actions if action_named(name).num_actors == 1)
        return replace(self, actions=tuple(single), idle_objects=(0,))

    def part(self, held_out: HeldOut, *, unknown: bool) -> World:
        """Return the world of the known classes of an open-set test, or that of the unknown ones.

        Args:
            held_out: which classes are unknown: `HELD_OUT_ACTIONS`; or `HELD_OUT_SHAPES`, and the
                classes are then the acting shapes; "none" returns the world as it is.
            unknown: those that are held out, not the others.
        """
        if held_out == "none":
            return self
        field, all_of, away = "actions", self.actions or ACTIONS, HELD_OUT_ACTIONS
        if held_out == "shapes":
            field, all_of, away = "objects", self.objects or SHAPES, HELD_OUT_SHAPES
        names = tuple(name for name in all_of if (name in away) == unknown)
        classes: Any = field
        return replace(self, classes=classes, **{field: names})

    def scene(self, index: int, *, action: str | None = None) -> Scene:
        """Return the truth about clip `index` without painting it.

        Args:
            index: number of the clip, from 0.
            action: show this action in place of the drawn one. An action and its reversal then give
                the same clip but for the direction of time (the background keeps its own).
        """
        if index < 0:
            raise IndexError(f"clips of a world are numbered from 0, got {index}")
        if action is not None:
            action_named(action)
        if not self.untrimmed:
            return draw_scene(
                self.style,
                seed=self.seed,
                index=int(index),
                num_frames=self.num_frames,
                size=self.size,
                action=action,
            )
        if action is not None:
            raise ConfigError("an untrimmed video has many actions; leave out `action`")
        return draw_untrimmed(
            self.style,
            seed=self.seed,
            index=int(index),
            num_frames=self.num_frames,
            size=self.size,
        )

    def clip(self, index: int, *, action: str | None = None) -> WorldClip:
        """Return clip `index`, painted; the arguments are those of `scene`."""
        scene = self.scene(index, action=action)
        return WorldClip(paint(scene), scene)

    def __getitem__(self, index: int) -> WorldClip:
        """Return clip `index`, painted."""
        return self.clip(index)

    def caption(
        self,
        which: int | Scene,
        rng: np.random.Generator,
        mix: CaptionMix | None = None,
        *,
        held_out: bool = False,
    ) -> str:
        """Draw a sentence about a clip, given by its number or its truth."""
        scene = which if isinstance(which, Scene) else self.scene(which)
        return language.caption(scene, rng, mix or CaptionMix(), held_out=held_out)

    def captions(
        self,
        which: int | Scene,
        count: int,
        mix: CaptionMix | None = None,
        *,
        held_out: bool = False,
    ) -> list[str]:
        """Return the clip's own captions: always the same ones, the shorter list a prefix."""
        scene = which if isinstance(which, Scene) else self.scene(which)
        rng = np.random.default_rng([self.seed, scene.index, _CAPTIONS, int(held_out)])
        return [self.caption(scene, rng, mix, held_out=held_out) for _ in range(count)]

    def moment_captions(
        self, which: int | Scene, mix: CaptionMix | None = None, *, held_out: bool = False
    ) -> list[str]:
        """Return a caption for each event of the clip: always the same ones.

        In an untrimmed video, what a performer does more than once has none (""): no sentence
        would tell which time is meant.
        """
        scene = which if isinstance(which, Scene) else self.scene(which)
        rng = np.random.default_rng([self.seed, scene.index, _MOMENTS, int(held_out)])
        sentences = [
            self.caption(scene.moment(number), rng, mix, held_out=held_out)
            for number in range(len(scene.events))
        ]
        if not self.untrimmed:
            return sentences
        times = Counter((event.action, event.actors) for event in scene.events)
        once = [times[event.action, event.actors] == 1 for event in scene.events]
        return [text if alone else "" for text, alone in zip(sentences, once, strict=True)]

    def questions(self, which: int | Scene) -> list[Question]:
        """Return the clip's questions with their answers: always the same ones."""
        scene = which if isinstance(which, Scene) else self.scene(which)
        rng = np.random.default_rng([self.seed, scene.index, _QUESTIONS])
        return language.questions(scene, rng)


def _check_names(field: str, names: Sequence[str] | None, known: tuple[str, ...]) -> None:
    if names is None:
        return
    if not names:
        raise ConfigError(f"World.{field} must name at least one, or be None for all")
    for name in names:
        if name not in known:
            raise UnknownNameError(
                f"the world has no '{name}' among its {field}.{did_you_mean(name, known)}"
            )


def map_clips(
    function: Callable[..., _Result],
    world: World,
    indices: Sequence[int],
    *arguments: object,
    workers: int = 1,
) -> Iterator[_Result]:
    """Yield `function(world, some of the indices, *arguments)` for consecutive parts, in order.

    Args:
        function: importable by name, as processes need it.
        world: where the clips come from.
        indices: numbers of the clips.
        arguments: passed on.
        workers: processes; 1 works in this one.

    Raises:
        ConfigError: fewer than one worker.
    """
    if workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}")
    size = 1 if world.untrimmed else _CHUNK
    parts = [indices[start : start + size] for start in range(0, len(indices), size)]
    if workers == 1 or len(parts) < 2:
        for part in parts:
            yield function(world, part, *arguments)
        return
    context = multiprocessing.get_context()
    with ProcessPoolExecutor(min(workers, len(parts)), mp_context=context) as pool:
        waiting = []
        remaining = iter(parts)
        # Only a few parts are ahead of the reader: all of them may not fit into memory.
        for part in islice(remaining, 2 * workers):
            waiting.append(pool.submit(function, world, part, *arguments))
        while waiting:
            yield waiting.pop(0).result()
            for part in islice(remaining, 1):
                waiting.append(pool.submit(function, world, part, *arguments))


def _paint(world: World, indices: Sequence[int]) -> tuple[np.ndarray, list[Scene]]:
    clips = [world[index] for index in indices]
    return np.stack([clip.frames for clip in clips]), [clip.truth for clip in clips]


def generate(
    world: World, num_clips: int, *, start: int = 0, workers: int = 1
) -> tuple[UInt8[np.ndarray, "clips frames size size 3"], list[Scene]]:
    """Paint many clips into one array.

    Args:
        world: where the clips come from.
        num_clips: how many; 1000 of 16 frames at 64 x 64 take 197 MB.
        start: number of the first one.
        workers: processes; the result does not depend on their number. Where the platform spawns
            processes, the calling script needs the usual `if __name__ == "__main__":`.
    """
    frames = np.empty((num_clips, world.num_frames, world.size, world.size, 3), np.uint8)
    scenes: list[Scene] = []
    for painted, truths in map_clips(
        _paint, world, range(start, start + num_clips), workers=workers
    ):
        frames[len(scenes) : len(scenes) + len(truths)] = painted
        scenes += truths
    return frames, scenes
