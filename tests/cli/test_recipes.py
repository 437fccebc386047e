from __future__ import annotations

import json

import pytest


def test_a_part_of_a_name_or_a_pattern_chooses(call):
    code, out, err = call("recipes", "world_videomae")
    assert (code, err) == (0, "")
    names = [line.split("\t")[0] for line in out.splitlines()]
    assert "world_videomae-nano" in names
    assert all("world_videomae" in name for name in names)
    code, out, _ = call("recipes", "k400_videomae-?", "--json")
    assert {"k400_videomae-b", "k400_videomae-h"} <= {each["name"] for each in json.loads(out)}
    assert call("recipes", "zebra")[0] == 2


def test_names_are_never_broken(call, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "dumb")
    name = "k700_uniformerv2-l-336-frozen_32f_from-k710"
    assert name in call("recipes", "k700_uniformerv2-l-336")[1]


def test_show_says_what_a_key_means_and_where_its_value_comes_from(call):
    code, out, err = call("recipes", "show", "k400_videomae-b", "optim.lr=1e-5")
    assert (code, err) == (0, "")
    assert "lr: 1.0e-05  # command line" in out
    assert "# peak learning rate" in out
    code, out, _ = call("recipes", "show", "k400_videomae-b", "--json")
    assert {"key", "value", "source", "description"} == set(json.loads(out)[0])
    code, out, err = call("recipes", "show", "k400_videomae")
    assert code == 2
    assert "k400_videomae-b" in err


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("optim.learning_rate=1", "'lr'"),
        ("learning_rate=1", "'optim.lr'"),
        ("lr=1", "'optim.lr'"),
        ("resolution=224", "'crop_size'"),
        ("schedule.max_epochs=1", "'epochs'"),
        ("runtime.workers=1", "'num_workers'"),
        ("runtime.fp16=true", "'precision'"),
    ],
)
def test_what_other_libraries_call_a_key_is_understood(call, typed, meant):
    code, _, err = call("recipes", "show", "k400_videomae-b", typed)
    assert code == 2
    assert f"Did you mean {meant}" in err


def test_a_number_that_is_none_is_told_once(call):
    err = call("recipes", "show", "k400_videomae-b", "schedule.epochs=many")[2]
    assert err.count("'schedule.epochs'") == 1
    assert "got 'many'" in err
