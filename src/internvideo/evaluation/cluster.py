"""Work on many videos spread over the machines of a Ray cluster.

    items ──► blocks ──► workers, each of which loads the model once ──► a record for each item

Without a cluster, Ray starts one on this machine. The workers must see the same files: a shared
disk, or addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from internvideo.errors import ConfigError

__all__ = ["over_cluster"]

Work = Callable[[list[str]], list[dict[str, Any]]]
"""From some items to a record of plain values for each."""


def over_cluster(
    items: Sequence[str], prepare: Callable[[], Work], *, workers: int, block: int = 4
) -> Iterator[dict[str, Any]]:
    """Yield the record of each item, in any order.

    Args:
        items: such as paths of videos.
        prepare: loads what a worker needs, once in each; pickled, so a `functools.partial` of a
            function of a module.
        workers: how many run at once.
        block: items that a worker gets together.

    Raises:
        ConfigError: Ray is not installed.
    """
    try:
        from ray import data as ray_data
    except ImportError:
        raise ConfigError(
            "Ray is not installed; pip install 'internvideo[ray]', or use the local engine"
        ) from None

    class Worker:
        def __init__(self) -> None:
            self.work = prepare()

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            records = self.work([str(item) for item in batch["item"]])
            return {key: [record[key] for record in records] for key in records[0]}

    library: Any = ray_data  # whose types are partly unknown
    blocks = max(-(-len(items) // block), 1)
    data = library.from_items([{"item": item} for item in items], override_num_blocks=blocks)
    yield from data.map_batches(Worker, batch_size=block, concurrency=workers).iter_rows()
