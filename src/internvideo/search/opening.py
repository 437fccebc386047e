"""Which store an address names."""

from __future__ import annotations

from internvideo.search.lancedb_store import LanceStore
from internvideo.search.milvus_store import MilvusStore
from internvideo.search.records import Manifest
from internvideo.search.store import Store

__all__ = ["create_store", "open_store"]


def open_store(uri: str) -> Store | None:
    """Open the store at an address; None where there is none.

    Args:
        uri: a folder, or an address in an object store (`s3://…`), for LanceDB; `http://…` or
            `https://…` of a Milvus server, with the name of the collection as its path.

    Raises:
        DataError: what is there was not written by this library, or cannot be reached.
        MissingExtraError: the package of the store is not installed.
    """
    return _kind(uri).open(uri)


def create_store(uri: str, manifest: Manifest) -> Store:
    """Make a store, or open the one that another process has made meanwhile; see `open_store`."""
    return _kind(uri).create(uri, manifest)


def _kind(uri: str) -> type[LanceStore] | type[MilvusStore]:
    return MilvusStore if uri.startswith(("http://", "https://")) else LanceStore
