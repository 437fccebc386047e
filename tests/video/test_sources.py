"""A video may come from a path, an address, bytes or an open file."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import numpy as np
import pytest

from internvideo.errors import VideoError
from internvideo.video import Video
from video.clips import decode_in_order, encode, number_of

WANTED = [33, 2, 17]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture(scope="module")
def expected(path: Path) -> np.ndarray:
    return decode_in_order(path)


def _assert_reads(video: Video, expected: np.ndarray) -> None:
    assert len(video) == 40
    assert np.array_equal(video.frames(WANTED).numpy(), expected[WANTED])
    copy = pickle.loads(pickle.dumps(video))
    assert copy.name == video.name
    assert np.array_equal(copy.frames(WANTED).numpy(), expected[WANTED])


def test_paths(path: Path, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    for source in (path, str(path), path.as_uri()):
        video = Video(source)
        _assert_reads(video, expected)
        assert (video.name, video.path) == ("clip.mp4", path)
    monkeypatch.chdir(path.parent)
    relative = Video("clip.mp4")
    monkeypatch.chdir("/")
    _assert_reads(relative, expected)
    monkeypatch.setenv("HOME", str(path.parent))
    _assert_reads(Video("~/clip.mp4"), expected)


@pytest.mark.parametrize(
    "name", ["with space.mp4", "per%20cent%d.mp4", "c:olon|pipe.mp4", "числа.mp4", "-dash.mp4"]
)
def test_names_that_mean_something_to_ffmpeg(
    path: Path, expected: np.ndarray, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(path.read_bytes())
    _assert_reads(Video(tmp_path / name), expected)


def test_a_name_that_is_not_utf8(path: Path, expected: np.ndarray, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/\xff.mp4"
    try:
        with open(odd, "wb") as file:  # noqa: PTH123 - a name as bytes
            file.write(path.read_bytes())
    except OSError:
        pytest.skip("this file system wants UTF-8")
    video = Video(os.fsdecode(odd))
    assert np.array_equal(video.frames(WANTED).numpy(), expected[WANTED])


def test_bytes(path: Path, expected: np.ndarray) -> None:
    data = path.read_bytes()
    for source in (data, bytearray(data), memoryview(data)):
        _assert_reads(Video(source), expected)
    assert Video(data).name == "<bytes>"
    assert Video(data, name="upload 7").name == "upload 7"
    assert Video(data).path is None


def test_file_objects(path: Path, expected: np.ndarray) -> None:
    memory = io.BytesIO(path.read_bytes())
    memory.seek(100)
    _assert_reads(Video(memory), expected)
    with path.open("rb") as file:
        file.seek(55)
        first, second = Video(file), Video(file)
        for number in WANTED:  # two videos on one file do not disturb each other
            assert np.array_equal(first[number].numpy(), expected[number])
            file.seek(3)
            assert np.array_equal(second[number].numpy(), expected[number])
        assert first.name == "clip.mp4"
        _assert_reads(first, expected)
        first.close()
        assert not file.closed


def test_a_stream_without_seeking_is_read_into_memory(path: Path, expected: np.ndarray) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self._rest = io.BytesIO(path.read_bytes())

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            return self._rest.read(size)

    _assert_reads(Video(Pipe(), name="pipe"), expected)


def _number_in_child(video: Video, results) -> None:
    try:
        results.put(number_of(video[30].numpy()))
    except VideoError as error:
        results.put(str(error))


def test_open_files_after_a_fork(path: Path) -> None:
    class Unnamed(io.BytesIO):
        """An open file without a path, and not plainly bytes."""

    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    with path.open("rb") as file:
        outcomes = []
        for source in (file, io.BytesIO(path.read_bytes()), Unnamed(path.read_bytes())):
            video = Video(source)
            video[3]
            child = context.Process(target=_number_in_child, args=(video, results))
            child.start()
            child.join(60)
            outcomes.append(results.get())
            assert number_of(video[4].numpy()) == 4
    assert outcomes[:2] == [30, 30]
    assert "cannot be read from a forked process; pass a path" in outcomes[2]


def test_memory_address(path: Path, expected: np.ndarray) -> None:
    address = f"memory://{path.parent.name}/clip.mp4"
    fsspec.filesystem("memory").pipe(address, path.read_bytes())
    video = Video(address)
    assert np.array_equal(video.frames(WANTED).numpy(), expected[WANTED])
    assert (video.name, video.path) == ("clip.mp4", None)
    with pytest.raises(VideoError, match=r"memory://nowhere.mp4: not found"):
        len(Video("memory://nowhere.mp4"))


class _Server(SimpleHTTPRequestHandler):
    """Serves a folder; knows byte ranges unless the path is below /whole/."""

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        whole = self.path.startswith("/whole/")
        path = Path(self.directory) / self.path.partition("?")[0].rpartition("/")[2]
        if self.path.startswith("/locked/"):
            return self.send_error(403)
        if not path.is_file():
            return self.send_error(404)
        data = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None or whole:
            self.send_response(200)
        else:
            start, end = int(asked[1]), int(asked[2] or len(data) - 1)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(data)}")
            data = data[start : end + 1]
        if not whole:
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)
        return None

    do_HEAD = do_GET  # noqa: N815


@pytest.fixture(scope="module")
def server(path: Path) -> Iterator[str]:
    handler = partial(_Server, directory=str(path.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("folder", ["", "/whole"])
def test_http_with_and_without_ranges(server: str, expected: np.ndarray, folder: str) -> None:
    video = Video(f"{server}{folder}/clip.mp4?token=1")
    assert video.name == "clip.mp4"
    _assert_reads(video, expected)


def test_http_errors(server: str) -> None:
    with pytest.raises(VideoError, match=r"gone.mp4: not found \(404\); check the address"):
        len(Video(f"{server}/gone.mp4"))
    with pytest.raises(VideoError, match=r"the server answers 403 \(Forbidden\)") as info:
        len(Video(f"{server}/locked/clip.mp4?signature=secret"))
    assert "secret" not in str(info.value)
    with pytest.raises(VideoError, match="cannot be opened"):
        len(Video("http://127.0.0.1:9/clip.mp4"))


def test_unknown_addresses() -> None:
    with pytest.raises(VideoError, match=r"nothing://a.mp4: cannot be opened \(Protocol not known"):
        len(Video("nothing://a.mp4"))


@pytest.mark.parametrize("source", [None, 3, ["a.mp4"], np.zeros(3)])
def test_other_types_are_refused(source) -> None:
    with pytest.raises(VideoError, match="a path, an address, bytes or a binary file, not"):
        Video(source)


def test_text_files_are_refused(path: Path) -> None:
    with path.open(encoding="latin1") as file, pytest.raises(VideoError, match="binary mode"):
        Video(file)
    with pytest.raises(VideoError, match="0 bytes"):
        Video(b"")
