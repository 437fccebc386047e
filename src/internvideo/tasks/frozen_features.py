"""What frozen encoders give for clips, computed in one pass over them and kept on disk.

    features/evaluation.json          encoders, protocol and list that they belong to
    features/part-0-00003.safetensors   256 clips: features "n v …", label, index; failures

It is an evaluation whose answers are tensors. A part appears when it is complete; an interrupted
pass resumes with the clips that are in no part.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.data.samples import EvaluationSource, Sample
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.arrays import as_list
from internvideo.evaluation.engine import Answerer, Batch, EvalLoop, evaluation_identity
from internvideo.evaluation.predictions import Answered, differing
from internvideo.evaluation.views import center_view
from internvideo.files import replacing, write_whole
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo.hub import weights_sha256

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["FeatureSample", "FeatureSource", "FrozenModel", "cache_features", "cached_clips"]

_LOG = logging.getLogger(__name__)
_PART = 256
_MEMORY = 2 << 30  # bytes of features that are kept in memory; more are read clip by clip
_HEADER = "evaluation.json"


class FrozenModel(Protocol):
    """A model whose training needs no more of a clip than what its frozen part gives for it."""

    config: Any

    @property
    def frozen(self) -> Mapping[str, nn.Module]:
        """The modules that `features` depends on, by name."""
        ...

    @property
    def feature_kind(self) -> str:
        """What of them it returns."""
        ...

    def features(self, video: Float[Tensor, "b c t y x"]) -> Tensor | dict[str, Tensor]:
        """Return a tensor "b …", or several by name, for normalised clips."""
        ...


def _no_frames() -> np.ndarray:
    return np.zeros((0, 0, 0, 3), np.uint8)


@dataclass(frozen=True, slots=True)
class FeatureSample(Sample):
    """A clip reduced to what the frozen part of a model gives for it; it has no frames.

    Attributes:
        features: by name, as `FrozenModel.features` gives them; a single one is "features".
    """

    frames: np.ndarray = field(default_factory=_no_frames)
    features: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])


def cached_clips(
    task: Any, source: EvaluationSource, directory: Path, *, num_workers: int, fabric: Fabric
) -> FeatureSource:
    """Return the clips of a training run as their features, which is all that its model sees."""
    loop = EvalLoop(num_workers=num_workers, fabric=fabric, directory=directory / "features")
    return cache_features(task.model.to(fabric.device), source, task.preprocessing, loop)


def cache_features(
    model: FrozenModel,
    source: EvaluationSource,
    protocol: Preprocessing,
    loop: EvalLoop,
    *,
    views: Literal["all", "center"] = "center",
) -> FeatureSource:
    """Write the features of all clips that have none yet, and return all of them as a source.

    Clips that cannot be read are left out, and a warning counts them; see `failures`.

    Args:
        model: its frozen part is applied.
        source: labelled videos.
        protocol: how a clip is looked at.
        loop: how the pass runs; the features go to its directory.
        views: the central one of each video, or all, of which each epoch draws one.

    Raises:
        DataError: no clip can be read, or a label is not one of the classes.
        ConfigError: the directory holds features of another encoder, protocol or list.
    """
    assert loop.directory is not None
    source.check_labels(model.config.num_classes)
    protocol = center_view(protocol) if views == "center" else protocol
    network: Any = model
    encoder = _FrozenEncoder(network, protocol)
    store = _FeatureParts(loop.directory, evaluation_identity(encoder, source), source, loop.fabric)
    loop.run(encoder, source, store)
    return FeatureSource(loop.directory)


_Features = dict[str, Tensor]


class _FrozenEncoder(Answerer[_Features]):
    """Returns what a model makes of clips before anything that is trained; "v …" of each video.

    A single tensor is kept in half precision, several as they are: they are added to each other.
    """

    network: Any

    def answer(self, batch: Batch) -> list[_Features]:
        found: list[_Features] = []
        for _, rows in batch.each(self._rows):
            found.append({name: torch.stack([row[name] for row in rows]) for name in rows[0]})
        return found

    def _rows(self, video: Float[Tensor, "b c t h w"]) -> list[_Features]:
        features = self.network.features(video)
        if isinstance(features, Tensor):
            features = {"features": features.to(torch.float16)}
        kept = {name: tensor.cpu() for name, tensor in features.items()}
        return [{name: tensor[row] for name, tensor in kept.items()} for row in range(len(video))]

    def identity(self) -> dict[str, Any]:
        return {
            **{name: weights_sha256(module) for name, module in self.network.frozen.items()},
            "features": self.network.feature_kind,
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
        self.kept: dict[int, Answered[_Features]] = {}
        self._rows: dict[int, _Features] = {}
        self._failures: list[tuple[str, str]] = []
        self._claim(identity)
        self.finished: frozenset[int] = frozenset(
            index for path in _parts(directory) for index in as_list(_tensor(path, "index"))
        )

    def _claim(self, identity: dict[str, Any]) -> None:
        """Note what the features belong to, or check that they belong to it."""
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

    def add(self, answered: Answered[_Features]) -> None:
        if answered.answer is None:
            self._failures.append((answered.video, answered.error))
        else:
            self._rows[answered.index] = answered.answer
        if len(self._rows) == _PART:
            self.close()

    def close(self) -> None:
        from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]

        if not self._rows and not self._failures:
            return
        tensors = {
            "index": torch.tensor(list(self._rows), dtype=torch.long),
            "label": torch.tensor([self.source.label(i) for i in self._rows], dtype=torch.long),
        }
        rows = list(self._rows.values())
        for name in rows[0] if rows else ():
            tensors[name] = torch.stack([row[name] for row in rows])
        keys = json.dumps([self.source.key(index) for index in self._rows])
        metadata = {"keys": keys, "failures": json.dumps(self._failures)}
        number = len(list(self.directory.glob(f"part-{self.rank}-*.safetensors")))
        path = self.directory / f"part-{self.rank}-{number:05d}.safetensors"
        with replacing(path) as draft:
            save_file(tensors, draft, metadata=metadata)
        self._rows, self._failures = {}, []

    def complete(self, answered: Sequence[Answered[_Features]]) -> None:
        """Do nothing: the parts of all processes lie side by side."""


def _parts(directory: Path) -> list[Path]:
    return sorted(directory.glob("part-*.safetensors"))


def _tensor(path: Path, name: str) -> Tensor:
    with _open(path) as file:
        return file.get_tensor(name)


def _open(path: Path) -> Any:
    from safetensors import safe_open

    return cast("Any", safe_open(path, framework="pt"))


class FeatureSource:
    """Clips reduced to their features, for the training loop.

    Args:
        directory: as `cache_features` wrote it.

    Attributes:
        failures: (video, reason) of the clips that could not be read.

    Raises:
        DataError: the folder holds no features.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._parts = _parts(directory)
        failures: dict[str, str] = {}
        clips: list[tuple[int, int, int, int, str]] = []
        for number, path in enumerate(self._parts):
            with _open(path) as file:
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
        later = set(self._keys)  # some could be read at a later attempt
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
        """Return the features of one view of a clip, drawn by `rng`."""
        part, row = map(int, self._places[index])
        views = {name: rows[row] for name, rows in self._features(part).items()}
        chosen = int(rng.integers(len(next(iter(views.values())))))
        features = {name: each[chosen] for name, each in views.items()}
        return FeatureSample(features=features, label=int(self._labels[index]), key=self.key(index))

    def key(self, index: int) -> str:
        """Return the name of a clip."""
        return self._keys[index]

    def label(self, index: int) -> int:
        """Return the class of a clip."""
        return int(self._labels[index])

    def _features(self, part: int) -> dict[str, Any]:
        """Return what gives the features of a part, row by row, by name."""
        if part not in self._opened:
            file = _open(self._parts[part])
            get = file.get_tensor if self._small else file.get_slice
            names = [name for name in file.keys() if name not in ("index", "label")]  # noqa: SIM118
            self._opened[part] = {name: get(name) for name in names}
        return self._opened[part]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}}
