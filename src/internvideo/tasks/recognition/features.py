"""The features of a frozen encoder, computed in one pass over the clips and kept on disk.

    features/evaluation.json          encoder, protocol and list that they belong to
    features/part-00003.safetensors   256 clips: features "n v …", label, index; failures

A part appears when it is complete; an interrupted pass goes on with the next one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from internvideo.errors import ConfigError, DataError, VideoError
from internvideo.models.probe import ProbeClassifier
from internvideo.tasks.recognition.evaluate import center_view
from internvideo.tasks.recognition.probe import FeatureSample
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.read_ahead import read_ahead
from internvideo.zoo.fingerprint import weights_sha256

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from internvideo.data.samples import EvaluationSource

__all__ = ["FeatureSource", "cache_features"]

_LOG = logging.getLogger(__name__)
_PART = 256
_MEMORY = (
    2 << 30
)  # bytes of features that are kept in memory; more are read from disk, clip by clip
_HEADER = "evaluation.json"


def cache_features(
    model: ProbeClassifier,
    source: EvaluationSource,
    protocol: Preprocessing,
    directory: Path,
    *,
    views: Literal["all", "center"] = "center",
    num_workers: int = 2,
    fabric: Fabric | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureSource:
    """Write the features of all clips, those that are not there yet, and return them as a source.

    Clips that cannot be read are left out, counted and told by a warning; see `failures`.

    Args:
        model: its encoder is applied; its kind of head decides whether tokens are kept or a mean.
        source: labelled videos.
        protocol: frames, clips and crops, resolution.
        directory: folder of the features.
        views: the central one of each video, or all; of several, training draws one a visit.
        num_workers: videos that are decoded at once, in threads.
        fabric: where there are several processes, they share the parts.
        progress: called with (videos done, videos in all) by this process.

    Raises:
        DataError: no clip can be read, or a label is not one of the classes.
        ConfigError: `directory` holds features of another encoder, protocol or list.
    """
    source.check_labels(model.config.num_classes)
    protocol = center_view(protocol) if views == "center" else protocol
    rank, world_size = (fabric.global_rank, fabric.world_size) if fabric else (0, 1)
    _claim(directory, model, source, protocol)
    for number in range(rank, -(-len(source) // _PART), world_size):
        path = directory / f"part-{number:05d}.safetensors"
        indices = range(number * _PART, min((number + 1) * _PART, len(source)))
        if not path.exists():
            _write_part(path, model, source, protocol, indices, num_workers=num_workers)
        if progress is not None:
            progress(indices.stop, len(source))
    if fabric is not None:
        fabric.barrier()
    return FeatureSource(directory)


def _claim(
    directory: Path, model: ProbeClassifier, source: EvaluationSource, protocol: Preprocessing
) -> None:
    """Note what the features belong to, or check that it is the same."""
    identity = {
        "encoder": weights_sha256(model.encoder),
        "features": "mean" if model.pool is None else "tokens",
        "protocol": protocol.to_dict(),
        "num_videos": len(source),
        "first_video": source.key(0) if len(source) else None,
    }
    path = directory / _HEADER
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(identity, indent=1) + "\n", encoding="utf-8")
        return
    earlier = json.loads(path.read_text(encoding="utf-8"))
    if other := [name for name in identity if earlier.get(name) != identity[name]]:
        raise ConfigError(
            f"{directory} holds other features (other {', '.join(other)}); choose another folder, "
            "or delete it"
        )


def _write_part(
    path: Path,
    model: ProbeClassifier,
    source: EvaluationSource,
    protocol: Preprocessing,
    indices: Sequence[int],
    *,
    num_workers: int,
) -> None:
    from safetensors.torch import save_file

    def read(index: int) -> Tensor | VideoError:
        try:
            return source.read_views(index, protocol).views
        except VideoError as error:
            return error

    model.eval()
    parameter = next(model.encoder.parameters())
    rows: dict[int, Tensor] = {}
    failures: list[tuple[str, str]] = []
    reads = read_ahead(read, indices, threads=num_workers, depth=2 * num_workers)
    for index, views in zip(indices, reads, strict=True):
        if isinstance(views, VideoError):
            failures.append((source.key(index), str(views)))
        else:
            found = model.features(views.to(parameter.device, parameter.dtype))
            rows[index] = found.to("cpu", torch.float16)
    tensors = {
        "index": torch.tensor(list(rows), dtype=torch.long),
        "label": torch.tensor([source.label(index) for index in rows], dtype=torch.long),
    }
    if rows:
        tensors["features"] = torch.stack(list(rows.values()))
    keys = [source.key(index) for index in rows]
    draft = path.with_name(f".{path.name}.part")
    save_file(tensors, draft, metadata={"keys": json.dumps(keys), "failures": json.dumps(failures)})
    draft.replace(path)


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
        self.failures: list[tuple[str, str]] = []
        self._parts = sorted(directory.glob("part-*.safetensors"))
        self._keys: list[str] = []
        places, labels = [], []
        for number, path in enumerate(self._parts):
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
                self.failures += [tuple(each) for each in json.loads(metadata["failures"])]
                self._keys += json.loads(metadata["keys"])
                found = file.get_tensor("label").numpy()
            places += [(number, row) for row in range(len(found))]
            labels.append(found)
        if not places:
            raise DataError(f"{directory} holds no features: no video could be read")
        self._places = np.array(places, np.int32)
        self._labels = np.concatenate(labels)
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
