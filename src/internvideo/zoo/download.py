"""Fetch a weight file once, and be sure that it is whole.

The order of places: a copy that the cache already has, the mirror (`INTERNVIDEO_MIRROR`), then the
links of the card, live ones first. A transfer that breaks is resumed from its `.part` file; the
finished file is checked (length, checksum when the card knows it, not a web page) and renamed into
place, so that a file under its final name is always complete. A lock lets two processes ask for the
same file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import quote, urlsplit

from internvideo.errors import CheckpointError
from internvideo.zoo import environment
from internvideo.zoo.card import Card, Source
from internvideo.zoo.registry import is_unique_file_name

__all__ = ["Transfer", "cached_path", "checksum", "download", "fetch"]

_LOG = logging.getLogger(__name__)
_CHUNK = 1 << 20
_NO_LINK = "No public link is known; get it"
_PAGE_STARTS = (b"<!doctype html", b"<html", b"<?xml", b"<head", b"<body")


@dataclass(frozen=True, kw_only=True, slots=True)
class Transfer:
    """How patient a download is.

    Attributes:
        attempts: tries a link, each resuming the one before, before the next link is tried.
        backoff: seconds to wait after the first failure; doubled each time.
        timeout: seconds without a byte before a connection counts as broken.
        progress: show a progress bar; None shows it on a terminal only.
    """

    attempts: int = 4
    backoff: float = 1.0
    timeout: float = 30.0
    progress: bool | None = None


class _SourceError(Exception):
    """One link did not deliver; the next one may."""


class _BrokenTransferError(_SourceError):
    """The connection broke; the same link may deliver when asked again."""


class _UnknownHostError(_BrokenTransferError):
    """The name of the server leads nowhere: most often there is no network at all."""


def cached_path(card: Card, *, cache: Path | None = None) -> Path:
    """Return where the file of a card is kept, whether it is there or not."""
    root = environment.cache_directory() if cache is None else cache
    return root / "checkpoints" / card.name / _file_name(card)


def download(card: Card, *, cache: Path | None = None, transfer: Transfer | None = None) -> Path:
    """Return the local path of the card's weight file, fetching it when it is not there yet.

    Args:
        card: which file.
        cache: folder instead of the one of `INTERNVIDEO_CACHE`.
        transfer: patience and progress bar.

    Raises:
        CheckpointError: no place delivers the file; the message says where to get it by hand and
            where to put it.
    """
    transfer = transfer or Transfer()
    target = cached_path(card, cache=cache)
    if target.is_file():
        return target
    if (found := _from_local_mirror(card)) is not None:
        return found
    if environment.is_offline():
        raise CheckpointError(
            f"{card.name}: not in the cache, and offline mode is on. {_by_hand(card, target)}"
        )
    with _locked(target):
        if target.is_file():
            return target
        _announce(card, transfer)
        reasons: list[str] = []
        unknown: dict[str, None] = {}  # servers that cannot be found, in their order
        for source in _candidates(card):
            host = urlsplit(_address(source.url)).netloc
            if host in unknown:
                continue
            try:
                return fetch(source, target, transfer=transfer)
            except _UnknownHostError:
                unknown[host] = None
            except _SourceError as reason:
                reasons.append(f"{_shown(source.url)}: {reason}")
                _LOG.warning("%s: %s: %s", card.name, _shown(source.url), reason)
    if unknown:
        reasons.append(f"{' and '.join(unknown)} cannot be found (is there a network?)")
    why = f": {'; '.join(reasons)}" if reasons else ""
    raise CheckpointError(f"{card.name}: cannot be downloaded{why}. {_by_hand(card, target)}")


def fetch(source: Source, target: Path, *, transfer: Transfer) -> Path:
    """Fetch one link to `target`, resuming what an earlier call left behind.

    Raises:
        CheckpointError: no space on the disk.
    """
    tag = hashlib.sha256(source.url.encode()).hexdigest()[:10]
    part = target.with_name(f"{target.name}.{tag}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, transfer.attempts + 1):
        try:
            _transfer(source, part, transfer)
            break
        except _BrokenTransferError as reason:
            never_seen = isinstance(reason, _UnknownHostError) and not part.is_file()
            if never_seen or attempt == transfer.attempts:
                raise
            _LOG.warning("%s: %s; trying again", _shown(source.url), reason)
            time.sleep(transfer.backoff * 2 ** (attempt - 1))
        except OSError as error:
            raise _disk_error(error, part) from error
    try:
        _check(source, part)
    except _SourceError:
        _forget(part)
        raise
    part.replace(target)
    _forget(part)
    return target


def checksum(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _transfer(source: Source, part: Path, transfer: Transfer) -> None:
    """Append to `part` until the file is complete."""
    have = part.stat().st_size if part.is_file() else 0
    version = _read_version(part) if have else None
    have = have if version else 0  # without it the rest may belong to another version of the file
    request = _request(source.url)
    if version:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", version)
    with _open(request, part, transfer) as response:
        start, total = _span(response, have)
        _refuse_pages(response)
        _refuse_full_disk(part, None if total is None else total - start)
        _write_version(part, response)
        received = _receive(response, part, start, total, transfer)
    if total is not None and received != total:
        raise _BrokenTransferError(f"connection closed after {received} of {total} bytes")


def _open(request: urllib.request.Request, part: Path, transfer: Transfer) -> HTTPResponse:
    try:
        return _OPENER.open(request, timeout=transfer.timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and request.has_header("Range"):
            _forget(part)
            raise _BrokenTransferError("the file changed on the server") from error
        raise _http_failure(error) from error
    except (OSError, HTTPException) as error:  # URLError is an OSError
        reason = getattr(error, "reason", None) or error
        failure = _UnknownHostError if isinstance(reason, socket.gaierror) else _BrokenTransferError
        raise failure(str(reason)) from error


def _receive(
    response: HTTPResponse, part: Path, start: int, total: int | None, transfer: Transfer
) -> int:
    """Write the body behind the first `start` bytes of `part`; return the bytes it then holds."""
    received = start
    with part.open("r+b" if start else "wb") as handle, _bar(part, total, transfer) as advance:
        handle.seek(start)
        handle.truncate()
        advance(start)
        while True:
            try:
                block = response.read(_CHUNK)
            except (OSError, HTTPException) as error:
                raise _BrokenTransferError(str(error) or type(error).__name__) from error
            if not block:
                return received
            handle.write(block)
            received += len(block)
            advance(len(block))


def _span(response: HTTPResponse, have: int) -> tuple[int, int | None]:
    """Return (first byte of this answer, bytes of the whole file if stated)."""
    length = response.headers.get("Content-Length")
    if response.status != 206:
        return 0, int(length) if length and length.isdigit() else None
    # "Content-Range: bytes 100-199/200"; the size may be "*"
    stated = response.headers.get("Content-Range", "").removeprefix("bytes ")
    first = stated.partition("-")[0]
    size = stated.rpartition("/")[2]
    if first != str(have):
        raise _BrokenTransferError(f"asked for the bytes from {have}, got {stated or 'no range'}")
    return have, int(size) if size.isdigit() else None


def _address(url: str) -> str:
    """Return where a link is fetched from: `HF_ENDPOINT` stands in for the hub."""
    if url.startswith(f"{environment.HUB}/"):
        return environment.hub_endpoint() + url.removeprefix(environment.HUB)
    return url


def _request(url: str) -> urllib.request.Request:
    url = _address(url)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise _SourceError(f"only http and https links are fetched, this is {parts.scheme!r}")
    url = parts._replace(path=quote(parts.path, safe="/%:+,@")).geturl()
    request = urllib.request.Request(url, headers={"User-Agent": "internvideo"})
    if url.startswith(f"{environment.hub_endpoint()}/") and (token := _hub_token()):
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    return request


def _hub_token() -> str | None:
    from huggingface_hub import get_token

    return get_token()


def _build_opener() -> urllib.request.OpenerDirector:
    """Build an opener for http and https alone: no redirect to file:, ftp: or data:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


_OPENER = _build_opener()


def _http_failure(error: urllib.error.HTTPError) -> _SourceError:
    if error.code in (401, 403):
        return _SourceError(
            f"access denied ({error.code}): the file is gated; accept its terms in a browser and"
            " log in with `hf auth login`"
        )
    if error.code in (404, 410):
        return _SourceError(f"the file is not there any more ({error.code})")
    message = f"the server answered {error.code} {error.reason}"
    return _BrokenTransferError(message) if error.code >= 500 else _SourceError(message)


def _refuse_pages(response: HTTPResponse) -> None:
    if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise _SourceError("the server answered with a web page instead of the file")


def _refuse_full_disk(part: Path, need: int | None) -> None:
    free = shutil.disk_usage(part.parent).free
    if need is not None and need > free:
        raise CheckpointError(
            f"no space in {part.parent}: {need / 1e9:.2f} GB needed, {free / 1e9:.2f} GB free."
            " Set INTERNVIDEO_CACHE to a folder with more space."
        )


def _disk_error(error: OSError, part: Path) -> CheckpointError:
    if error.errno == errno.ENOSPC:
        return CheckpointError(
            f"no space left while writing {part}; free some and run again, the download resumes."
            " INTERNVIDEO_CACHE names another folder."
        )
    return CheckpointError(f"cannot write {part}: {error.strerror or error}")


def _check(source: Source, part: Path) -> None:
    """Refuse a complete answer that is not the file."""
    with part.open("rb") as handle:
        head = handle.read(512).lstrip().lower()
    if not head:
        raise _SourceError("the server answered with an empty file")
    if head.startswith(_PAGE_STARTS):
        raise _SourceError("the server answered with a web page instead of the file")
    size = part.stat().st_size
    if source.size is not None and size != source.size:
        raise _SourceError(f"{size} bytes, expected {source.size}")
    if source.sha256 is not None and (actual := checksum(part)) != source.sha256:
        raise _SourceError(f"sha256 is {actual}, expected {source.sha256}")


# Beside the part file lies a note: which version of the remote file it belongs to.


def _marker(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_version(part: Path) -> str | None:
    try:
        return json.loads(_marker(part).read_text(encoding="utf-8"))["version"]
    except (OSError, ValueError, KeyError):
        return None


def _write_version(part: Path, response: HTTPResponse) -> None:
    """Keep the validator of the remote file; without one a broken transfer starts from zero."""
    etag = response.headers.get("ETag", "")
    version = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")
    _marker(part).write_text(json.dumps({"version": version}), encoding="utf-8")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _marker(part).unlink(missing_ok=True)


def _file_name(card: Card) -> str:
    if card.file_name is not None:
        return card.file_name
    if card.files:
        return card.files[0].file_name
    return f"{card.name}.pth"


def _mirror_names(card: Card) -> list[str]:
    """Return the relative paths under which a mirror may keep the file of a card."""
    name = _file_name(card)
    names = [f"{card.name}/{name}", f"{card.name}{Path(name).suffix}"]
    for each in dict.fromkeys([name, *(source.file_name for source in card.files)]):
        if is_unique_file_name(each):
            names.append(each)
    return names


def _from_local_mirror(card: Card) -> Path | None:
    mirror = environment.mirror()
    if mirror is None or "://" in mirror:
        return None
    folder = Path(mirror).expanduser()
    if not folder.is_dir():
        raise CheckpointError(f"INTERNVIDEO_MIRROR={mirror}: neither a URL nor a folder")
    return next((folder / name for name in _mirror_names(card) if (folder / name).is_file()), None)


def _candidates(card: Card) -> list[Source]:
    """Return what to try, in order: the mirror's names, then the links of the card."""
    mirror = environment.mirror()
    mirrored = []
    if mirror is not None and "://" in mirror:
        known = {source.file_name: source for source in card.files}
        for name in _mirror_names(card):
            twin = known.get(name.rpartition("/")[2])
            mirrored.append(
                Source(
                    url=f"{mirror.rstrip('/')}/{name}",
                    status="unchecked",
                    sha256=twin.sha256 if twin else None,
                    size=twin.size if twin else None,
                )
            )
    return mirrored + list(card.files)


def _by_hand(card: Card, target: Path) -> str:
    """Say where a person can get the file and where the library will find it."""
    places = [source.url for source in card.sources if source.status != "gone"]
    where = f"Get it by hand ({places[0]}{_others(card, places)})" if places else _NO_LINK
    return f"{where} and put it at {target}, or give the path of the file in place of the name."


def _others(card: Card, places: list[str]) -> str:
    more = len(places) - 1
    links = "another link" if more == 1 else f"one of {more} other links"
    return f", or {links} in `internvideo models show {card.name}`" if more else ""


def _shown(url: str) -> str:
    """Return a link without its query, which may carry a secret."""
    return urlsplit(url)._replace(query="", fragment="").geturl()


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    from filelock import FileLock

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"cannot create {target.parent}: {error.strerror}; set INTERNVIDEO_CACHE to a folder"
            " that can be written"
        ) from error
    with FileLock(target.with_name(target.name + ".lock")):
        yield


def _is_shown(transfer: Transfer) -> bool:
    return sys.stderr.isatty() if transfer.progress is None else transfer.progress


def _announce(card: Card, transfer: Transfer) -> None:
    """Tell the licence before anything is fetched."""
    message = f"{card.name}: licence {card.licence or 'not stated'}"
    if _is_shown(transfer):
        from rich.console import Console

        Console(stderr=True).print(message, markup=False)
    _LOG.info(message)


@contextmanager
def _bar(part: Path, total: int | None, transfer: Transfer):
    """Yield a function that takes the number of bytes that came in."""
    if not _is_shown(transfer):
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(part.name.rsplit(".", 2)[0], total=total)
        yield lambda count: bar.advance(task, count)
