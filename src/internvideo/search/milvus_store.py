"""A library in a collection of a Milvus server.

Milvus has no commit of many rows. The first part of a video is therefore written last, when all
others are there, and a video without it counts as not indexed; what a stopped indexer leaves is
overwritten by the next, because the keys of the parts of a video are always the same.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from jaxtyping import Float

from internvideo.errors import DataError, require
from internvideo.search.records import IndexedVideo, Manifest, Part, VideoFile
from internvideo.search.store import Filter, Found, Status, quoted
from internvideo.zoo.environment import milvus_token

__all__ = ["MilvusStore"]

_DEFAULT_COLLECTION = "internvideo"
_MANIFEST = "manifest"  # id of the row that holds it
_TEXT = 65_535  # bytes, the longest that Milvus takes
_QUOTE = '"'  # around texts in conditions
_PATIENCE = 30.0  # seconds
_ATTEMPTS, _PAUSE = 50, 0.2  # to make a collection while another process does
_YOUNG = 25  # attempts to read what a collection is
_SENT = 256  # rows together
_TEXTS = {"path": 4096, "digest": 64, "incomplete": 4096, "thumbnail": _TEXT}
_COUNTS = ("size", "number", "num_parts", "first_frame", "num_frames", "height", "width")
_NUMBERS = ("modified", "start", "end", "length", "fps", "duration")


class MilvusStore:
    """The store of a collection of a Milvus server; see `store.Store`."""

    def __init__(self, client: Any, collection: str, manifest: Manifest) -> None:
        self._client = client
        self._collection = collection
        self.manifest = manifest

    @classmethod
    def open(cls, uri: str) -> MilvusStore | None:
        """Open the library at `http://host:port/collection`; None where there is none."""
        client, collection = _connect(uri)
        with _reachable(uri):
            if not client.has_collection(collection):
                return None
            fields = {field["name"] for field in client.describe_collection(collection)["fields"]}
            rows: Sequence[Mapping[str, Any]] = []
            for _ in range(_YOUNG if fields >= {"incomplete", "num_parts"} else 0):
                rows = client.query(
                    collection, filter=f'id == "{_MANIFEST}"', output_fields=["incomplete"]
                )
                if rows:
                    break
                time.sleep(_PAUSE)  # another process may be making it just now
        text = rows[0]["incomplete"] if rows else None
        return cls(client, collection, Manifest.from_json(text, source=uri))

    @classmethod
    def create(cls, uri: str, manifest: Manifest) -> MilvusStore:
        """Make a library, or open the one that another process is making."""
        from pymilvus.exceptions import MilvusException

        client, collection = _connect(uri)
        problem: Exception | None = None
        for _ in range(_ATTEMPTS):
            try:
                if not client.has_collection(collection):
                    _create_collection(client, collection, manifest)
                if (opened := cls.open(uri)) is not None:
                    return opened
            except (MilvusException, DataError) as error:
                problem = error
            time.sleep(_PAUSE)
        raise DataError(f"{uri} cannot be made: {problem}") from problem

    def add(self, parts: Sequence[Part]) -> None:
        """Keep all parts of some videos; each video counts when the last of its rows is there."""
        counts = {part.file.path: part.num_parts for part in parts}
        self._upsert([_to_milvus(part.to_row()) for part in parts if part.number])
        for path, count in counts.items():
            self._delete(f"path == {quoted(path, _QUOTE)} and number >= {count}")
        self._upsert([_to_milvus(part.to_row()) for part in parts if not part.number])

    def delete(self, paths: Sequence[str]) -> None:
        """Forget videos."""
        for path in paths:
            self._delete(f"path == {quoted(path, _QUOTE)}")

    def search(self, vector: Float[np.ndarray, " d"], limit: int, wanted: Filter) -> list[Found]:
        """Return the parts whose vectors have the largest cosines, best first."""
        conditions = ["number >= 0", *filter(None, [wanted.condition(_QUOTE)])]
        [hits] = self._client.search(
            self._collection,
            data=[vector.astype(np.float32).tolist()],
            limit=limit,
            filter=" and ".join(conditions),
            output_fields=[*_TEXTS, *_COUNTS, *_NUMBERS, "vector"],
            search_params={"metric_type": "COSINE"},
        )
        return [Found(Part.from_row(_from_milvus(hit["entity"])), hit["distance"]) for hit in hits]

    def status(self) -> Status:
        """Return what there is; the bytes are those of the vectors alone."""
        [counted] = self._client.query(
            self._collection, filter="number >= 0", output_fields=["count(*)"]
        )
        num_parts = int(counted["count(*)"])
        return Status(
            videos=[IndexedVideo.from_row(row) for row in self._first_rows()],
            num_parts=num_parts,
            num_bytes=4 * self.manifest.dimension * num_parts,
            vector_index="as the Milvus server chooses",
        )

    def compact(self, *, only_if_due: bool = False) -> None:
        """Ask the server to merge its files; it indexes by itself."""
        if not only_if_due:
            self._client.compact(self._collection)

    def _first_rows(self) -> Iterator[Mapping[str, Any]]:
        rows = self._client.query_iterator(
            self._collection,
            filter="number == 0",
            output_fields=[*VideoFile.__slots__, "num_parts", "duration", "incomplete"],
        )
        try:
            while some := rows.next():
                yield from some
        finally:
            rows.close()

    def _upsert(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for start in range(0, len(rows), _SENT):
            self._client.upsert(self._collection, rows[start : start + _SENT])

    def _delete(self, condition: str) -> None:
        self._client.delete(self._collection, filter=condition)


def _connect(uri: str) -> tuple[Any, str]:
    """Return the client of a server and the name of the collection."""
    pymilvus = require("pymilvus", extra="milvus")
    parts = urlsplit(uri)
    collection = parts.path.strip("/") or _DEFAULT_COLLECTION
    with _reachable(uri):
        client = pymilvus.MilvusClient(
            uri=f"{parts.scheme}://{parts.netloc}", token=milvus_token(), timeout=_PATIENCE
        )
    return client, collection


@contextmanager
def _reachable(uri: str) -> Iterator[None]:
    """Turn what the client raises into one line."""
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except MilvusException as error:
        raise DataError(f"{uri} cannot be used: {error.message}") from error


def _create_collection(client: Any, collection: str, manifest: Manifest) -> None:
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=64)
    for name, length in _TEXTS.items():
        schema.add_field(name, DataType.VARCHAR, max_length=length)
    for name in _COUNTS:
        schema.add_field(name, DataType.INT64)
    for name in _NUMBERS:
        schema.add_field(name, DataType.DOUBLE)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=manifest.dimension)
    index = client.prepare_index_params()
    index.add_index(field_name="vector", index_type="AUTOINDEX", metric_type="COSINE")
    client.create_collection(
        collection, schema=schema, index_params=index, consistency_level="Strong"
    )
    row: dict[str, Any] = dict.fromkeys(_TEXTS, "") | dict.fromkeys(_COUNTS, -1)
    row |= dict.fromkeys(_NUMBERS, 0.0)
    row |= {"id": _MANIFEST, "incomplete": manifest.to_json()}
    client.upsert(collection, [row | {"vector": [1.0, *[0.0] * (manifest.dimension - 1)]}])


def _to_milvus(row: Mapping[str, Any]) -> dict[str, Any]:
    texts = {
        "thumbnail": base64.b64encode(row["thumbnail"]).decode("ascii"),
        "incomplete": row["incomplete"][: _TEXTS["incomplete"] // 4],
    }
    return {**row, **texts, "vector": row["vector"].tolist()}


def _from_milvus(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "thumbnail": base64.b64decode(row["thumbnail"])}
