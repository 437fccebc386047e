"""What every store promises: the same tests for LanceDB here, on S3, and for Milvus."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from internvideo.errors import ConfigError, DataError
from internvideo.search import lancedb_store
from internvideo.search.opening import create_store, open_store
from internvideo.search.records import Cut, IndexedVideo, Manifest, Part, VideoFile
from internvideo.search.store import Filter, quoted
from internvideo.video.preprocessing import PRESETS

DIMENSION = 8
EVERYTHING = Filter()
MANIFEST = Manifest(
    model="some", weights="f" * 64, preprocessing=PRESETS["nano"], dimension=DIMENSION, cut=Cut()
)
ODD = '/videos/it\'s "100%" of_a\\b.mp4'


@pytest.fixture
def store(uri):
    return create_store(uri, MANIFEST)


def parts_of(path: str, count: int, *, seed: int = 0, size: int = 10, length: float = 4.0):
    """Return the parts of a video with random vectors."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    file = VideoFile(path=path, size=size, modified=1_700_000_000.25 + seed, digest=f"{seed:032x}")
    return [
        Part(
            file=file,
            number=number,
            num_parts=count,
            start=length * number,
            end=length * (number + 1),
            first_frame=100 * number,
            num_frames=100,
            fps=25.0,
            duration=length * count,
            height=48,
            width=64,
            thumbnail=rng.bytes(300),
            vector=vector,
        )
        for number, vector in enumerate(vectors)
    ]


def found(store, vector, limit=100, wanted=EVERYTHING) -> list[str]:
    """Return what a search finds as "path number"."""
    hits = store.search(vector, limit, wanted)
    return [f"{hit.part.file.path} {hit.part.number}" for hit in hits]


def same(one: Part, other: Part) -> bool:
    bare = np.zeros(0, np.float32)
    return replace(one, vector=bare) == replace(other, vector=bare) and np.allclose(
        one.vector, other.vector, atol=1e-6
    )


def test_there_is_nothing_until_it_is_made(uri):
    assert open_store(uri) is None
    store = create_store(uri, MANIFEST)
    assert store.manifest == MANIFEST
    status = store.status()
    assert (list(status.videos), status.num_parts) == ([], 0)
    assert store.search(np.ones(DIMENSION, np.float32), 5, EVERYTHING) == []
    store.compact()


def test_rows_come_back_as_they_were_the_nearest_first(store, uri):
    parts = [*parts_of("/a.mp4", 5, seed=1), *parts_of(ODD, 3, seed=2)]
    store.add(parts)
    asked = parts[6].vector
    order = sorted(parts, key=lambda part: -float(part.vector @ asked))
    hits = open_store(uri).search(asked, 4, EVERYTHING)
    assert len(hits) == 4
    for hit, part in zip(hits, order, strict=False):
        assert same(hit.part, part)
        assert hit.score == pytest.approx(float(part.vector @ asked), abs=1e-5)
    assert hits[0].part.file.path == ODD


def test_the_videos_are_told_with_what_identifies_them(store):
    store.add([*parts_of("/a.mp4", 5, seed=1), *parts_of(ODD, 3, seed=2)])
    cut_short = [replace(part, incomplete="damaged") for part in parts_of("/c.mp4", 1, seed=3)]
    store.add(cut_short)
    status = store.status()
    assert status.num_parts == 9
    videos = {each.file.path: each for each in status.videos}
    assert set(videos) == {"/a.mp4", ODD, "/c.mp4"}
    assert videos["/a.mp4"] == IndexedVideo(
        file=parts_of("/a.mp4", 1, seed=1)[0].file, num_parts=5, duration=20.0
    )
    assert videos["/c.mp4"].incomplete == "damaged"


def test_a_video_that_is_added_again_takes_the_place_of_the_old(store):
    store.add([*parts_of("/a.mp4", 5, seed=1), *parts_of("/b.mp4", 2, seed=2)])
    store.add(parts_of("/a.mp4", 3, seed=4, size=99))
    assert store.status().num_parts == 5
    [video] = [each for each in store.status().videos if each.file.path == "/a.mp4"]
    assert (video.num_parts, video.file.size) == (3, 99)
    hits = store.search(parts_of("/a.mp4", 5, seed=1)[4].vector, 100, EVERYTHING)
    assert sorted(hit.part.number for hit in hits if hit.part.file.path == "/a.mp4") == [0, 1, 2]
    assert {hit.part.file.size for hit in hits if hit.part.file.path == "/a.mp4"} == {99}


def test_deleting_forgets_the_named_videos_only(store):
    for number, path in enumerate(("/a.mp4", "/b.mp4", ODD)):
        store.add(parts_of(path, 2, seed=number))
    store.delete([ODD, "/a.mp4", "/unknown.mp4"])
    store.delete([])
    assert [each.file.path for each in store.status().videos] == ["/b.mp4"]
    assert store.status().num_parts == 2


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Filter(min_duration=4.0), {"/films/long_1.mp4", "/films/long 2.mp4"}),
        (Filter(max_duration=3.0), {"/other/short.mp4", ODD}),
        (Filter(min_duration=2.5, max_duration=3.0), {ODD}),
        (Filter(path="/films/*"), {"/films/long_1.mp4", "/films/long 2.mp4"}),
        (Filter(path="*long_?.mp4"), {"/films/long_1.mp4"}),
        (Filter(path="*100%*"), {ODD}),
        (Filter(path="*a\\b*"), {ODD}),
        (Filter(path="*it's \"*"), {ODD}),
        (Filter(path="/films"), set()),
        (Filter(after=1_700_000_002.25), {"/other/short.mp4", ODD}),
        (Filter(before=1_700_000_001.25), {"/films/long_1.mp4"}),
        (Filter(path="/films/*", after=1_700_000_001.0), {"/films/long 2.mp4"}),
    ],
)
def test_filters(store, wanted, expected):
    paths = (("/films/long_1.mp4", 4.0), ("/films/long 2.mp4", 10.0), ("/other/short.mp4", 2.0))
    for number, (path, length) in enumerate((*paths, (ODD, 3.0))):
        store.add(parts_of(path, 2, seed=number, length=length))
    hits = store.search(np.eye(DIMENSION, dtype=np.float32)[0], 100, wanted)
    assert {hit.part.file.path for hit in hits} == expected
    assert len(hits) == 2 * len(expected)


def test_two_writers_at_once_neither_lose_nor_double(uri):
    """Both add the same videos; another pair of videos each is its own."""
    barrier = threading.Barrier(2)
    failures: list[BaseException] = []

    def write(own: int) -> None:
        try:
            store = create_store(uri, MANIFEST)
            for number in range(6):
                barrier.wait(30)
                shared = parts_of(f"/shared {number}.mp4", 3, seed=number)
                store.add([*shared, *parts_of(f"/own {own} {number}.mp4", 2, seed=9)])
        except BaseException as error:
            failures.append(error)
            barrier.abort()

    writers = [threading.Thread(target=write, args=(own,)) for own in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert not failures
    status = open_store(uri).status()
    assert status.num_parts == 6 * 3 + 2 * 6 * 2
    paths = sorted(each.file.path for each in status.videos)
    assert len(paths) == len(set(paths)) == 18


def test_compacting_changes_nothing_that_is_found(store):
    parts = [part for seed in range(12) for part in parts_of(f"/{seed}.mp4", 4, seed=seed)]
    for start in range(0, len(parts), 4):
        store.add(parts[start : start + 4])
    asked = [part.vector for part in parts[::7]]
    before = [found(store, vector, 5) for vector in asked]
    store.compact(only_if_due=True)
    store.compact()
    assert [found(store, vector, 5) for vector in asked] == before
    assert store.status().num_parts == len(parts)


def test_compacting_gives_back_the_space_of_what_was_deleted(tmp_path):
    uri = str(tmp_path / "films.lance")
    store = create_store(uri, MANIFEST)
    for seed in range(6):
        store.add(parts_of(f"/{seed}.mp4", 40, seed=seed))
    store.delete([f"/{seed}.mp4" for seed in range(1, 6)])

    def size() -> int:
        return sum(each.stat().st_size for each in tmp_path.rglob("*.lance") if each.is_file())

    before = size()
    store.compact()
    assert size() < before / 3
    assert store.status().num_parts == 40


def test_searching_and_adding_go_on_while_another_compacts(tmp_path):
    uri = str(tmp_path / "busy.lance")
    create_store(uri, MANIFEST).add(parts_of("/first.mp4", 4, seed=99))
    failures: list[BaseException] = []
    done = threading.Event()

    def search() -> None:
        try:
            store = open_store(uri)
            while not done.is_set():
                assert len(found(store, np.ones(DIMENSION), 4)) == 4
        except BaseException as error:
            failures.append(error)

    def add(own: int) -> None:
        try:
            store = open_store(uri)
            for number in range(8):
                store.add(parts_of(f"/{own} {number}.mp4", 2, seed=number))
        except BaseException as error:
            failures.append(error)

    searcher = threading.Thread(target=search)
    adders = [threading.Thread(target=add, args=(own,)) for own in range(2)]
    for thread in (searcher, *adders):
        thread.start()
    store = open_store(uri)
    while any(adder.is_alive() for adder in adders):
        store.compact()
    done.set()
    searcher.join()
    assert not failures
    store.compact()
    assert store.status().num_parts == 4 + 2 * 8 * 2
    assert len(store.status().videos) == 17


def test_what_another_program_wrote_is_refused(tmp_path):
    import lancedb

    (tmp_path / "file.lance").write_text("no folder")
    with pytest.raises(DataError, match=r"file\.lance"):
        open_store(str(tmp_path / "file.lance"))
    lancedb.connect(tmp_path / "other.lance").create_table("parts", [{"a": 1}])
    with pytest.raises(DataError, match=r"other\.lance was not written by `internvideo index`"):
        open_store(str(tmp_path / "other.lance"))
    (tmp_path / "empty.lance").mkdir()
    assert open_store(str(tmp_path / "empty.lance")) is None


@pytest.mark.slow
def test_a_milvus_server_that_is_not_there_or_holds_something_else(milvus):
    from pymilvus import MilvusClient

    MilvusClient(uri=milvus).create_collection("strangers", dimension=4)
    with pytest.raises(DataError, match="strangers was not written by `internvideo index`"):
        open_store(f"{milvus}/strangers")
    with pytest.raises(DataError, match=r"127\.0\.0\.1:9/films cannot be used"):
        open_store("http://127.0.0.1:9/films")


def test_vectors_are_grouped_when_there_are_many(tmp_path, monkeypatch):
    """Above the threshold an index is made, kept up and made anew; what is found stays right."""
    monkeypatch.setattr(lancedb_store, "INDEX_FROM", 400)
    store = create_store(str(tmp_path / "many.lance"), MANIFEST)
    parts = [part for seed in range(40) for part in parts_of(f"/{seed}.mp4", 20, seed=seed)]
    store.add(parts[:380])
    store.compact(only_if_due=True)
    assert "exact" in store.status().vector_index
    store.add(parts[380:420])
    store.compact(only_if_due=True)
    assert "20 groups, 0 new" in store.status().vector_index
    store.add(parts[420:460])
    store.compact(only_if_due=True)
    assert "20 groups, 40 new" in store.status().vector_index  # few: compared exactly
    exactly = np.stack([part.vector for part in parts[:460]])
    asked = np.random.default_rng(5).standard_normal((20, DIMENSION)).astype(np.float32)
    for vector in asked:
        best = np.argsort(-exactly @ vector)[:5]
        right = [f"{parts[place].file.path} {parts[place].number}" for place in best]
        assert found(store, vector, 5) == right
    narrow = Filter(path="/7.mp4")  # in few of the groups: all are looked at
    assert len(found(store, asked[0], 100, narrow)) == 20
    store.add(parts[460:])
    store.compact()
    assert "20 groups, 0 new" in store.status().vector_index
    monkeypatch.setattr(lancedb_store, "_GROWTH", 1.5)
    store.compact(only_if_due=True)
    assert "28 groups, 0 new" in store.status().vector_index


def test_a_filter_between_whose_limits_nothing_lies():
    with pytest.raises(ConfigError, match="between 5 and 2"):
        Filter(min_duration=5, max_duration=2)


def test_quoting():
    assert quoted("it's") == "'it''s'"
    assert quoted('a "b" \\', '"') == '"a \\"b\\" \\\\"'
