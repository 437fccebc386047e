"""Work on many videos spread over the machines of a Ray cluster.

    items ──► blocks ──► workers, each of which loads the model once ──► what it makes of each item

The cluster is the one at `RAY_ADDRESS`, or else this machine. Its nodes need this package, and must
reach the videos and the model under the same names.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch

from internvideo.errors import require

__all__ = ["over_cluster"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_BLOCK = 4  # items that a worker gets together


def over_cluster(
    items: Sequence[Item],
    prepare: Callable[[], Callable[[list[Item]], Iterable[Result]]],
    *,
    workers: int | None = None,
) -> Iterator[Result]:
    """Yield what the workers make of all items, in any order, as soon as it is made.

    Args:
        items: such as paths of videos; they and the results are pickled.
        prepare: loads what a worker needs, once in each; pickled, so a `functools.partial` of a
            function of a module.
        workers: how many run at once, at most; None is one a GPU, or one a core where there are
            none.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    ray, data = require("ray", extra="ray"), require("ray.data", extra="ray")
    if not items:
        return
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False, logging_level="error")
    data.DataContext.get_current().enable_progress_bars = False
    has = ray.cluster_resources()
    gpus, blocks = int(has.get("GPU", 0)), -(-len(items) // _BLOCK)
    most = min(workers or gpus or int(has["CPU"]), blocks)
    rows = [{"item": pickle.dumps(item)} for item in items]
    made = data.from_items(rows, override_num_blocks=blocks).map_batches(
        _Worker,
        fn_constructor_args=(prepare,),
        batch_size=_BLOCK,
        compute=data.ActorPoolStrategy(min_size=1, max_size=most),
        num_cpus=1,
        num_gpus=1 if gpus else None,
    )
    for row in made.iter_rows():
        yield pickle.loads(row["result"])


class _Worker:
    """Works on a node of the cluster."""

    def __init__(self, prepare: Callable[[], Any]) -> None:
        torch.set_num_threads(1)
        self._work = prepare()

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[dict[str, list[bytes]]]:
        """Yield what is made of a batch of rows, one by one."""
        for result in self._work([pickle.loads(item) for item in batch["item"]]):
            yield {"result": [pickle.dumps(result)]}
