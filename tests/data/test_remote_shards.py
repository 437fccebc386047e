"""Shards read from a web server, and from an object store that speaks S3."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from moto.server import ThreadedMotoServer

from data.noisy_videos import COUNT, MAX, PROTOCOL, same_clips
from data.range_server import serve_folder
from internvideo.data import shard_storage
from internvideo.data.shards import open_shards
from internvideo.errors import DataError, VideoError
from internvideo.video import Video

# ---------------------------------------------------------------- a web server


def test_a_server_sends_only_the_bytes_of_a_clip(annotated, shards):
    with serve_folder(shards) as server:
        source = open_shards(server.url, protocol=PROTOCOL)
        assert [name for name, _ in server.sent] == ["index.json"]
        server.sent.clear()
        source.read(4, np.random.default_rng(0))
        assert [size for _, size in server.sent] == [int(source.sizes[4])]
        same_clips(source, annotated)
        pattern = f"{server.url}/clips-{{000000..000001}}.tar"
        assert len(open_shards(pattern, protocol=PROTOCOL)) < COUNT


def test_a_server_that_fails_at_first_is_asked_again(shards, monkeypatch):
    monkeypatch.setattr(shard_storage, "_FIRST_WAIT", 0.01)
    with serve_folder(shards) as server:
        source = open_shards(server.url, protocol=PROTOCOL)
        server.failures = 2
        assert source.read(0, np.random.default_rng(0)).label == 0
        server.failures = 99
        with pytest.raises(VideoError, match=r"clips-000000.tar: cannot be read .*503"):
            source.read(0, np.random.default_rng(0))


def test_a_server_without_ranges_needs_a_cache(annotated, shards, tmp_path):
    with serve_folder(shards) as server:
        server.ranges = False
        source = open_shards(server.url, protocol=PROTOCOL)
        with pytest.raises(VideoError, match=r"sends the whole file .* set a cache folder"):
            source.read(0, np.random.default_rng(0))
        same_clips(open_shards(server.url, protocol=PROTOCOL, cache=tmp_path), annotated)


def test_a_cache_fetches_each_shard_once_and_keeps_its_bound(annotated, shards, tmp_path):
    with serve_folder(shards) as server:
        source = open_shards(server.url, protocol=PROTOCOL, cache=tmp_path, cache_bytes=2 * MAX)
        server.sent.clear()
        for index in source.order(np.random.default_rng(0)):
            source.read(int(index), np.random.default_rng(0))
            assert sum(path.stat().st_size for path in tmp_path.rglob("*.tar")) <= 2 * MAX
        same_clips(source, annotated)
        server.sent.clear()
        roomy = open_shards(server.url, protocol=PROTOCOL, cache=tmp_path / "all")
        for _ in range(2):
            same_clips(roomy, annotated)
        fetched = [name for name, _ in server.sent if name.endswith(".tar")]
        assert len(fetched) == len(set(fetched))
    same_clips(roomy, annotated)  # the server is gone


def test_a_damaged_shard_does_not_enter_the_cache(shards, tmp_path):
    for path in shards.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    first = tmp_path / "clips-000000.tar"
    data = bytearray(first.read_bytes())
    data[5000] ^= 1
    first.write_bytes(data)
    with serve_folder(tmp_path) as server:
        source = open_shards(server.url, protocol=PROTOCOL, cache=tmp_path / "cache")
        with pytest.raises(VideoError, match="arrived with another SHA-256"):
            source.read(0, np.random.default_rng(0))
    assert not list((tmp_path / "cache").rglob("*.tar"))


def test_remote_shards_without_an_index(annotated, shards, tmp_path):
    for path in shards.glob("*.tar"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    last = len(list(shards.glob("*.tar"))) - 1
    with serve_folder(tmp_path) as server:
        pattern = f"{server.url}/clips-{{000000..{last:06d}}}.tar"
        same_clips(open_shards(pattern, protocol=PROTOCOL), annotated)
        cache = tmp_path / "cache"
        same_clips(open_shards(pattern, protocol=PROTOCOL, cache=cache), annotated)
        assert len(list(cache.rglob("*.index"))) == last + 1
        same_clips(open_shards(pattern, protocol=PROTOCOL, cache=cache), annotated)
        with pytest.raises(DataError, match=r"has no index.json, and an address cannot be listed"):
            open_shards(server.url, protocol=PROTOCOL)
        with pytest.raises(DataError, match=r"gone.tar: not found"):
            open_shards(f"{server.url}/gone.tar", protocol=PROTOCOL)


class _Reads(torch.utils.data.Dataset):
    def __init__(self, source) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> int:
        sample = self.source.read(index, np.random.default_rng(0))
        return int(sample.frames.sum())


def read_by_workers(source) -> list[int]:
    loader = torch.utils.data.DataLoader(
        _Reads(source), batch_size=None, num_workers=2, multiprocessing_context="fork"
    )
    return [int(value) for value in loader]


@pytest.mark.parametrize("cached", [False, True])
def test_forked_workers_read_from_a_server(shards, tmp_path, cached):
    with serve_folder(shards) as server:
        source = open_shards(server.url, protocol=PROTOCOL, cache=tmp_path if cached else None)
        here = [_Reads(source)[index] for index in range(COUNT)]
        assert read_by_workers(source) == here


# ---------------------------------------------------------------- an object store


@pytest.fixture(scope="module")
def bucket(shards):
    """The shards in a bucket of an S3 server on this machine; their address."""
    import s3fs

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        store = s3fs.S3FileSystem()
        store.mkdir("videos")
        store.put(f"{shards}/", "videos/k400/", recursive=True)
        yield "s3://videos/k400"
    server.stop()


@pytest.mark.parametrize("cached", [False, True])
def test_a_bucket_gives_the_clips_of_the_list(annotated, bucket, tmp_path, cached):
    source = open_shards(bucket, protocol=PROTOCOL, cache=tmp_path if cached else None)
    same_clips(source, annotated)
    assert read_by_workers(source) == [_Reads(source)[index] for index in range(COUNT)]


def test_a_video_in_a_bucket(annotated, bucket):
    import s3fs

    path = annotated[0].path
    s3fs.S3FileSystem().put_file(str(path), "videos/one.mp4")
    np.testing.assert_array_equal(
        Video("s3://videos/one.mp4").frames([0, 5]), Video(path).frames([0, 5])
    )


def test_what_a_bucket_does_not_have_is_told_at_once(bucket):
    with pytest.raises(DataError, match=r"k400/gone-1\.tar: not found"):
        open_shards(f"{bucket}/gone-{{1..2}}.tar", protocol=PROTOCOL)
    with pytest.raises(DataError, match=r"has no index\.json"):
        open_shards("s3://nothing/here", protocol=PROTOCOL)
    with pytest.raises(VideoError, match=r"s3://videos/gone\.mp4: "):
        Video("s3://videos/gone.mp4").frames([0])
