"""Sentences about a scene: captions, prompts, questions with answers.

Sentences are lower-case words separated by single spaces, at most `MAX_WORDS` of them, so a word
tokenizer over `vocabulary()` reads them all.

**Held-out sentences.** Every sentence has a pattern: the sentence with its colours and its shapes
or digits blotted out. A checksum of the pattern puts a quarter of all patterns aside. Captions for
training never follow one of these; the prompts for zero-shot evaluation follow nothing else. So
"in this clip a thing hops" may be asked although no caption of that wording, in any colour or
shape, was ever seen; each of its words was.
"""

from __future__ import annotations

import functools
import itertools
import re
import zlib
from dataclasses import dataclass

import numpy as np

from internvideo.annotations import Question
from internvideo.errors import ConfigError, UnknownNameError, did_you_mean
from internvideo.world.actions import ACTIONS, action_named
from internvideo.world.scene import Actor, Scene
from internvideo.world.sprites import BACKGROUNDS, COLORS, DIGITS, OBJECTS, SHAPES, TEXTURES

__all__ = [
    "MAX_WORDS",
    "QUESTION_KINDS",
    "CaptionMix",
    "action_prompts",
    "all_answers",
    "caption",
    "color_prompts",
    "is_held_out",
    "object_prompts",
    "plain_caption",
    "questions",
    "vocabulary",
]

MAX_WORDS = 24
QUESTION_KINDS = ("count", "background", "color", "object", "action", "existence", "order")
_HELD_OUT_EVERY = 4
_MAX_DRAWS = 200

_CLAUSES = (
    "{}",
    "here {}",
    "in this video {}",
    "in this clip {}",
    "you can see that {}",
    "the clip shows how {}",
    "watch how {}",
)
_SIGHTS = (
    "there is {}",
    "here is {}",
    "we see {}",
    "this is {}",
    "a video of {}",
    "a clip with {}",
    "the video shows {}",
    "{} can be seen",
    "you can see {}",
    "watch {}",
    "in this clip there is {}",
    "in this video we see {}",
)
_NOUNS = ("object", "thing", "item", "figure")
_ANY_ONE = ("an object", "a thing", "something", "one object", "an item", "a figure")
_ANY_TWO = ("two objects", "two things", "two items", "two figures", "both objects", "both things")
_BESIDE = ("next to {}", "near {}", "while {} is there too")
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_COLOR_WORDS = re.compile(rf"\b({'|'.join(COLORS)})\b")
_OBJECT_WORDS = re.compile(rf"\b({'|'.join((*DIGITS, *SHAPES))})\b")
_ARTICLE = re.compile(r"\ban\b")


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionMix:
    """How captions are mixed.

    Attributes:
        action_only: share that names the action of "something" and nothing else.
        appearance_only: share that names what is there, and no action.
        plain: share of `plain_caption`, which says the same things of every scene.
        generic: in the remaining, full captions: probability that an object is just "a thing".
        texture: probability that an object's texture is named.
        color: probability that its colour is named.
        shape: probability that its shape or digit is named (else "thing", "object" …).
        second_object: probability that a full caption mentions the bystander, if there is one.
        background: probability that a full caption mentions the background.

    Raises:
        ConfigError: a share is outside 0 … 1, or the three shares exceed 1 together.
    """

    action_only: float = 0.4
    appearance_only: float = 0.15
    plain: float = 0.0
    generic: float = 0.1
    texture: float = 0.3
    color: float = 0.8
    shape: float = 0.75
    second_object: float = 0.4
    background: float = 0.3

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"CaptionMix.{name} must be in 0 … 1, got {getattr(self, name)}")
        shares = (self.action_only, self.appearance_only, self.plain)
        if sum(shares) > 1.0 + 1e-9:
            raise ConfigError(
                "CaptionMix.action_only, appearance_only and plain must not exceed 1 together, "
                f"got {' + '.join(map(str, shares))}"
            )


def is_held_out(sentence: str) -> bool:
    """Return whether training captions must not contain this sentence (nor its pattern)."""
    pattern = _COLOR_WORDS.sub("#c", sentence.lower())
    pattern = _ARTICLE.sub("a", _OBJECT_WORDS.sub("#o", pattern))
    return zlib.crc32(pattern.encode()) % _HELD_OUT_EVERY == 0


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _describe(actor: Actor, rng: np.random.Generator, mix: CaptionMix) -> str:
    """Return a noun phrase that is true of the actor, with some of its attributes."""
    texture, color, shape, noun = rng.random(4)
    words = [actor.texture] if texture < mix.texture else []
    words += [actor.color] if color < mix.color else []
    words.append(actor.name if shape < mix.shape else _NOUNS[int(noun * len(_NOUNS))])
    return _with_article(" ".join(words))


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.random() * len(options))]


def _event_clause(
    scene: Scene, number: int, rng: np.random.Generator, mix: CaptionMix, *, generic: bool
) -> str:
    """Return "a red star moves left" for one event of the scene."""
    event = scene.events[number]
    actors = scene.actors_of(event)
    verb = _pick(rng, action_named(event.action).phrases)
    if generic or rng.random() < mix.generic:
        subject = _pick(rng, _ANY_ONE if len(actors) == 1 else _ANY_TWO)
    else:
        order = rng.permutation(len(actors))
        subject = " and ".join(_describe(actors[place], rng, mix) for place in order)
    return f"{subject} {verb}"


def _action_sentence(scene: Scene, rng: np.random.Generator, mix: CaptionMix) -> str:
    clauses = [
        _event_clause(scene, number, rng, mix, generic=True) for number in range(len(scene.events))
    ]
    return _pick(rng, _CLAUSES).format(" then ".join(clauses))


def _appearance_sentence(scene: Scene, rng: np.random.Generator, mix: CaptionMix) -> str:
    actor = scene.actors[rng.integers(len(scene.actors))]
    return _pick(rng, _SIGHTS).format(_describe(actor, rng, mix))


def _full_sentence(scene: Scene, rng: np.random.Generator, mix: CaptionMix) -> str:
    clauses = [
        _event_clause(scene, number, rng, mix, generic=False) for number in range(len(scene.events))
    ]
    sentence = _pick(rng, _CLAUSES).format(" then ".join(clauses))
    acting = {number for event in scene.events for number in event.actors}
    idle = [actor for number, actor in enumerate(scene.actors) if number not in acting]
    if idle and rng.random() < mix.second_object:
        bystander = _describe(idle[rng.integers(len(idle))], rng, mix)
        sentence += " " + _pick(rng, _BESIDE).format(bystander)
    if rng.random() < mix.background:
        sentence += f" on a {scene.background.kind} background"
    return sentence


def plain_caption(scene: Scene) -> str:
    """Return the one sentence that names colour, object and action of every event.

    It follows from the scene alone, so a caption that a model writes can be compared with it word
    by word: "a red star moves to the left", "a blue digit four and a green ring swap places" (the
    objects in alphabetical order). It is never a held-out sentence.
    """
    clauses = []
    for event in scene.events:
        names = sorted(f"{actor.color} {actor.name}" for actor in scene.actors_of(event))
        subject = " and ".join(map(_with_article, names))
        clauses.append([f"{subject} {verb}" for verb in action_named(event.action).phrases])
    wordings = (
        clause.format(" then ".join(events))
        for clause in _CLAUSES
        for events in itertools.product(*clauses)
    )
    return next(sentence for sentence in wordings if not is_held_out(sentence))


_DEFAULT_MIX = CaptionMix()


def caption(
    scene: Scene,
    rng: np.random.Generator,
    mix: CaptionMix = _DEFAULT_MIX,
    *,
    held_out: bool = False,
) -> str:
    """Draw a sentence that is true of the scene.

    Args:
        scene: what is seen.
        rng: source of the draw.
        mix: shares and probabilities.
        held_out: draw one of the sentences that are kept out of training in place of one that
            is not; `mix.plain` must be 0 then.
    """
    if held_out and mix.plain:
        raise ConfigError("plain captions are never held out: set CaptionMix.plain to 0")
    kind = rng.random()
    if kind < mix.action_only:
        write = _action_sentence
    elif kind < mix.action_only + mix.appearance_only:
        write = _appearance_sentence
    elif kind < mix.action_only + mix.appearance_only + mix.plain:
        return plain_caption(scene)
    else:
        write = _full_sentence
    for _ in range(_MAX_DRAWS):
        sentence = write(scene, rng, mix)
        if sentence.count(" ") < MAX_WORDS and is_held_out(sentence) == held_out:
            return sentence
    raise ConfigError(
        f"no caption of at most {MAX_WORDS} words found for a scene with {len(scene.events)} "
        f"events in {_MAX_DRAWS} draws; lower CaptionMix.texture and .shape, or num_events"
    )


def _interleave(groups: list[list[str]], limit: int) -> list[str]:
    """Take from each group in turn, so that every phrase is represented."""
    in_turn = itertools.chain.from_iterable(itertools.zip_longest(*groups))
    return [sentence for sentence in in_turn if sentence is not None][:limit]


def action_prompts(action: str, *, limit: int = 16) -> list[str]:
    """Return held-out sentences that say that "something" performs the action.

    Args:
        action: one of `ACTIONS`.
        limit: at most so many, spread evenly over the action's phrases.
    """
    entry = action_named(action)
    subjects = _ANY_ONE if entry.num_actors == 1 else _ANY_TWO
    groups = [
        [
            sentence
            for clause, subject in itertools.product(_CLAUSES, subjects)
            if is_held_out(sentence := clause.format(f"{subject} {phrase}"))
        ]
        for phrase in entry.phrases
    ]
    return _interleave(groups, limit)


def _sight_prompts(descriptions: list[str], limit: int) -> list[str]:
    groups = [
        [
            sentence
            for sight in _SIGHTS
            if is_held_out(sentence := sight.format(_with_article(description)))
        ]
        for description in descriptions
    ]
    return _interleave(groups, limit)


def color_prompts(color: str, *, limit: int = 16) -> list[str]:
    """Return held-out sentences such as "there is a red thing"; the wordings suit all colours.

    Raises:
        UnknownNameError: the world has no such colour.
    """
    if color not in COLORS:
        raise UnknownNameError(
            f"the world has no colour '{color}'; it has {', '.join(COLORS)}."
            f"{did_you_mean(color, COLORS)}"
        )
    return _sight_prompts([f"{color} {noun}" for noun in _NOUNS], limit)


def object_prompts(name: str, *, limit: int = 16) -> list[str]:
    """Return held-out sentences that name a shape or a digit, with every texture in turn.

    Raises:
        UnknownNameError: the world has no such object.
    """
    if name not in OBJECTS:
        raise UnknownNameError(
            f"the world has no object '{name}'; it has {', '.join(OBJECTS)}."
            f"{did_you_mean(name, OBJECTS)}"
        )
    return _sight_prompts([name, *(f"{texture} {name}" for texture in TEXTURES)], limit)


def questions(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """Return every kind of question that has one true answer in this scene.

    A question that singles out an object by its shape, colour or action is asked only where that
    fits one object alone.
    """
    actors, events = scene.actors, scene.events
    asked = [
        Question("how many objects are there", _NUMBERS[len(actors)], "count"),
        Question("what is the background like", scene.background.kind, "background"),
    ]
    for actor in actors:
        if sum(other.name == actor.name for other in actors) == 1:
            asked.append(Question(f"what color is the {actor.name}", actor.color, "color"))
        if sum(other.color == actor.color for other in actors) == 1:
            asked.append(Question(f"what is the {actor.color} object", actor.name, "object"))
    asked += _action_questions(scene)
    present = {actor.color for actor in actors}
    absent = [color for color in COLORS if color not in present]
    seen = sorted(present)[rng.integers(len(present))]
    asked.append(Question(f"is there a {seen} object", "yes", "existence"))
    if absent:
        missing = absent[rng.integers(len(absent))]
        asked.append(Question(f"is there a {missing} object", "no", "existence"))
    if len(events) > 1:
        asked.append(Question("what happens first", events[0].action, "order"))
        asked.append(Question("what happens last", events[-1].action, "order"))
    return [
        Question(item.question.replace(" a orange", " an orange"), item.answer, item.kind)
        for item in asked
    ]


def _action_questions(scene: Scene) -> list[Question]:
    asked = []
    if len(scene.events) == 1:
        asked.append(Question("what happens", scene.action, "action"))
    colors = [actor.color for actor in scene.actors]
    for event in scene.events:
        if len(event.actors) != 1 or colors.count(scene.actors[event.actors[0]].color) > 1:
            continue
        actor = scene.actors[event.actors[0]]
        asked.append(Question(f"what does the {actor.color} object do", event.action, "action"))
        phrase = action_named(event.action).phrases[0]
        if sum(other.action == event.action for other in scene.events) == 1 and (
            event.action != "still"
        ):
            asked.append(Question(f"what color is the object that {phrase}", actor.color, "color"))
    return asked


def all_answers() -> tuple[str, ...]:
    """Return every answer that a question about any scene can have."""
    return tuple(dict.fromkeys((*_NUMBERS, *COLORS, *OBJECTS, *BACKGROUNDS, *ACTIONS, "yes", "no")))


@functools.lru_cache(maxsize=1)
def vocabulary() -> tuple[str, ...]:
    """Return every word of captions, prompts, questions and answers, sorted."""
    texts: list[str] = [*_CLAUSES, *_SIGHTS, *_NOUNS, *_ANY_ONE, *_ANY_TWO, *_BESIDE, *_NUMBERS]
    texts += [*COLORS, *OBJECTS, *TEXTURES, *BACKGROUNDS, *ACTIONS]
    for action in ACTIONS:
        texts += action_named(action).phrases
    texts += ["a an and then on background yes no what color is the like how many objects are"]
    texts += ["there object that does do happens first last"]
    words = {word for text in texts for word in text.replace("{}", " ").split()}
    return tuple(sorted(words))
