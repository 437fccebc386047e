"""The report is tested with oracles, whose every number is known beforehand."""

from __future__ import annotations

import json

import torch

from internvideo.demo.report import MEASURES, Rate, world_report
from internvideo.world import ACTIONS, COLORS, World, reversal_of

NUM_CLIPS = 56
WORLD = World(seed=11)
SCENES = [WORLD.scene(number) for number in range(NUM_CLIPS)]
PALETTE = list(COLORS)


def oracle(answer=lambda action: action, *, color=lambda color: color, still=None):
    """Return the scores of one who knows the clips, and of stills what `still` says of an action.

    Args:
        answer: action of a clip → the action that the oracle says.
        color: colour of a clip → the colour that the oracle says.
        still: likewise of one frame; by default nothing is seen in it.
    """
    scores = torch.zeros(NUM_CLIPS, 2, len(ACTIONS) + len(PALETTE))
    for number, scene in enumerate(SCENES):
        scores[number, 0, ACTIONS.index(answer(scene.action))] = 1
        scores[number, 0, len(ACTIONS) + PALETTE.index(color(scene.actors[0].color))] = 1
        if still is not None:
            scores[number, 1, ACTIONS.index(still(scene.action))] = 1
    return scores


def test_one_who_knows_everything_is_always_right():
    report = world_report(oracle(), WORLD)
    rates = report.rates
    for name in ("accuracy", "pair_accuracy", "merged_accuracy", "color_accuracy"):
        assert rates[name].percent == 100
    assert rates["accuracy"].total == report.num_answered == NUM_CLIPS
    assert rates["pair_accuracy"].total == sum(reversal_of(s.action) is not None for s in SCENES)
    assert rates["color_accuracy"].total == sum(len(s.actors) == 1 for s in SCENES)
    assert rates["accuracy"].chance == 1 / 28
    assert rates["pair_accuracy"].chance == 0.5
    assert rates["color_accuracy"].chance == 1 / 8
    counts = [sum(scene.action == action for scene in SCENES) for action in ACTIONS]
    assert report.confusion.tolist() == torch.diag(torch.tensor(counts)).tolist()
    assert all(row.mistaken_for is None for row in report.per_action)


def test_one_who_sees_time_backwards_fails_every_pair_but_not_the_merged_classes():
    report = world_report(oracle(lambda action: reversal_of(action) or action), WORLD)
    symmetric = sum(reversal_of(scene.action) is None for scene in SCENES)
    assert report.rates["accuracy"].correct == symmetric
    assert report.rates["pair_accuracy"].correct == 0
    assert report.rates["merged_accuracy"].correct == NUM_CLIPS
    for row in report.per_action:
        if row.reversal is None:
            assert row.pair_accuracy is None
        elif row.accuracy.total:
            assert row.accuracy.correct == 0
            assert row.mistaken_for == row.reversal
            assert row.pair_accuracy.percent == 0


def test_an_undecided_pair_does_not_count_as_won():
    rates = world_report(oracle(lambda _: "still"), WORLD).rates
    assert rates["pair_accuracy"].correct == 0
    assert rates["accuracy"].correct == sum(scene.action == "still" for scene in SCENES)


def test_the_most_frequent_mistake_is_named_and_the_first_of_equal_ones():
    scores = torch.zeros(3, 2, len(ACTIONS))
    world = World(seed=3, actions=("move right",))
    said = ["shrink", "grow", "grow"]
    for number, action in enumerate(said):
        scores[number, 0, ACTIONS.index(action)] = 1
    [row] = [row for row in world_report(scores, world).per_action if row.accuracy.total]
    assert row[0] == "move right"
    assert row.mistaken_for == "grow"
    [row] = [row for row in world_report(scores[:2], world).per_action if row.accuracy.total]
    assert row.mistaken_for == min(said[:2], key=ACTIONS.index)


def test_colours_count_for_single_objects_only():
    shifted = oracle(color=lambda c: PALETTE[(PALETTE.index(c) + 1) % len(PALETTE)])
    assert world_report(shifted, WORLD).rates["color_accuracy"].correct == 0


def test_a_still_is_counted_apart_and_a_classifier_is_not_asked_for_colours():
    scores = oracle(lambda _: "blink", still=lambda action: action)[:, :, : len(ACTIONS)]
    rates = world_report(scores, WORLD).rates
    assert rates["single_frame_accuracy"].percent == 100
    assert rates["single_frame_pair_accuracy"].percent == 100
    assert rates["accuracy"].percent < 20
    assert "color_accuracy" not in rates


def test_nothing_counted_is_nothing_known():
    assert Rate(0, 0, 0.5).to_dict()["value"] is None
    assert Rate(0, 0, 0.5).to_dict()["interval95"] == [0.0, 1.0]


def test_a_report_as_data_and_as_table():
    report = world_report(oracle(), WORLD)
    data = json.loads(report.to_json())
    assert data["rates"]["accuracy"] == Rate(NUM_CLIPS, NUM_CLIPS, 1 / 28).to_dict()
    assert data["rates"]["accuracy"]["value"] == 1
    by_name = {row["action"]: row for row in data["per_action"]}
    assert by_name["grow"]["reversal"] == "shrink"
    assert by_name["still"]["pair_accuracy"] is None
    assert data["confusion"] == report.confusion.tolist()
    assert (data["num_clips"], data["num_actions"], data["seed"]) == (NUM_CLIPS, 28, 11)
    assert data["prompts_per_action"] >= 8
    table = report.__rich__()
    assert table.row_count == len(report.rates)
    assert next(iter(table.columns[1].cells)) == "100.0%"


def test_every_measure_is_explained():
    assert set(world_report(oracle(), WORLD).rates) == set(MEASURES)
    assert all(title and meaning.endswith(".") for title, meaning in MEASURES.values())
