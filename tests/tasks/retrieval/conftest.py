from __future__ import annotations

from pathlib import Path

import pytest

import tiny
from captioned import open_captions, write_videos
from internvideo.data.clips import VideoListSource
from internvideo.zoo import load_model
from internvideo.zoo.load import LoadedModel


@pytest.fixture(scope="session")
def videos(tmp_path_factory) -> Path:
    return write_videos(tmp_path_factory.mktemp("retrieval"))


@pytest.fixture(scope="session")
def source(videos) -> VideoListSource:
    return open_captions(videos, "captions.jsonl")


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> LoadedModel:
    return load_model(tiny.save_viclip(tmp_path_factory.mktemp("m") / "viclip"))


@pytest.fixture(scope="session")
def matcher(tmp_path_factory) -> LoadedModel:
    return load_model(tiny.save_umt(tmp_path_factory.mktemp("m") / "umt"))
