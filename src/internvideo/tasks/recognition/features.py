"""The features of a frozen encoder, computed in one pass over the clips and kept on disk.

    features/evaluation.json          encoder, protocol and list that they belong to
    features/part-0-00003.safetensors   256 clips: features "n v …", label, index; failures

It is an evaluation whose answers are tensors. A part appears when it is complete; an interrupted
pass goes on with the clips that are in none.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from internvideo.data.samples import EvaluationSource
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.engine import Answerer, Batch, EvalLoop, evaluation_identity
from internvideo.evaluation.predictions import Answered, differing
from internvideo.files import replacing, write_whole
from internvideo.models.probe import ProbeClassifier
from internvideo.tasks.recognition.evaluate import center_view
from internvideo.tasks.recognition.probe import FeatureSample, ProbeRecognition
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo.hub import weights_sha256

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["FeatureSource", "cache_features", "cached_clips"]

_LOG = logging.getLogger(__name__)
_PART = 256
_MEMORY = 2 << 30  # bytes of features that are kept in memory; more are read clip by clip
_HEADER = "evaluation.json"


def cached_clips(
    task: ProbeRecognition,
    source: EvaluationSource,
    directory: Path,
    *,
    num_workers: int,
    fabric: Fabric,
) -> FeatureSource:
    """Return the clips of a training run, of which a probe sees the features only."""
    loop = EvalLoop(num_workers=num_workers, fabric=fabric, directory=directory / "features")
    return cache_features(task.model.to(fabric.device), source, task.preprocessing, loop)


def cache_features(
    model: ProbeClassifier,
    source: EvaluationSource,
    protocol: Preprocessing,
    loop: EvalLoop,
    *,
    views: Literal["all", "center"] = "center",
) -> FeatureSource:
    """Write the features of all clips, those that are not there yet, and return them as a source.

    Clips that cannot be read are left out, counted and told by a warning; see `failures`.

    Args:
        model: its encoder is applied; its kind of head decides whether tokens are kept or a mean.
        source: labelled videos.
        protocol: frames, clips and crops, resolution.
        loop: how the pass runs; its directory takes the features.
        views: the central one of each video, or all; of several, training draws one a visit.

    Raises:
        DataError: no clip can be read, or a label is not one of the classes.
        ConfigError: the directory holds features of another encoder, protocol or list.
    """
    assert loop.directory is not None
    source.check_labels(model.config.num_classes)
    protocol = center_view(protocol) if views == "center" else protocol
    encoder = _FrozenEncoder(model, protocol)
    store = _FeatureParts(loop.directory, evaluation_identity(encoder, source), source, loop.fabric)
    loop.run(encoder, source, store)
    return FeatureSource(loop.directory)


class _FrozenEncoder(Answerer[Tensor]):
    """Answers with the features in front of the head of a probe, float16."""

    network: ProbeClassifier

    def answer(self, batch: Batch) -> list[Float[Tensor, "v *n d"]]:
        return [rows.to(torch.float16) for _, rows in batch.each(self.network.features)]

    def identity(self) -> dict[str, Any]:
        return {
            "encoder": weights_sha256(self.network.encoder),
            "features": "mean" if self.network.pool is None else "tokens",
            "protocol": self.protocol.to_dict(),
        }


class _FeatureParts:
    """Keeps the features of an evaluation in files of some hundred clips."""

    def __init__(
        self,
        directory: Path,
        identity: dict[str, Any],
        source: EvaluationSource,
        fabric: Fabric | None,
    ) -> None:
        self.directory = directory
        self.source = source
        self.rank = fabric.global_rank if fabric else 0
        self.kept: dict[int, Answered[Tensor]] = {}
        self._rows: dict[int, Tensor] = {}
        self._failures: list[tuple[str, str]] = []
        self._claim(identity)
        self.finished = frozenset(
            index for path in _parts(directory) for index in _tensor(path, "index").tolist()
        )

    def _claim(self, identity: dict[str, Any]) -> None:
        """Note what the features belong to, or check that it is the same."""
        path = self.directory / _HEADER
        if not path.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(identity, indent=1) + "\n")
            return
        earlier = json.loads(path.read_text(encoding="utf-8"))
        if other := differing(earlier, identity):
            raise ConfigError(
                f"{self.directory} holds other features (other {', '.join(other)}); choose another "
                "folder, or delete it"
            )

    def add(self, answered: Answered[Tensor]) -> None:
        if answered.answer is None:
            self._failures.append((answered.video, answered.error))
        else:
            self._rows[answered.index] = answered.answer
        if len(self._rows) == _PART:
            self.close()

    def close(self) -> None:
        from safetensors.torch import save_file

        if not self._rows and not self._failures:
            return
        tensors = {
            "index": torch.tensor(list(self._rows), dtype=torch.long),
            "label": torch.tensor([self.source.label(i) for i in self._rows], dtype=torch.long),
        }
        if self._rows:
            tensors["features"] = torch.stack(list(self._rows.values()))
        keys = json.dumps([self.source.key(index) for index in self._rows])
        metadata = {"keys": keys, "failures": json.dumps(self._failures)}
        number = len(list(self.directory.glob(f"part-{self.rank}-*.safetensors")))
        path = self.directory / f"part-{self.rank}-{number:05d}.safetensors"
        with replacing(path) as draft:
            save_file(tensors, draft, metadata=metadata)
        self._rows, self._failures = {}, []

    def complete(self, answered: Sequence[Answered[Tensor]]) -> None:
        """Do nothing: the parts of all processes lie side by side."""


def _parts(directory: Path) -> list[Path]:
    return sorted(directory.glob("part-*.safetensors"))


def _tensor(path: Path, name: str) -> Tensor:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.get_tensor(name)


class FeatureSource:
    """Clips of which only their features are left, for the training loop.

    Args:
        directory: as `cache_features` wrote it.

    Attributes:
        failures: (video, reason) of the clips that could not be read.

    Raises:
        DataError: the folder holds no features.
    """

    def __init__(self, directory: Path) -> None:
        from safetensors import safe_open

        self.directory = directory
        self._parts = _parts(directory)
        failures: dict[str, str] = {}
        clips: list[tuple[int, int, int, int, str]] = []
        for number, path in enumerate(self._parts):
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
                failures |= dict(json.loads(metadata["failures"]))
                columns = (file.get_tensor(name).tolist() for name in ("index", "label"))
                keys = json.loads(metadata["keys"])
                for row, (index, label, key) in enumerate(zip(*columns, keys, strict=True)):
                    clips.append((index, number, row, label, key))
        if not clips:
            raise DataError(f"{directory} holds no features: no video could be read")
        clips.sort()
        self._keys = [key for *_, key in clips]
        self._places = np.array([place for _, *place, _, _ in clips], np.int32)
        self._labels = np.array([label for *_, label, _ in clips], np.int64)
        later = set(self._keys)  # those that could be read at another try
        self.failures = [(key, why) for key, why in failures.items() if key not in later]
        self._small = sum(path.stat().st_size for path in self._parts) <= _MEMORY
        self._opened: dict[int, Any] = {}
        if self.failures:
            name, reason = self.failures[0]
            _LOG.warning(
                "%d of %d clips could not be read and have no features, the first: %s",
                len(self.failures),
                len(self.failures) + len(self),
                reason if name in reason else f"{name}: {reason}",
            )

    def __len__(self) -> int:
        return len(self._places)

    def read(self, index: int, rng: np.random.Generator) -> FeatureSample:
        """Return the features of a clip, of one of its views drawn from `rng`."""
        part, row = map(int, self._places[index])
        views = self._features(part)[row]
        chosen = int(rng.integers(len(views)))
        return FeatureSample(
            features=views[chosen], label=int(self._labels[index]), key=self.key(index)
        )

    def key(self, index: int) -> str:
        """Return the name of a clip."""
        return self._keys[index]

    def label(self, index: int) -> int:
        """Return the class of a clip."""
        return int(self._labels[index])

    def _features(self, part: int) -> Any:
        """Return what gives the features of a part, row by row."""
        from safetensors import safe_open

        if part not in self._opened:
            file = safe_open(self._parts[part], framework="pt")
            name = "features"
            self._opened[part] = file.get_tensor(name) if self._small else file.get_slice(name)
        return self._opened[part]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}}
