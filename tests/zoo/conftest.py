"""Shared by the tests of the zoo: no network, a cache of their own, and a local web server."""

from __future__ import annotations

import pytest

from zoo.server import Server, serve


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch, tmp_path):
    for name in ("INTERNVIDEO_OFFLINE", "HF_HUB_OFFLINE", "INTERNVIDEO_MIRROR", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("INTERNVIDEO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def server() -> Server:
    with serve() as running:
        yield running
