from __future__ import annotations

import threading
from itertools import count, islice

import pytest

from internvideo.video.read_ahead import in_background, read_ahead


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
