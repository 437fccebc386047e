"""Stops, kills and company: what indexing must survive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from internvideo.errors import ConfigError
from internvideo.search.embedding import EmbeddedVideo
from internvideo.search.files import Plan
from internvideo.search.indexing import index_videos
from internvideo.search.records import IndexedVideo, Part, VideoFile
from internvideo.search.store import Status
from search_films import write_film

# One process that has loaded everything but the store, and forks: a child begins in no time. A
# child says what the library holds, then a line for every video that is committed.
DRIVER = """
import json, os, signal, sys, time
from internvideo.pipeline import load
from internvideo.search.library import open_library
from internvideo.search.records import Cut

folder, uri, model, kills = *sys.argv[1:4], int(sys.argv[4])
reader = load(model, device="cpu")

def child():
    receive, send = os.pipe()
    pid = os.fork()
    if pid:
        os.close(send)
        return pid, os.fdopen(receive)
    def say(value):
        os.write(send, (json.dumps(value) + "\\n").encode())
    try:
        library = open_library(uri, reader)
        try:
            say(sorted(each.file.path for each in library.status().store.videos))
        except ValueError:
            say([])
        report = library.index(folder, cut=Cut(window=0.5), workers=2, commit_seconds=0,
                               progress=lambda done, total: say("."))
        say([report.new, report.elsewhere, report.unchanged])
        say([library.status().store.num_parts, len(library.status().store.videos)])
    except BaseException as error:
        say(repr(error))
    os._exit(0)

if kills:
    for number in range(kills):
        pid, lines = child()
        held = [json.loads(lines.readline())]
        for _ in range(1 + number % 3):
            held.append(json.loads(lines.readline()))
        time.sleep(0.01 * number)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        held += [json.loads(line) for line in lines]
        print(json.dumps(held), flush=True)
children = [child() for _ in range(1 if kills else 2)]
for pid, lines in children:
    print(json.dumps([json.loads(line) for line in lines]), flush=True)
"""


def drive(folder: Path, uri: str, model: str, kills: int) -> list[list]:
    """Return what the children said, one list for each."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(folder), uri, model, str(kills)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


@pytest.mark.slow
def test_killed_again_and_again_it_loses_nothing_and_goes_on(uri, model, tmp_path):
    kills, films = (10, 40) if uri.startswith("/") else (3, 16)
    for seed in range(films):
        write_film(tmp_path / f"{seed:02}.mp4", seed, num_shots=1)
    *killed, (held, *said) = drive(tmp_path, uri, model, kills)
    assert len(killed) == kills
    before: set[str] = set()
    committed = 0
    for known, *dots in [*killed, (held, *said)]:
        assert before <= set(known)  # nothing is lost
        assert len(known) >= committed
        before, committed = set(known), len(known) + dots.count(".")
    assert kills <= len(held) <= films  # a fast machine may be done before the last kill
    (new, elsewhere, unchanged), (num_parts, num_videos) = said[-2:]
    assert (new, elsewhere, unchanged) == (films - len(held), 0, len(held))
    assert (num_parts, num_videos) == (2 * films, films)


@pytest.mark.slow
def test_two_indexers_at_once_lose_and_double_nothing(uri, model, tmp_path):
    for seed in range(24):
        write_film(tmp_path / f"{seed:02}.mp4", seed, num_shots=1)
    children = drive(tmp_path, uri, model, 0)
    assert len(children) == 2
    assert all(len(said) >= 3 for said in children), children
    reports = [said[-2] for said in children]
    # how they share the work is a matter of time: both may do all of it
    assert sum(report[0] for report in reports) >= 24
    assert all(sum(report) == 24 for report in reports)
    assert max(said[-1] for said in children) == [48, 24]


# ---------------------------------------------------------------- one process


class Kept:
    """A store in memory that notes its commits."""

    def __init__(self) -> None:
        self.commits: list[list[str]] = []
        self.others: list[IndexedVideo] = []
        self.compactions = 0

    def add(self, parts) -> None:
        self.commits.append(sorted({part.file.path for part in parts}))

    def status(self) -> Status:
        return Status(videos=self.others, num_parts=0, num_bytes=0, vector_index="")

    def compact(self, *, only_if_due: bool = False) -> None:
        assert only_if_due
        self.compactions += 1


def plan_of(count: int) -> Plan:
    files = [VideoFile(path=f"/{number}.mp4", size=1, modified=2.0) for number in range(count)]
    return Plan(new=files, changed=(), unchanged=0, vanished=(), failures=[("x", "no video")])


def embedded(file: VideoFile) -> EmbeddedVideo:
    if file.path == "/3.mp4":
        return EmbeddedVideo(file=file, parts=(), error="cannot be read")
    part = Part(
        file=file,
        number=0,
        num_parts=1,
        start=0.0,
        end=36.0,
        first_frame=0,
        num_frames=9,
        fps=1.0,
        duration=36.0,
        height=1,
        width=1,
        vector=np.ones(1, np.float32),
    )
    return EmbeddedVideo(file=file, parts=[part])


def test_what_is_done_is_committed_by_time_and_at_the_end():
    store, seen = Kept(), []
    report = index_videos(
        store, plan_of(6), lambda files: map(embedded, files), commit_seconds=0,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert sorted(path for [path] in store.commits) == [f"/{n}.mp4" for n in (0, 1, 2, 4, 5)]
    assert seen == [(number, 6) for number in range(1, 7)]
    assert (report.new, report.unreadable, report.total) == (5, 2, 7)
    assert report.failures == [("x", "no video"), ("/3.mp4", "cannot be read")]
    assert report.hours == pytest.approx(0.05)
    assert "5 new, 2 failed; 5 parts of 0.05 hours" in str(report)
    patient = Kept()
    index_videos(patient, plan_of(6), lambda files: map(embedded, files), commit_seconds=99)
    assert [len(commit) for commit in patient.commits] == [5]
    assert (store.compactions, patient.compactions) == (1, 1)


def test_an_error_keeps_what_was_done_before_it():
    def fails(files):
        for number, file in enumerate(files):
            if number == 2:
                raise ConfigError("the model broke")
            yield embedded(file)

    store = Kept()
    with pytest.raises(ConfigError, match="broke"):
        index_videos(store, plan_of(3), fails)
    assert [len(commit) for commit in store.commits] == [2]


def test_what_another_process_commits_is_passed_over():
    store = Kept()
    plan = plan_of(3)
    done_before = [IndexedVideo(file=file, num_parts=1, duration=1.0) for file in plan.new]

    def embed(files):
        for file in files:
            store.others = done_before
            yield embedded(file)

    report = index_videos(store, plan, embed, commit_seconds=0)
    assert (report.new, report.elsewhere) == (1, 2)
    assert "2 indexed by another process" in str(report)


def test_a_file_that_changed_since_the_other_process_saw_it_is_done():
    store = Kept()
    plan = plan_of(3)
    older = [
        IndexedVideo(
            file=VideoFile(path=file.path, size=1, modified=1.0), num_parts=1, duration=1.0
        )
        for file in plan.new
    ]

    def embed(files):
        for file in files:
            store.others = older
            yield embedded(file)

    assert index_videos(store, plan, embed, commit_seconds=0).new == 3
