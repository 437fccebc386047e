import pytest

from data.noisy_videos import MAX, write_noisy_list
from internvideo.data.clip_list import ClipList
from internvideo.data.shard_writing import write_shards


@pytest.fixture(scope="package")
def annotated(tmp_path_factory) -> ClipList:
    return write_noisy_list(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="package")
def shards(annotated, tmp_path_factory):
    out = tmp_path_factory.mktemp("shards")
    write_shards(annotated, out, max_bytes=MAX)
    return out
