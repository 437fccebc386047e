"""Lists of JSON records in a file, one a line, that outlive a kill and a full disk."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["read_records", "record_line", "replace_records"]


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file; a last line cut off by a kill is ignored."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def replace_records(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write other records in place of those of a file; a reader sees the old or the new ones."""
    draft = path.with_name(f".{path.name}.part")
    try:
        draft.write_text("".join(map(record_line, records)), encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def record_line(record: dict[str, Any]) -> str:
    """Return a record as a line of a file."""
    return json.dumps(record, ensure_ascii=False) + "\n"
