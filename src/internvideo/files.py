"""Files that are whole or not there, JSON lines that outlive a kill, and checksums."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = [
    "JsonLinesWriter",
    "json_text",
    "read_json_lines",
    "replace_json_lines",
    "replacing",
    "sha256_of",
    "write_whole",
]

_HASH_BLOCK = 1 << 20


@contextmanager
def replacing(path: Path, *, exclusive: bool = False, keep_ending: bool = False) -> Iterator[Path]:
    """Yield the path of a draft, which takes the place of `path` at the end of the block.

    A reader sees the old file or the new one. Where the block raises, the draft is deleted and the
    old file stays. The draft lies beside the file as a hidden `.part`, so that nobody who lists a
    folder by ending takes it for a finished one.

    Args:
        path: the file; its folder must exist.
        exclusive: no other process writes `path`, and the drafts of killed ones are deleted first.
        keep_ending: the draft has the ending of the file, by which some writers choose a format.
    """
    ending = f".part{path.suffix}" if keep_ending else ".part"
    if exclusive:
        for debris in path.parent.glob(f".{path.name}.*{ending}"):
            debris.unlink(missing_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}{ending}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file by way of a draft; a text is encoded as UTF-8, its line ends as they are."""
    with replacing(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


# ---------------------------------------------------------------- JSON lines


def json_text(value: Any) -> str:
    """Return JSON on one line; what cannot be encoded, in odd names of files, is escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode()


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the offset in bytes at which each record begins, and the record.

    Lines that are no JSON object, such as one that a kill cut off, are passed over. A file that
    does not exist has no records.
    """
    if not path.exists():
        return
    offset = 0
    with path.open("rb") as file:
        for line in file:
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if isinstance(record, dict):
                yield offset, record
            offset += len(line)


def replace_json_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write a file of records in place of another."""
    with replacing(path) as draft, draft.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{json_text(record)}\n" for record in records)


class JsonLinesWriter:
    """Appends records to a file; each is handed to the system before `append` returns.

    Args:
        path: the file; where it ends within a line that a kill cut off, this line is ended.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab+")
        if self._file.tell():
            self._file.seek(-1, os.SEEK_END)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")

    def append(self, record: dict[str, Any]) -> None:
        """Write a record."""
        self._file.write(f"{json_text(record)}\n".encode())
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> JsonLinesWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
