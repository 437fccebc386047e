from __future__ import annotations

import json
from collections import Counter

import pytest

from internvideo.data import write_world
from internvideo.data.build import read_multiple_choice
from internvideo.errors import ConfigError
from internvideo.world import (
    ACTIONS,
    COLORS,
    OBJECTS,
    World,
    action_named,
    is_held_out,
    reversal_of,
    vocabulary,
)
from internvideo.world.choices import CHOICE_KINDS as KINDS

WORLD = World(seed=6, size=16, num_frames=4)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("choices"), 90, kind="multiple-choice", world=WORLD)


@pytest.fixture(scope="module")
def rows(written):
    [path] = written.annotations
    return [json.loads(line) for line in path.read_text().splitlines()]


def differing(one: str, other: str) -> tuple[str, str]:
    """Return the middles of two sentences, without what they begin and end with alike."""
    left, right = one.split(), other.split()
    while left and right and left[0] == right[0]:
        left, right = left[1:], right[1:]
    while left and right and left[-1] == right[-1]:
        left, right = left[:-1], right[:-1]
    return " ".join(left), " ".join(right)


def phrases_of(sentence: str) -> set[str]:
    return {a for a in ACTIONS if any(sentence.endswith(p) for p in action_named(a).phrases)}


def test_the_reader_reads_them(written, rows):
    choices = read_multiple_choice(written.annotations[0])
    assert sum(map(len, choices.questions)) == len(rows) == 90
    assert [clip.path for clip in choices.videos] == [str(video) for video in written.videos]
    assert {question.kind for asked in choices.questions for question in asked} == set(KINDS)


def test_one_sentence_is_true_and_the_others_differ_in_one_thing(rows):
    known = set(vocabulary())
    for number, row in enumerate(rows):
        scene, options = WORLD.scene(number), row["options"]
        true = options[row["answer"]]
        assert len(set(options)) == 5
        assert set(" ".join(options).split()) <= known
        assert is_held_out(true)
        assert scene.action in phrases_of(true)
        for actor in scene.actors_of(scene.events[0]):
            assert f"{actor.color} {actor.name}" in true
        for wrong in options:
            if wrong == true:
                continue
            was, now = (part.removeprefix("a ").removeprefix("an ") for part in
                        differing(true, wrong))  # fmt: skip
            if row["kind"] == "color":
                assert now in COLORS
                assert now not in {actor.color for actor in scene.actors}
                assert is_held_out(wrong)
            elif row["kind"] == "object":
                first = scene.actors_of(scene.events[0])[0]
                assert first.name not in wrong or first.name == scene.actors[-1].name
                assert set(now.split()) <= set(" ".join(OBJECTS).split())
                assert is_held_out(wrong)
            else:
                assert scene.action not in phrases_of(wrong)
                assert was != now


def test_the_reversal_is_among_the_wrong_actions(rows):
    seen = 0
    for number, row in enumerate(rows):
        back = reversal_of(WORLD.scene(number).action)
        if row["kind"] == "action" and back is not None:
            seen += 1
            assert any(back in phrases_of(option) for option in row["options"])
    assert seen > 5


def test_the_answer_is_anywhere(rows):
    places = Counter(row["answer"] for row in rows)
    assert set(places) == set(range(5))
    assert max(places.values()) < 45


def test_the_same_arguments_write_the_same_questions(written, tmp_path):
    again = write_world(tmp_path, 12, kind="multiple-choice", world=WORLD)
    begin = written.annotations[0].read_text().splitlines()[:12]
    assert again.annotations[0].read_text().splitlines() == begin


def test_a_world_of_two_colours_has_too_few_to_ask_about(tmp_path):
    world = World(seed=6, size=16, num_frames=4, colors=("red", "blue"))
    with pytest.raises(ConfigError, match=r"has only [01] other"):
        write_world(tmp_path, 3, kind="multiple-choice", world=world)
