"""Multiple-choice questions: one true sentence, and four that differ from it in one thing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from internvideo.annotations import Choice
from internvideo.errors import ConfigError
from internvideo.world.actions import ACTIONS, action_named, reversal_of
from internvideo.world.language import is_held_out
from internvideo.world.scene import Actor, Scene

if TYPE_CHECKING:
    from internvideo.world.clip import World

__all__ = ["CHOICE_KINDS", "draw_choice"]

CHOICE_KINDS = ("action", "color", "object")
"""What the wrong sentences of a question differ in; clips take turns."""

_NUM_WRONG = 4
_CHOICES = 3  # a number of its own for the draws, as captions and questions have
_FRAMES = (
    "{}",
    "here {}",
    "in this video {}",
    "in this clip {}",
    "you can see that {}",
    "the clip shows how {}",
    "watch how {}",
)


@dataclass(frozen=True, slots=True)
class _Sentence:
    """One way to say what happens: a frame around "a red star" and "moves left"."""

    frame: str
    subject: str
    phrase: str

    def __str__(self) -> str:
        return self.frame.format(f"{self.subject} {self.phrase}")


def draw_choice(world: World, scene: Scene) -> Choice:
    """Return the multiple-choice question of a clip: always the same one.

    The four wrong sentences differ in the action (its time reversal among them, where there is
    one), the colour or the object. The true sentence is held out of training (`is_held_out`), and
    so are the wrong ones, except about an action all of whose phrases occur behind the same
    beginning.

    Raises:
        ConfigError: the world has too few actions, colours or objects.
    """
    rng = np.random.default_rng([world.seed, scene.index, _CHOICES])
    kind = CHOICE_KINDS[scene.index % len(CHOICE_KINDS)]
    ways = _held_out(_subject(scene), scene.action, _FRAMES)
    true = ways[int(rng.integers(len(ways)))]
    if kind == "action":
        wrong = _other_actions(rng, scene, true)
    else:
        wrong = _other_looks(rng, world, scene, true, kind)
    options = [str(true), *wrong]
    order = rng.permutation(len(options)).tolist()
    return Choice(
        options=tuple(options[place] for place in order), answer=order.index(0), kind=kind
    )


def _held_out(subject: str, action: str, frames: Sequence[str]) -> list[_Sentence]:
    """Return the sentences about an action that are kept out of training."""
    phrases = action_named(action).phrases
    sentences = [
        _Sentence(frame, subject, phrase) for frame, phrase in itertools.product(frames, phrases)
    ]
    return [each for each in sentences if is_held_out(str(each))]


def _acting(scene: Scene) -> tuple[Actor, ...]:
    return scene.actors_of(scene.events[0])


def _subject(scene: Scene, *, color: str | None = None, name: str | None = None) -> str:
    """Return who acts; the first of them in another colour, or as another object, if asked."""
    acting = []
    for number, actor in enumerate(_acting(scene)):
        words = f"{actor.color} {actor.name}"
        if number == 0:
            words = f"{color or actor.color} {name or actor.name}"
        acting.append(f"{'an' if words[0] in 'aeiou' else 'a'} {words}")
    return " and ".join(acting)


def _other_actions(rng: np.random.Generator, scene: Scene, true: _Sentence) -> list[str]:
    """Return the same sentence with other actions: the reversal where there is one, and any."""
    number = action_named(scene.action).num_actors
    others = [a for a in ACTIONS if a != scene.action and action_named(a).num_actors == number]
    rng.shuffle(others)
    back = reversal_of(scene.action)
    others.sort(key=lambda action: action != back)  # stable: the reversal comes first
    wrong = []
    for action in others:
        ways = _held_out(true.subject, action, [true.frame])
        if not ways:  # every phrase of this action has been seen behind this beginning
            phrases = action_named(action).phrases
            ways = [_Sentence(true.frame, true.subject, phrase) for phrase in phrases]
        wrong.append(str(ways[int(rng.integers(len(ways)))]))
    return _enough(wrong)


def _other_looks(
    rng: np.random.Generator, world: World, scene: Scene, true: _Sentence, kind: str
) -> list[str]:
    """Return the same sentence about other colours, or other objects, that the clip has none of."""
    if kind == "color":
        seen = {actor.color for actor in scene.actors}
        others = [name for name in world.style.colors if name not in seen]
        subjects = [_subject(scene, color=name) for name in rng.permutation(others).tolist()]
    else:
        seen = {actor.name for actor in scene.actors}
        others = [name for name in world.style.objects if name not in seen]
        subjects = [_subject(scene, name=name) for name in rng.permutation(others).tolist()]
    # Colours and objects are blotted out in the pattern of a sentence: all these are held out too.
    return _enough([str(_Sentence(true.frame, subject, true.phrase)) for subject in subjects])


def _enough(wrong: list[str]) -> list[str]:
    if len(wrong) < _NUM_WRONG:
        raise ConfigError(
            f"the world has only {len(wrong)} other actions, colours or objects to ask about, and "
            f"{_NUM_WRONG} are needed; allow more of them"
        )
    return wrong[:_NUM_WRONG]
