"""A library in LanceDB: a folder on this machine, or in an object store.

One table holds all rows; its metadata hold the manifest, so both appear at once. Every commit is a
new version of the table, made by writing one file that must not exist yet. `id` is declared the
primary key, so that LanceDB refuses a commit that adds a row which another process has added since
the table was read, and merges anew: two indexers never double a row.

Up to `INDEX_FROM` rows every search compares all vectors. Above that they are kept once more in one
byte a number (SQ), in √n groups (IVF). The bytes of the 1 000 nearest groups are looked at, which
are all of them up to a million rows, and the best are compared exactly. Fewer would do for a search
by example; but the vectors of sentences lie apart from those of videos, and their neighbours in
many groups: with 50 of 316, a sixth of what they should find is missed (`benchmarks/search.py`).
"""

from __future__ import annotations

import logging
import math
import os
import random
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from internvideo.errors import DataError, require
from internvideo.search.records import IndexedVideo, Manifest, Part, VideoFile
from internvideo.search.store import Filter, Found, Status, quoted
from internvideo.video.sources import is_url

__all__ = ["INDEX_FROM", "LanceStore"]

_T = TypeVar("_T")
_LOG = logging.getLogger(__name__)

INDEX_FROM = 20_000
_TABLE = "parts"
_PRIMARY_KEY = {b"lance-schema:unenforced-primary-key:position": b"1"}
_METADATA = b"internvideo"
_PROBED = 1_000  # groups
_REFINE = 5  # times as many rows as are wanted are compared exactly
_GROWTH = 2  # times as many rows as when the groups were made: make them anew
_SCATTERED = 32  # files
_KEPT_VERSIONS = timedelta(minutes=10)
_ATTEMPTS = 6


class LanceStore:
    """The store of a folder or of an address in an object store; see `store.Store`."""

    def __init__(self, table: Any, manifest: Manifest) -> None:
        self._table = table
        self.manifest = manifest

    @classmethod
    def open(cls, uri: str) -> LanceStore | None:
        """Open the library at an address; None where there is none."""
        if not is_url(uri) and not Path(uri).exists():  # LanceDB would make the folder
            return None
        try:
            database = _connect(uri)
            if _TABLE not in database.list_tables().tables:
                return None
            table = database.open_table(_TABLE)
        except (RuntimeError, OSError, ValueError) as error:
            raise DataError(f"{uri} cannot be opened: {_reason(error)}") from error
        metadata = table.schema.metadata or {}
        return cls(table, Manifest.from_json(metadata.get(_METADATA), source=uri))

    @classmethod
    def create(cls, uri: str, manifest: Manifest) -> LanceStore:
        """Make a library, or open the one that another process has made meanwhile."""
        try:
            table = _connect(uri).create_table(_TABLE, schema=_schema(manifest))
        except ValueError as error:
            if (opened := cls.open(uri)) is None:
                raise DataError(f"{uri} cannot be made: {_reason(error)}") from error
            return opened
        except (RuntimeError, OSError) as error:
            raise DataError(f"{uri} cannot be made: {_reason(error)}") from error
        return cls(table, manifest)

    def add(self, parts: Sequence[Part]) -> None:
        """Keep all parts of some videos, in one commit."""
        if not parts:
            return
        of_these = _among({part.file.path for part in parts})
        rows = _rows(parts, self._table.schema)

        def merge() -> None:
            merged = self._table.merge_insert("id")
            merged = merged.when_matched_update_all().when_not_matched_insert_all()
            if self._table.count_rows(of_these):  # a video that had more parts
                merged = merged.when_not_matched_by_source_delete(of_these)
            merged.execute(rows)

        _insistently(merge)

    def delete(self, paths: Sequence[str]) -> None:
        """Forget videos."""
        if paths:
            _insistently(lambda: self._table.delete(_among(paths)))

    def search(self, vector: Float[np.ndarray, " d"], limit: int, wanted: Filter) -> list[Found]:
        """Return the parts whose vectors have the largest cosines, best first."""
        query = self._table.search(vector.astype(np.float32), vector_column_name="vector")
        query = query.distance_type("cosine").limit(limit)
        query = query.select([*self._table.schema.names, "_distance"])
        if self._trained_on():
            query = query.nprobes(_PROBED).refine_factor(_REFINE)
        if condition := wanted.condition():
            query = query.where(condition).maximum_nprobes(0)  # all, where few are left
        rows = _insistently(query.to_arrow).to_pylist()
        return [Found(Part.from_row(row), 1.0 - row["_distance"]) for row in rows]

    def status(self) -> Status:
        """Return what there is."""
        rows = (
            self._table.search()
            .where("number = 0")
            .select([*VideoFile.__slots__, "num_parts", "duration", "incomplete"])
            .limit(self._table.count_rows() + 1)
            .to_arrow()
            .to_pylist()
        )
        return Status(
            videos=[IndexedVideo.from_row(row) for row in rows],
            num_parts=self._table.count_rows(),
            num_bytes=self._table.stats()["total_bytes"],
            vector_index=self._describe_index(),
        )

    def compact(self, *, only_if_due: bool = False) -> None:
        """Merge small files, drop old versions, and index the vectors where that pays.

        Those who read an old version at this moment read the new one instead, see `_insistently`.
        """
        count, trained_on = self._table.count_rows(), self._trained_on()
        must_train = count >= max(INDEX_FROM, _GROWTH * trained_on)
        if only_if_due and not must_train and not self._is_scattered():
            return
        try:
            kept = _KEPT_VERSIONS if only_if_due else timedelta(milliseconds=1)
            self._table.optimize(cleanup_older_than=kept)
            if must_train:
                self._train(count)
        except (RuntimeError, OSError) as error:
            if "conflict" not in str(error).lower():
                raise
            _LOG.info("another process is compacting the library")  # it will be done then

    def _is_scattered(self) -> bool:
        """Return whether merging pays: it copies all rows but those in files of a million."""
        fragments = self._table.stats()["fragment_stats"]
        largest = fragments["lengths"]["max"]
        new = self._table.count_rows() - largest
        return fragments["num_fragments"] >= _SCATTERED and new >= largest / 2

    def _train(self, count: int) -> None:
        from lancedb.index import BTree, IvfSq

        old = [index.name for index in self._table.list_indices() if "vector" in index.columns]
        self._table.create_index("id", config=BTree(), replace=True)
        groups = math.isqrt(count)
        config = IvfSq(distance_type="cosine", num_partitions=groups, sample_rate=64)
        self._table.create_index("vector", config=config, name=f"vector-{count}")
        for name in old:
            if name != f"vector-{count}":
                self._table.drop_index(name)

    def _trained_on(self) -> int:
        """Return how many rows there were when the groups of vectors were made; 0 without."""
        names = [index.name for index in self._table.list_indices() if "vector" in index.columns]
        return max((int(name.rpartition("-")[2]) for name in names), default=0)

    def _describe_index(self) -> str:
        trained_on = self._trained_on()
        if not trained_on:
            return "every vector is compared (exact)"
        statistics = self._table.index_stats(f"vector-{trained_on}")
        new = f", {statistics.num_unindexed_rows:,} new ones exactly" if statistics else ""
        return f"IVF-SQ, {math.isqrt(trained_on):,} groups{new}"


def _connect(uri: str) -> Any:
    lancedb = require("lancedb", extra="search")
    endpoint = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT") or ""
    options = {"allow_http": "true"} if endpoint.startswith("http://") else None
    return lancedb.connect(uri, read_consistency_interval=timedelta(0), storage_options=options)


def _insistently(work: Callable[[], _T]) -> _T:
    """Do something again, where files were tidied away, or a commit overtaken, by another process.

    What was done is not done twice: rows have keys.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return work()
        except (RuntimeError, OSError):
            if attempt + 1 == _ATTEMPTS:
                raise
            time.sleep(random.uniform(0.5, 1.5) * 2**attempt / 10)
    raise AssertionError("unreachable")


def _rows(parts: Sequence[Part], schema: Any) -> Any:
    """Return the parts as an Arrow table."""
    import pyarrow as pa

    rows = [part.to_row() for part in parts]
    columns: dict[str, Any] = {
        name: [row[name] for row in rows] for name in schema.names if name != "vector"
    }
    vectors = np.concatenate([part.vector for part in parts]).astype(np.float32)
    columns["vector"] = pa.FixedSizeListArray.from_arrays(
        pa.array(vectors), schema.field("vector").type.list_size
    )
    return pa.table(columns, schema=schema)


def _among(paths: Iterable[str]) -> str:
    return f"path IN ({', '.join(map(quoted, sorted(paths)))})"


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


def _schema(manifest: Manifest) -> Any:
    import pyarrow as pa

    texts, numbers, counts = pa.string(), pa.float64(), pa.int32()
    fields = [
        pa.field("id", texts, nullable=False, metadata=_PRIMARY_KEY),
        pa.field("path", texts),
        pa.field("size", pa.int64()),
        pa.field("modified", numbers),
        pa.field("digest", texts),
        pa.field("number", counts),
        pa.field("num_parts", counts),
        pa.field("start", numbers),
        pa.field("end", numbers),
        pa.field("length", numbers),
        pa.field("first_frame", pa.int64()),
        pa.field("num_frames", pa.int64()),
        pa.field("fps", numbers),
        pa.field("duration", numbers),
        pa.field("height", counts),
        pa.field("width", counts),
        pa.field("incomplete", texts),
        pa.field("thumbnail", pa.binary()),
        pa.field("vector", pa.list_(pa.float32(), manifest.dimension)),
    ]
    return pa.schema(fields, metadata={_METADATA: manifest.to_json()})
