from __future__ import annotations

import threading
import time
from itertools import count, islice

import pytest

from internvideo.video.read_ahead import chain_ahead, in_background, interleaved, read_ahead


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_results_come_in_order(threads):
    assert list(read_ahead(lambda x: x * x, range(20), threads=threads, depth=5)) == [
        x * x for x in range(20)
    ]


def test_never_more_than_depth_ahead_of_the_reader():
    started = []
    results = read_ahead(lambda x: started.append(x) or x, count(), threads=2, depth=3)
    for wanted in range(5):
        assert next(results) == wanted
        assert max(started, default=0) <= wanted + 3
    results.close()


def test_items_are_read_at_the_same_time():
    meeting = threading.Barrier(2, timeout=20)
    assert len(list(read_ahead(lambda _: meeting.wait(), range(4), threads=2, depth=2))) == 4


def test_an_error_comes_in_its_turn():
    results = read_ahead(lambda x: 1 // x, [2, 1, 0, 1], threads=2, depth=4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_an_iterator_runs_in_the_background_and_can_be_left():
    def numbers():
        for number in count():
            threads.add(threading.get_ident())
            yield number

    threads: set[int] = set()
    ahead = in_background(numbers(), depth=2)
    assert list(islice(ahead, 3)) == [0, 1, 2]
    ahead.close()
    assert threading.get_ident() not in threads
    assert list(in_background(iter([None, 1]), depth=4)) == [None, 1]


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_streams_follow_each_other(threads):
    streams = (iter(range(length)) for length in (3, 0, 5, 1))
    assert list(chain_ahead(streams, threads=threads, depth=2)) == [0, 1, 2, 0, 1, 2, 3, 4, 0]


def test_the_next_stream_runs_while_one_is_read():
    meeting = threading.Barrier(2, timeout=20)

    def meet():
        yield meeting.wait()

    assert len(list(chain_ahead((meet() for _ in range(4)), threads=2, depth=1))) == 4


def test_streams_run_no_further_ahead_than_told():
    drawn = []

    def numbers(stream):
        for number in count():
            drawn.append((stream, number))
            yield number

    items = chain_ahead((numbers(stream) for stream in count()), threads=2, depth=3)
    assert list(islice(items, 5)) == [0, 1, 2, 3, 4]
    items.close()
    assert max(number for stream, number in drawn if stream == 0) <= 5 + 3
    assert max(number for stream, number in drawn if stream == 1) <= 3
    assert {stream for stream, _ in drawn} == {0, 1}


def test_an_error_of_a_stream_comes_in_its_turn():
    def broken():
        yield 1
        raise ValueError

    items = chain_ahead(iter([iter([0]), broken()]), threads=2, depth=4)
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(ValueError):  # noqa: PT011
        next(items)


# ---------------------------------------------------------------- several at once


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_results_of_each_item_keep_their_order(threads):
    def count(item: int):
        for step in range(item):
            time.sleep(0.001)
            yield item, step

    results = list(interleaved(count, range(8), threads=threads, depth=2))
    assert len(results) == sum(range(8))
    for item in range(8):
        assert [step for each, step in results if each == item] == list(range(item))


def test_several_items_are_worked_on_at_once():
    together = threading.Barrier(2, timeout=20)

    def meet(item: int):
        together.wait()
        yield item

    assert sorted(interleaved(meet, range(4), threads=2, depth=1)) == [0, 1, 2, 3]


def test_no_more_is_done_than_there_is_room_for():
    done: list[int] = []

    def count(item: int):
        for step in range(100):
            done.append(step)
            yield step

    results = interleaved(count, [0], threads=1, depth=3)
    assert next(results) == 0
    time.sleep(0.2)
    assert len(done) <= 1 + 3 + 2
    results.close()
    assert len(done) < 100


@pytest.mark.parametrize("threads", [0, 2])
def test_an_error_in_one_item_is_raised_and_the_threads_end(threads):
    def fails(item: int):
        yield item
        if item == 1:
            raise ValueError("broken")

    before = threading.active_count()
    with pytest.raises(ValueError, match="broken"):
        list(interleaved(fails, range(100), threads=threads, depth=1))
    assert threading.active_count() == before


def test_items_are_taken_when_there_is_time_for_them():
    taken: list[int] = []

    def items():
        for item in range(50):
            taken.append(item)
            yield item

    results = interleaved(lambda item: [item], items(), threads=2, depth=2)
    next(results)
    time.sleep(0.2)
    assert len(taken) <= 1 + 2 + 2
    results.close()
