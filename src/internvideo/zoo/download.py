"""Fetch a weight file once, and be sure that it is whole.

The order of places: a copy that the cache already has, the mirror (`INTERNVIDEO_MIRROR`), then the
links of the card, live ones first. A transfer that breaks is resumed from its `.part` file as long
as the server still has that version (`If-Range`, which the download libraries do not ask); the
finished file is checked (length, checksum when the card knows it, not a web page) and renamed into
place, so that a file under its final name is always complete. A lock lets two processes ask for the
same file.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import quote, urlsplit

from internvideo.errors import CheckpointError
from internvideo.zoo import environment
from internvideo.zoo.card import Card, Source
from internvideo.zoo.registry import is_unique_file_name

__all__ = ["Transfer", "cached_path", "checksum", "download", "local_copy"]

_LOG = logging.getLogger(__name__)
_CHUNK = 1 << 20
_PAGE_TYPES = ("text/html", "application/xhtml+xml")
_PAGE_STARTS = (b"<!doctype html", b"<html", b"<?xml", b"<head", b"<body")
_DENIED = "the file is gated; accept its terms in a browser and log in with `hf auth login`"


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

    @property
    def is_shown(self) -> bool:
        """Whether a person sees the progress."""
        return sys.stderr.isatty() if self.progress is None else self.progress


class _SourceError(Exception):
    """One link did not deliver; the next one may."""


class _BrokenTransferError(_SourceError):
    """The connection broke; the same link may deliver when asked again."""


class _UnknownHostError(_BrokenTransferError):
    """The name of the server leads nowhere: most often there is no network at all."""


def cached_path(card: Card) -> Path:
    """Return where the file of a card is kept, whether it is there or not."""
    return environment.cache_directory() / "checkpoints" / card.name / _file_name(card)


def local_copy(card: Card) -> Path | None:
    """Return the file of a card in the cache, or in a mirror that is a folder; None without it."""
    target = cached_path(card)
    return target if target.is_file() else _from_local_mirror(card)


def download(card: Card, *, transfer: Transfer | None = None) -> Path:
    """Return the local path of the card's weight file, fetching it when it is not there yet.

    Args:
        card: which file.
        transfer: patience and progress bar.

    Raises:
        CheckpointError: no place delivers the file; the message says where to get it by hand and
            where to put it.
    """
    transfer = transfer or Transfer()
    target = cached_path(card)
    if (found := local_copy(card)) is not None:
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
                return _fetch(source, target, transfer)
            except _UnknownHostError:
                unknown[host] = None
            except _SourceError as reason:
                reasons.append(f"{_shown(source.url)}: {reason}")
                _LOG.warning("%s: %s: %s", card.name, _shown(source.url), reason)
    if unknown:
        reasons.append(f"{' and '.join(unknown)} cannot be found (is there a network?)")
    why = f": {'; '.join(reasons)}" if reasons else ""
    raise CheckpointError(f"{card.name}: cannot be downloaded{why}. {_by_hand(card, target)}")


def checksum(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _fetch(source: Source, target: Path, transfer: Transfer) -> Path:
    """Fetch one link to `target`, resuming what an earlier call left behind."""
    tag = hashlib.sha256(source.url.encode()).hexdigest()[:10]
    part = target.with_name(f"{target.name}.{tag}.part")
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
            if error.errno == errno.ENOSPC:
                raise CheckpointError(
                    f"no space left while writing {part}; free some and run again, the download"
                    " resumes. INTERNVIDEO_CACHE names another folder."
                ) from error
            raise CheckpointError(f"cannot write {part}: {error.strerror or error}") from error
    try:
        _check(source, part)
    except _SourceError:
        _forget(part)
        raise
    part.replace(target)
    _forget(part)
    return target


def _transfer(source: Source, part: Path, transfer: Transfer) -> None:
    """Append to `part` until the file is complete."""
    version = ""
    if part.is_file() and _version(part).is_file():
        version = " ".join(_version(part).read_text(encoding="latin-1").split())
    # Without a version the rest may belong to another file.
    have = part.stat().st_size if version else 0
    request = _request(source.url)
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", version)
    with _open(request, part, transfer) as response:
        if response.status != 206:
            have = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise _BrokenTransferError(f"the answer does not begin at byte {have}, as asked")
        if response.headers.get_content_type() in _PAGE_TYPES:
            raise _SourceError("the server answered with a web page instead of the file")
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdigit() else None
        _refuse_full_disk(part, 0 if total is None else total - have)
        etag = response.headers.get("ETag", "W/")
        version = response.headers.get("Last-Modified", "") if etag.startswith("W/") else etag
        _version(part).write_text(version, encoding="latin-1")
        with part.open("r+b" if have else "wb") as handle, _bar(part, total, transfer) as advance:
            handle.seek(have)
            handle.truncate()
            advance(have)
            while block := _read(response):
                handle.write(block)
                have += len(block)
                advance(len(block))
    if total is not None and have != total:
        raise _BrokenTransferError(f"connection closed after {have} of {total} bytes")


def _address(url: str) -> str:
    """Return where a link is fetched from: `HF_ENDPOINT` stands in for the hub."""
    if url.startswith(f"{environment.HUB}/"):
        return environment.hub_endpoint() + url.removeprefix(environment.HUB)
    return url


def _request(url: str) -> urllib.request.Request:
    parts = urlsplit(_address(url))
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


def _open(request: urllib.request.Request, part: Path, transfer: Transfer) -> HTTPResponse:
    try:
        return urllib.request.urlopen(request, timeout=transfer.timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and request.has_header("Range"):
            _forget(part)
            raise _BrokenTransferError("the file changed on the server") from error
        if error.code in (401, 403):
            raise _SourceError(f"access denied ({error.code}): {_DENIED}") from error
        if error.code in (404, 410):
            raise _SourceError(f"the file is not there any more ({error.code})") from error
        failure = _BrokenTransferError if error.code >= 500 else _SourceError
        raise failure(f"the server answered {error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:  # URLError is an OSError
        reason = getattr(error, "reason", None) or error
        failure = _UnknownHostError if isinstance(reason, socket.gaierror) else _BrokenTransferError
        raise failure(str(reason)) from error


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read(_CHUNK)
    except (OSError, HTTPException) as error:
        raise _BrokenTransferError(str(error) or type(error).__name__) from error


def _refuse_full_disk(part: Path, need: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if need > free:
        raise CheckpointError(
            f"no space in {part.parent}: {need / 1e9:.2f} GB needed, {free / 1e9:.2f} GB free."
            " Set INTERNVIDEO_CACHE to a folder with more space."
        )


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


def _version(part: Path) -> Path:
    """Return the note beside a part: to which version (ETag, or date) of the file it belongs."""
    return part.with_name(f"{part.name}.version")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _version(part).unlink(missing_ok=True)


def _file_name(card: Card) -> str:
    if card.file_name is not None:
        return card.file_name
    return card.files[0].file_name if card.files else f"{card.name}.pth"


def _mirror_names(card: Card) -> list[str]:
    """Return the relative paths under which a mirror may keep the file of a card."""
    name = _file_name(card)
    others = dict.fromkeys([name, *(source.file_name for source in card.files)])
    unique = [each for each in others if is_unique_file_name(each)]
    return [f"{card.name}/{name}", f"{card.name}{Path(name).suffix}", *unique]


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
    if mirror is None or "://" not in mirror:
        return list(card.files)
    known = {source.file_name: source for source in card.files}
    mirrored = []
    for name in _mirror_names(card):
        twin = known.get(name.rpartition("/")[2])
        sha256, size = (twin.sha256, twin.size) if twin else (None, None)
        url = f"{mirror.rstrip('/')}/{name}"
        mirrored.append(Source(url=url, status="unchecked", sha256=sha256, size=size))
    return [*mirrored, *card.files]


def _by_hand(card: Card, target: Path) -> str:
    """Say where a person can get the file and where the library will find it."""
    links = [source.url for source in card.sources if source.status != "gone"]
    more = len(links) - 1
    others = "another link" if more == 1 else f"one of {more} other links"
    where = "No public link is known; get it"
    if links:
        see = f", or {others} in `internvideo models show {card.name}`" if more else ""
        where = f"Get it by hand ({links[0]}{see})"
    return f"{where} and put it at {target}, or give the path of the file in place of the name."


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
    with FileLock(target.with_name(f"{target.name}.lock")):
        yield


def _announce(card: Card, transfer: Transfer) -> None:
    """Tell the licence before anything is fetched."""
    message = f"{card.name}: licence {card.licence or 'not stated'}"
    if transfer.is_shown:
        from rich.console import Console

        Console(stderr=True).print(message, markup=False)
    _LOG.info(message)


@contextmanager
def _bar(part: Path, total: int | None, transfer: Transfer) -> Iterator[Callable[[int], object]]:
    """Yield a function that takes the number of bytes that came in."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    shown = Progress(
        *columns, TimeRemainingColumn(), console=console, disable=not transfer.is_shown
    )
    with shown as bar:
        task = bar.add_task(part.name.rsplit(".", 2)[0], total=total)
        yield lambda count: bar.advance(task, count)
