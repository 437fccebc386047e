from __future__ import annotations

import errno
import hashlib
import logging
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from internvideo.errors import CheckpointError
from internvideo.zoo import download as downloading
from internvideo.zoo.card import Card, Source
from internvideo.zoo.download import Transfer, cached_path, checksum, download

BODY = bytes(range(256)) * 8192  # 2 MiB, two chunks
SHA = hashlib.sha256(BODY).hexdigest()
FAST = Transfer(attempts=3, backoff=0.0, timeout=5.0, progress=False)


def card(*urls: str, **source) -> Card:
    return Card(
        name="a-model",
        family="Test",
        status="planned",
        description="a file",
        file_name="weights.pth",
        licence="MIT",
        sources=tuple(Source(url=url, status="live", **source) for url in urls),
    )


def test_a_file_is_fetched_once_and_kept_under_its_name(server):
    one = card(server.add("/weights.pth", BODY))
    path = download(one, transfer=FAST)
    assert path == cached_path(one)
    assert path.read_bytes() == BODY
    assert download(one, transfer=FAST) == path
    assert len(server.requests) == 1
    assert sorted(p.name for p in path.parent.iterdir()) == ["weights.pth", "weights.pth.lock"]


def test_a_broken_connection_is_resumed_where_it_broke(server):
    url = server.add("/weights.pth", BODY, cut_after=700_000, cuts=2)
    path = download(card(url, sha256=SHA, size=len(BODY)), transfer=FAST)
    assert checksum(path) == SHA
    assert server.headers("Range") == [None, "bytes=700000-", "bytes=1400000-"]
    assert server.headers("If-Range") == [None, '"v1"', '"v1"']


def test_a_download_resumes_in_a_later_call(server):
    url = server.add("/weights.pth", BODY, cut_after=500_000, cuts=1)
    with pytest.raises(CheckpointError, match="500000 of 2097152 bytes"):
        download(card(url), transfer=Transfer(attempts=1, progress=False))
    assert not cached_path(card(url)).exists()
    download(card(url), transfer=FAST)
    assert server.headers("Range") == [None, "bytes=500000-"]


def test_a_file_that_changed_meanwhile_is_not_glued_to_the_old_part(server):
    url = server.add("/weights.pth", BODY, cut_after=500_000, cuts=1)
    with pytest.raises(CheckpointError):
        download(card(url), transfer=Transfer(attempts=1, progress=False))
    other = BODY[::-1]
    server.add("/weights.pth", other, etag='"v2"')
    assert download(card(url), transfer=FAST).read_bytes() == other


@pytest.mark.parametrize("missing", [{"ranges": False}, {"etag": None}])
def test_a_server_that_cannot_resume_starts_again(server, missing):
    url = server.add("/weights.pth", BODY, cut_after=500_000, cuts=1, **missing)
    assert download(card(url), transfer=FAST).read_bytes() == BODY


def test_a_part_longer_than_the_file_is_thrown_away(server):
    url = server.add("/weights.pth", BODY, cut_after=500_000, cuts=1)
    with pytest.raises(CheckpointError):
        download(card(url), transfer=Transfer(attempts=1, progress=False))
    server.add("/weights.pth", BODY[:1000])
    assert download(card(url), transfer=FAST).read_bytes() == BODY[:1000]


def test_a_truncated_file_is_never_kept(server):
    url = server.add("/weights.pth", BODY, cut_after=1000, cuts=99, etag=None)
    with pytest.raises(CheckpointError, match="closed after 1000 of 2097152"):
        download(card(url), transfer=FAST)
    assert not cached_path(card(url)).exists()


@pytest.mark.parametrize(
    ("known", "message"),
    [({"sha256": "0" * 64}, f"sha256 is {SHA}, expected 000"), ({"size": 5}, "bytes, expected 5")],
)
def test_a_tampered_file_is_refused_and_the_next_source_is_tried(server, known, message, caplog):
    bad = Source(url=server.add("/bad", BODY), status="live", **known)
    good = Source(url=server.add("/good", BODY), status="live", sha256=SHA)
    with caplog.at_level(logging.WARNING):
        path = download(
            Card(name="a", family="T", status="planned", description="", sources=(bad, good)),
            transfer=FAST,
        )
    assert message in caplog.text
    assert path.read_bytes() == BODY
    with pytest.raises(CheckpointError, match=message[:20]):
        download(card(bad.url, **known), transfer=FAST)
    assert not list(cached_path(card(bad.url)).parent.glob("*.part*"))


@pytest.mark.parametrize(
    "behaviour",
    [
        {"body": b"<!DOCTYPE html><p>sign in</p>"},
        {"body": b"  <html>"},
        {"body": BODY, "content_type": "text/html; charset=utf-8"},
        {"body": b'<?xml version="1.0"?><Error><Code>NoSuchBucket</Code></Error>'},
    ],
)
def test_a_web_page_is_not_weights(server, behaviour):
    with pytest.raises(CheckpointError, match="web page instead of the file"):
        download(card(server.add("/weights.pth", **behaviour)), transfer=FAST)


def test_an_empty_answer_is_not_weights(server):
    with pytest.raises(CheckpointError, match="empty file"):
        download(card(server.add("/weights.pth", b"")), transfer=FAST)


@pytest.mark.parametrize(
    ("status", "message", "requests"),
    [
        (401, r"gated.*hf auth login", 1),
        (403, r"gated.*hf auth login", 1),
        (404, "not there any more", 1),
        (500, "answered 500", 3),
        (429, "answered 429", 1),
    ],
)
def test_a_refusal_says_what_to_do(server, status, message, requests):
    one = card(server.add("/weights.pth", status=status))
    with pytest.raises(CheckpointError, match=message) as caught:
        download(one, transfer=FAST)
    text = str(caught.value)
    assert one.sources[0].url in text
    assert str(cached_path(one)) in text
    assert "give the path of the file in place of the name" in text
    assert len(server.requests) == requests


def test_an_error_of_the_server_does_not_lose_the_part(server):
    url = server.add("/weights.pth", BODY, cut_after=500_000, cuts=1)
    with pytest.raises(CheckpointError):
        download(card(url), transfer=Transfer(attempts=1, progress=False))
    server.paths["/weights.pth"].status = 503
    with pytest.raises(CheckpointError, match="503"):
        download(card(url), transfer=FAST)
    server.paths["/weights.pth"].status = 200
    download(card(url), transfer=FAST)
    assert server.headers("Range")[-1] == "bytes=500000-"


def test_links_reported_dead_are_tried_last(server):
    gone = Source(url=server.add("/gone", BODY), status="gone")
    live = Source(url=server.add("/live", BODY), status="live")
    page = Source(url=server.add("/page", BODY), status="page")
    one = Card(name="a", family="T", status="planned", description="", sources=(gone, page, live))
    download(one, transfer=FAST)
    assert [path for path, _ in server.requests] == ["/live"]


def test_no_public_link_is_said(server):
    with pytest.raises(CheckpointError, match="No public link is known"):
        download(card(), transfer=FAST)


@pytest.mark.parametrize("variable", ["INTERNVIDEO_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_asks_nobody(server, monkeypatch, variable):
    one = card(server.add("/weights.pth", BODY))
    monkeypatch.setenv(variable, "1")
    with pytest.raises(CheckpointError, match="offline mode is on"):
        download(one, transfer=FAST)
    cached_path(one).parent.mkdir(parents=True)
    cached_path(one).write_bytes(b"by hand")
    assert download(one, transfer=FAST).read_bytes() == b"by hand"
    assert not server.requests


def test_a_local_mirror_is_used_as_it_is(server, monkeypatch, tmp_path):
    (tmp_path / "mirror" / "a-model").mkdir(parents=True)
    kept = tmp_path / "mirror" / "a-model" / "weights.pth"
    kept.write_bytes(BODY)
    monkeypatch.setenv("INTERNVIDEO_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("INTERNVIDEO_OFFLINE", "1")
    assert download(card(server.add("/weights.pth", b"other")), transfer=FAST) == kept
    monkeypatch.setenv("INTERNVIDEO_MIRROR", str(tmp_path / "nowhere"))
    with pytest.raises(CheckpointError, match="neither a URL nor a folder"):
        download(card(), transfer=FAST)


def test_a_mirror_does_not_confuse_files_of_one_name(monkeypatch, tmp_path):
    from internvideo.zoo.registry import find_card

    (tmp_path / "ViT-H.pth").write_bytes(BODY)
    (tmp_path / "vit_b_hybrid_pt_800e_k400_ft.pth").write_bytes(BODY)
    monkeypatch.setenv("INTERNVIDEO_MIRROR", str(tmp_path))
    monkeypatch.setenv("INTERNVIDEO_OFFLINE", "1")
    assert download(find_card("videomae-b16-k400")).name == "vit_b_hybrid_pt_800e_k400_ft.pth"
    with pytest.raises(CheckpointError):  # four released files have this name
        download(find_card("videomae-h16-ssv1"))
    (tmp_path / "videomae-h16-ssv1.pth").write_bytes(BODY)
    assert download(find_card("videomae-h16-ssv1")).name == "videomae-h16-ssv1.pth"


def test_a_mirror_url_comes_before_the_links_and_is_checked(server, monkeypatch):
    monkeypatch.setenv("INTERNVIDEO_MIRROR", f"{server.url}/mirror/")
    server.add("/mirror/a-model/weights.pth", BODY[:-1])
    url = server.add("/weights.pth", BODY)
    path = download(card(url, sha256=SHA), transfer=FAST)
    assert path.read_bytes() == BODY
    asked = [path for path, _ in server.requests]
    assert asked[0] == "/mirror/a-model/weights.pth"
    assert asked[-1] == "/weights.pth"


def test_the_hub_endpoint_and_token_are_used_and_the_token_stays_there(server, monkeypatch):
    from zoo.server import serve

    with serve() as elsewhere:
        target = elsewhere.add("/blob", BODY)
        server.add("/org/repo/resolve/main/weights.pth", redirect=target)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setattr(downloading, "_hub_token", lambda: "secret")
        one = card("https://huggingface.co/org/repo/resolve/main/weights.pth")
        assert download(one, transfer=FAST).read_bytes() == BODY
        assert server.headers("Authorization") == ["Bearer secret"]
        assert elsewhere.headers("Authorization") == [None]


def test_a_redirect_to_another_scheme_is_not_followed(server, tmp_path):
    (tmp_path / "secret").write_bytes(BODY)
    url = server.add("/weights.pth", redirect=f"file://{tmp_path}/secret")
    with pytest.raises(CheckpointError, match="cannot be downloaded"):
        download(card(url), transfer=FAST)
    with pytest.raises(CheckpointError, match="only http and https"):
        download(card(f"file://{tmp_path}/secret"), transfer=FAST)


def test_no_connection_is_an_error_in_words():
    with pytest.raises(CheckpointError, match="refused"):
        download(card("http://127.0.0.1:9/weights.pth"), transfer=FAST)


def test_without_a_network_nobody_waits_and_each_server_is_named_once(monkeypatch, caplog):
    asked = []

    def nowhere(host, *_args, **_kwargs):
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    links = ("https://a.example/1.pth", "https://a.example/2.pth", "https://b.example/3.pth")
    with pytest.raises(CheckpointError, match=r"a\.example and b\.example cannot be") as caught:
        download(card(*links), transfer=Transfer(backoff=60.0, progress=False))
    assert asked == ["a.example", "b.example"]
    assert "or one of 2 other links in `internvideo models show a-model`" in str(caught.value)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_network_that_goes_away_in_the_middle_is_waited_for(server, monkeypatch):
    url = server.add("/weights.pth", BODY, cut_after=700_000, cuts=1)
    original, tried = urllib.request.urlopen, []

    def opened(request, **options):
        tried.append(request)
        if len(tried) == 2:
            raise urllib.error.URLError(socket.gaierror(socket.EAI_AGAIN, "try again"))
        return original(request, **options)

    monkeypatch.setattr(urllib.request, "urlopen", opened)
    path = download(card(url, sha256=SHA, size=len(BODY)), transfer=FAST)
    assert checksum(path) == SHA
    assert len(tried) == 3


def test_a_disk_without_space_is_noticed_before_anything_is_written(server, monkeypatch):
    monkeypatch.setattr(
        downloading.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})
    )
    with pytest.raises(CheckpointError, match=r"no space in .* INTERNVIDEO_CACHE"):
        download(card(server.add("/weights.pth", BODY)), transfer=FAST)


def test_a_disk_that_fills_up_while_writing_keeps_the_part(server, monkeypatch):
    one = card(server.add("/weights.pth", BODY))
    original = Path.open

    class Full:
        def __init__(self, handle):
            self.handle = handle

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.handle.close()

        def __getattr__(self, name):
            return getattr(self.handle, name)

        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    def opened(path, mode="r", *args, **kwargs):
        handle = original(path, mode, *args, **kwargs)
        return Full(handle) if path.suffix == ".part" and mode == "wb" else handle

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(CheckpointError, match=r"no space left while writing .*resumes"):
        download(one, transfer=FAST)
    assert not cached_path(one).exists()


def test_a_cache_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("INTERNVIDEO_CACHE", str(tmp_path / "file"))
    with pytest.raises(CheckpointError, match="set INTERNVIDEO_CACHE"):
        download(card("http://127.0.0.1:9/x"), transfer=FAST)


def test_two_processes_ask_once(server, tmp_path):
    url = server.add("/weights.pth", BODY)
    program = f"""
import sys
from pathlib import Path
from internvideo.zoo.card import Card, Source
from internvideo.zoo.download import Transfer, download
one = Card(name="a-model", family="T", status="planned", description="", file_name="weights.pth",
           sources=(Source(url={url!r}, status="live"),))
print("ready", flush=True)
sys.stdin.readline()
path = download(one, transfer=Transfer(progress=False))
print(path.stat().st_size)
"""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "INTERNVIDEO_CACHE": str(tmp_path / "shared")},
        )
        for _ in range(2)
    ]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    sizes = [worker.communicate(timeout=60)[0].strip() for worker in workers]
    assert sizes == [str(len(BODY))] * 2
    assert len(server.requests) == 1


def test_the_progress_bar_shows_the_file(server, capfd):
    download(card(server.add("/weights.pth", BODY)), transfer=Transfer(progress=True))
    shown = capfd.readouterr().err
    assert "a-model: licence MIT" in shown
    assert "weights.pth" in shown


def test_downloading_needs_no_torch():
    code = "import sys, internvideo.zoo.download; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


@pytest.mark.parametrize("damaged", [b"", b"{", b"\xff\n\n", b"two\nlines"])
def test_the_version_of_a_part_may_be_damaged(server, damaged):
    url = server.add("/weights.pth", BODY, cut_after=500_000, cuts=1)
    with pytest.raises(CheckpointError):
        download(card(url), transfer=Transfer(attempts=1, progress=False))
    (note,) = cached_path(card(url)).parent.glob("*.part.version")
    assert note.read_text() == '"v1"'
    note.write_bytes(damaged)
    assert download(card(url), transfer=FAST).read_bytes() == BODY
