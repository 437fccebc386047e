from __future__ import annotations

import os
import signal
import time

from internvideo.data.timed_pool import Outcome, map_with_timeout


def behave(item: str) -> str:
    if item == "hang":
        time.sleep(60)
    if item == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "raise":
        raise RuntimeError("no good")
    return item.upper()


def interrupted(_: int) -> str:
    os.kill(os.getpid(), signal.SIGINT)
    return "went on"


def test_hanging_and_crashing_items_do_not_stop_the_others():
    items = ["a", "hang", "b", "crash", "c", "raise", "d", "hang", "e"]
    begin = time.monotonic()
    outcomes = list(map_with_timeout(behave, items, workers=2, timeout=1.0))
    assert time.monotonic() - begin < 15
    by_place = {outcome.place: outcome for outcome in outcomes}
    assert len(outcomes) == len(by_place) == len(items)
    for place, item in enumerate(items):
        expected = {
            "hang": (None, "timeout"),
            "crash": (None, "crash"),
            "raise": (None, "RuntimeError: no good"),
        }.get(item, (item.upper(), None))
        assert (by_place[place].result, by_place[place].failure) == expected


def test_nothing_is_left_when_the_reader_stops():
    outcomes = map_with_timeout(behave, ["hang"] * 3 + ["a"], workers=4, timeout=30.0)
    assert next(outcomes).result == "A"
    begin = time.monotonic()
    outcomes.close()
    assert time.monotonic() - begin < 5
    assert list(map_with_timeout(behave, [], workers=4, timeout=1.0)) == []


def test_ctrl_c_is_left_to_the_process_that_asks():
    (outcome,) = map_with_timeout(interrupted, [1], workers=1, timeout=60)
    assert outcome == Outcome(0, "went on")
