from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from internvideo.errors import ConfigError, UnknownNameError
from internvideo.world import (
    ACTIONS,
    COLORS,
    OBJECTS,
    QUESTION_KINDS,
    TEXTURES,
    CaptionMix,
    Scene,
    World,
    action_named,
    action_prompts,
    color_prompts,
    is_held_out,
    language,
    object_prompts,
    plain_caption,
    vocabulary,
)
from internvideo.world.language import MAX_WORDS

NOUN_PHRASE = re.compile(
    rf"\ban? (?:({'|'.join(TEXTURES)}) )?(?:({'|'.join(COLORS)}) )?"
    rf"({'|'.join(sorted(OBJECTS, key=len, reverse=True))}|object|thing|item|figure)\b"
)


@pytest.fixture(scope="module")
def drawn() -> list[tuple[Scene, str]]:
    """Ten thousand training captions with their scenes."""
    world, rng = World(seed=0), np.random.default_rng(0)
    scenes = [world.scene(index) for index in range(2500)]
    return [(scene, world.caption(scene, rng)) for scene in scenes for _ in range(4)]


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [World(seed=5).scene(index) for index in range(60)]


@pytest.fixture(scope="module")
def prompts() -> list[str]:
    groups = [action_prompts(action) for action in ACTIONS]
    groups += [color_prompts(color) for color in COLORS]
    groups += [object_prompts(name) for name in OBJECTS]
    return [prompt for group in groups for prompt in group]


def test_training_captions_and_prompts_share_words_but_no_sentence(drawn, prompts):
    captions = {caption for _, caption in drawn}
    assert not any(is_held_out(caption) for caption in captions)
    assert all(is_held_out(prompt) for prompt in prompts)
    assert not captions & set(prompts)
    words = {word for caption in captions for word in caption.split()}
    assert {word for prompt in prompts for word in prompt.split()} <= words


def test_every_action_colour_and_object_has_enough_prompts():
    for action in ACTIONS:
        chosen = action_prompts(action)
        assert len(chosen) == len(set(chosen)) >= 6
        for phrase in action_named(action).phrases:
            assert any(prompt.endswith(phrase) for prompt in chosen)
        assert action_prompts(action, limit=3) == chosen[:3]
    for color in COLORS:
        assert len(set(color_prompts(color))) >= 6
        assert all(color in prompt.split() for prompt in color_prompts(color))
    for name in OBJECTS:
        assert len(set(object_prompts(name))) >= 6


def test_prompts_of_different_colours_differ_in_the_colour_only():
    def wordings(color):
        return [
            p.replace(f"an {color}", f"a {color}").replace(color, "C") for p in prompts_of(color)
        ]

    def prompts_of(color):
        return color_prompts(color)

    assert all(wordings(color) == wordings("red") for color in COLORS)


def test_holding_out_ignores_colour_shape_and_article():
    for left, right in (
        ("there is a red star", "there is an orange digit four"),
        ("here a striped heart hops", "here a striped moon hops"),
    ):
        assert is_held_out(left) == is_held_out(right)


@given(st.lists(st.sampled_from(["a", "red", "star", "hops", "here", "you"]), min_size=1))
def test_the_rule_is_a_function_of_the_sentence(words):
    sentence = " ".join(words)
    assert is_held_out(sentence) is is_held_out(sentence.upper())


def test_captions_are_short_and_made_of_known_words(drawn, prompts):
    known = set(vocabulary())
    used = set()
    for sentence in [caption for _, caption in drawn] + prompts:
        words = sentence.split(" ")
        assert len(words) <= MAX_WORDS
        used.update(words)
    assert used <= known
    assert list(vocabulary()) == sorted(known)
    assert 150 <= len(known) <= 260


def test_questions_and_answers_are_made_of_known_words():
    known = set(vocabulary())
    for world in (World(seed=1, idle_objects=(0, 3)), World(seed=2, num_events=2, num_frames=32)):
        for index in range(300):
            for item in world.questions(index):
                assert set(f"{item.question} {item.answer}".split()) <= known


def test_captions_are_true(drawn):
    for scene, caption in drawn:
        for texture, color, name in NOUN_PHRASE.findall(caption):
            assert any(
                texture in ("", actor.texture)
                and color in ("", actor.color)
                and name in (actor.name, "object", "thing", "item", "figure")
                for actor in scene.actors
            ), caption
        if "background" in caption:
            assert f"on a {scene.background.kind} background" in caption


def test_the_verb_of_a_caption_is_that_of_the_action():
    world, rng = World(seed=5), np.random.default_rng(1)
    mix = CaptionMix(action_only=0.5, appearance_only=0.0, second_object=0.0, background=0.0)
    for index in range(1000):
        scene = world.scene(index)
        caption = world.caption(scene, rng, mix)
        assert any(caption.endswith(phrase) for phrase in action_named(scene.action).phrases)


def test_the_mix_is_kept():
    world, rng = World(seed=5), np.random.default_rng(1)
    only = CaptionMix(action_only=0.0, appearance_only=1.0, color=1.0)
    for index in range(200):
        caption = world.caption(index, rng, only)
        assert any(color in caption.split() for color in COLORS)
        phrases = action_named(world.scene(index).action).phrases
        assert not any(phrase in caption for phrase in phrases if " " in phrase)
    only = CaptionMix(action_only=1.0, appearance_only=0.0)
    for index in range(200):
        caption = world.caption(index, rng, only)
        assert not any(word in caption.split() for word in (*COLORS, *OBJECTS, *TEXTURES))
    shares = CaptionMix(action_only=0.6, appearance_only=0.1, color=1.0, generic=0.0)
    captions = [world.caption(index % 500, rng, shares) for index in range(4000)]
    colored = np.mean([any(color in c.split() for color in COLORS) for c in captions])
    assert 0.36 < colored < 0.44


def test_a_clip_has_its_own_captions():
    world = World(seed=5)
    assert world.captions(3, 5) == world.captions(world.scene(3), 8)[:5]
    assert len(set(world.captions(3, 8))) > 3
    held_out = world.captions(3, 5, held_out=True)
    assert all(is_held_out(caption) for caption in held_out)


def test_captions_tell_the_events_in_their_order():
    world = World(seed=3, num_events=2, num_frames=32)
    mix = CaptionMix(appearance_only=0.0)
    for index in range(100):
        scene = world.scene(index)
        caption = world.captions(scene, 1, mix)[0]
        first, second = caption.split(" then ")[-2:] if caption.count(" then ") == 1 else ("", "")
        if first:
            assert any(first.endswith(p) for p in action_named(scene.events[0].action).phrases)
            assert any(p in second for p in action_named(scene.events[1].action).phrases)


def test_questions_are_answered_truly():
    world = World(seed=7, idle_objects=(0, 1, 3))
    kinds = set()
    for index in range(300):
        scene = world.scene(index)
        for item in world.questions(scene):
            kinds.add(item.kind)
            words = item.question.split()
            color = next((word for word in words if word in COLORS), None)
            match item.kind:
                case "count":
                    numbers = ["zero", "one", "two", "three", "four"]
                    assert item.answer == numbers[len(scene.actors)]
                case "existence":
                    assert item.answer == ("yes" if color in colors_of(scene) else "no")
                case "action":
                    assert item.answer == scene.action
                case "background":
                    assert item.answer == scene.background.kind
                case "object":
                    assert [a.name for a in scene.actors if a.color == color] == [item.answer]
                case "color" if "is the object that" not in item.question:
                    name = item.question.removeprefix("what color is the ")
                    assert [a.color for a in scene.actors if a.name == name] == [item.answer]
                case "color":
                    assert item.answer == scene.actors[0].color
    assert kinds == {*QUESTION_KINDS} - {"order"}


def colors_of(scene: Scene) -> set[str]:
    return {actor.color for actor in scene.actors}


def test_the_order_of_events_is_asked():
    scene_world = World(seed=1, num_events=2, num_frames=32)
    for index in range(20):
        scene = scene_world.scene(index)
        order = [item.answer for item in scene_world.questions(scene) if item.kind == "order"]
        assert order == [event.action for event in scene.events]


def test_impossible_wishes_are_refused():
    with pytest.raises(ConfigError, match="action_only"):
        CaptionMix(action_only=1.2)
    with pytest.raises(ConfigError, match="plain"):
        CaptionMix(action_only=0.7, appearance_only=0.7)
    with pytest.raises(UnknownNameError, match="green"):
        color_prompts("greeen")
    with pytest.raises(UnknownNameError, match="heart"):
        object_prompts("hearts")


def test_the_plain_caption_follows_from_the_scene(scenes):
    for scene in scenes:
        sentence = plain_caption(scene)
        assert sentence == plain_caption(scene)
        assert not is_held_out(sentence)
        assert set(sentence.split()) <= set(vocabulary())
        for event in scene.events:
            assert any(phrase in sentence for phrase in action_named(event.action).phrases)
            for actor in scene.actors_of(event):
                assert f"{actor.color} {actor.name}" in sentence


def test_a_share_of_the_captions_is_plain(scenes):
    rng = np.random.default_rng(0)
    mix = CaptionMix(action_only=0.2, appearance_only=0.1, plain=0.7)
    plain = [language.caption(s, rng, mix) == plain_caption(s) for s in scenes for _ in range(20)]
    assert 0.65 < np.mean(plain) < 0.8
    with pytest.raises(ConfigError, match=r"CaptionMix.plain"):
        language.caption(scenes[0], rng, mix, held_out=True)
    with pytest.raises(ConfigError, match="plain"):
        CaptionMix(action_only=0.5, appearance_only=0.2, plain=0.4)


def test_each_event_has_a_caption_of_its_own():
    world = World(seed=4, num_events=3, num_frames=12)
    for index in range(30):
        scene = world.scene(index)
        sentences = world.moment_captions(index)
        assert sentences == world.moment_captions(scene)
        assert len(sentences) == 3
        assert not any(map(is_held_out, sentences))
        assert all(map(is_held_out, world.moment_captions(index, held_out=True)))
        for number, event in enumerate(scene.events):
            alone = scene.moment(number)
            assert [actor.name for actor in alone.actors] == [
                actor.name for actor in scene.actors_of(event)
            ]
            assert alone.actors_of(alone.events[0]) == alone.actors
            assert (alone.action, alone.events[0].start) == (event.action, event.start)
