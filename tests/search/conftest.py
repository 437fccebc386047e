"""A tiny model, films, and real servers for the stores."""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tiny
from search_films import write_film


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> str:
    """The folder of a tiny two-tower model that knows the words of the world."""
    return str(tiny.save_viclip(tmp_path_factory.mktemp("model") / "viclip"))


@pytest.fixture
def films(tmp_path) -> Path:
    """A folder of four films."""
    for seed in range(4):
        write_film(tmp_path / "films" / f"film {seed}.mp4", seed)
    return tmp_path / "films"


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """The address of an empty bucket on an S3 server on this machine."""
    server_of = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        boto3.client("s3").create_bucket(Bucket="library")
        yield "s3://library"
    server.stop()


@pytest.fixture(scope="session")
def milvus(tmp_path_factory) -> Iterator[str]:
    """The address of a server that speaks Milvus' protocol, in a process of its own."""
    pytest.importorskip("milvus_lite")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("milvus-lite")
    folder = tmp_path_factory.mktemp("milvus")
    command = [program, "server", "--data-dir", folder, "--host", "127.0.0.1", "--port", str(port)]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as server,
    ):
        try:
            for _ in range(300):
                with socket.socket() as probe:
                    if not probe.connect_ex(("127.0.0.1", port)):
                        break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


@pytest.fixture(
    params=[
        "lancedb",
        pytest.param("s3", marks=pytest.mark.slow),
        pytest.param("milvus", marks=pytest.mark.slow),
    ]
)
def uri(request, tmp_path) -> str:
    """An address at which there is no library yet."""
    name = f"films_{secrets.token_hex(4)}"
    if request.param == "lancedb":
        return str(tmp_path / f"{name}.lance")
    if request.param == "s3":
        return f"{request.getfixturevalue('bucket')}/{name}.lance"
    return f"{request.getfixturevalue('milvus')}/{name}"
