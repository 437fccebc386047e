from __future__ import annotations

import threading
from itertools import count, islice

import pytest

from internvideo.video.read_ahead import in_background, interleaved, read_ahead


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
def test_interleaved_results_of_an_item_come_in_their_order(threads):
    lengths = {"a": 3, "b": 0, "c": 5, "d": 1}

    def numbers(name):
        return ((name, number) for number in range(lengths[name]))

    found = list(interleaved(numbers, lengths, threads=threads, depth=2))
    for name, length in lengths.items():
        assert [number for each, number in found if each == name] == list(range(length))
    assert len(found) == 9


def test_interleaved_items_are_worked_on_at_once():
    meeting = threading.Barrier(2, timeout=20)

    def meet(_):
        yield meeting.wait()

    assert len(list(interleaved(meet, range(4), threads=2, depth=1))) == 4


def test_interleaved_results_wait_in_bounded_number():
    drawn = []

    def numbers(_):
        for number in count():
            drawn.append(number)
            yield number

    items = interleaved(numbers, count(), threads=2, depth=3)
    for _ in range(5):
        next(items)
    items.close()
    assert len(drawn) <= 5 + 3 + 2 * 2


def test_an_error_in_an_interleaved_item_is_raised():
    def broken(number):
        yield number
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        list(interleaved(broken, range(3), threads=2, depth=4))
