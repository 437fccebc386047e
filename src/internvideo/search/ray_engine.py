"""Embedding on a cluster: Ray Data hands the files to actors, each with a model of its own."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import torch

from internvideo.errors import ConfigError, require
from internvideo.pipeline import load
from internvideo.search.embedding import EmbeddedVideo, embed_files
from internvideo.search.records import Manifest, VideoFile
from internvideo.zoo.hub import weights_sha256

__all__ = ["embed_on_cluster"]

_FILES_TOGETHER = 4


def embed_on_cluster(
    manifest: Manifest, files: Iterable[VideoFile], *, workers: int | None = None
) -> Iterator[EmbeddedVideo]:
    """Yield each video with its vectors, computed by the actors of a Ray cluster.

    The cluster is the one at `RAY_ADDRESS`, or else this machine. Its nodes need this package, and
    must reach the videos and the model under the same names.

    Args:
        manifest: names the model and says where to cut.
        files: all of them are handed to Ray at once.
        workers: actors, at most; None is one a GPU, or one a core where there are none.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    ray, data = require("ray", extra="ray"), require("ray.data", extra="ray")
    rows = [asdict(file) for file in files]
    if not rows:
        return
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False, logging_level="error")
    data.DataContext.get_current().enable_progress_bars = False
    has = ray.cluster_resources()
    gpus = int(has.get("GPU", 0))
    blocks = -(-len(rows) // _FILES_TOGETHER)
    most = min(workers or gpus or int(has["CPU"]), blocks)
    embedded = data.from_items(rows, override_num_blocks=blocks).map_batches(
        _Worker,
        fn_constructor_args=(manifest.to_json(),),
        batch_size=_FILES_TOGETHER,
        compute=data.ActorPoolStrategy(min_size=1, max_size=most),
        num_cpus=1,
        num_gpus=1 if gpus else None,
    )
    for row in embedded.iter_rows():
        yield pickle.loads(row["video"])


class _Worker:
    """Embeds files on a node of the cluster."""

    def __init__(self, manifest: str) -> None:
        torch.set_num_threads(1)
        self._manifest = Manifest.from_json(manifest, source="the library")
        model = load(self._manifest.model).loaded
        self._model = model.with_record(preprocessing=self._manifest.preprocessing)
        if weights_sha256(model.model) != self._manifest.weights:
            raise ConfigError(f"{self._manifest.model} has other weights on this node")

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[dict[str, list[bytes]]]:
        """Yield each video of a batch of rows, pickled."""
        columns = {name: column.tolist() for name, column in batch.items()}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        files = [VideoFile(**row) for row in rows]
        for video in embed_files(self._model, files, self._manifest.cut, num_workers=1):
            yield {"video": [pickle.dumps(video)]}
