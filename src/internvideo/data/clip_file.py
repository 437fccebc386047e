"""Clips that were decoded before, all in one file: for small encoders, which outrun any decoder.

    clips.safetensors   frames "n t s s 3" uint8, at the size of the protocol; labels
                        metadata: names of the clips and classes, captions, frames per second

A clip is read from the mapped file in microseconds. At 16 frames of 32x32 pixels it takes 49 KB.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from internvideo.data.samples import ClipViews, Sample
from internvideo.errors import DataError
from internvideo.files import replacing
from internvideo.video.frames import FramesInMemory
from internvideo.video.preprocessing import Preprocessing

__all__ = ["ClipFile", "DecodedClip", "write_clips"]


@dataclass(frozen=True, slots=True)
class DecodedClip:
    """A clip to write.

    Attributes:
        frames: uint8 RGB "t s s 3"; all clips of a file have one shape.
        key: its name.
        label: class number, or None.
        captions: sentences about it; one is drawn at each visit.
    """

    frames: UInt8[Tensor, "t s s 3"]
    key: str
    label: int | None = None
    captions: Sequence[str] = ()


def write_clips(
    path: Path,
    clips: Iterable[DecodedClip],
    *,
    class_names: Sequence[str] | None = None,
    fps: float = 30.0,
) -> None:
    """Write clips to one file, which is whole or not there; they must fit into memory.

    Raises:
        DataError: no clips.
    """
    kept = list(clips)
    if not kept:
        raise DataError(f"{path}: there are no clips to write")
    labels = [-1 if each.label is None else each.label for each in kept]
    metadata = {
        "keys": json.dumps([each.key for each in kept]),
        "captions": json.dumps([list(each.captions) for each in kept], ensure_ascii=False),
        "classes": json.dumps(class_names and list(class_names), ensure_ascii=False),
        "fps": str(fps),
    }
    tensors = {"frames": torch.stack([each.frames for each in kept]), "label": torch.tensor(labels)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        save_file(tensors, draft, metadata=metadata)


class ClipFile:
    """Some of the clips of a file that `write_clips` wrote.

    Args:
        path: the file.
        start: number of the first clip.
        num_clips: how many; None takes all that follow.

    Raises:
        DataError: no such file, another kind of file, or fewer clips than wanted.
    """

    def __init__(self, path: Path, *, start: int = 0, num_clips: int | None = None) -> None:
        self.path = path
        self.start = start
        file = self._open()
        metadata = file.metadata() or {}
        if not {"keys", "captions", "classes", "fps"} <= metadata.keys():
            raise DataError(f"{path} holds no decoded clips; `data.clip_file.write_clips` makes it")
        labels = file.get_tensor("label").tolist()
        end = len(labels) if num_clips is None else start + num_clips
        if not start < end <= len(labels):
            raise DataError(f"{path} holds {len(labels)} clips; wanted are {start} to {end - 1}")
        self._labels = [None if label < 0 else int(label) for label in labels[start:end]]
        self._keys: list[str] = json.loads(metadata["keys"])[start:end]
        self._captions: list[list[str]] = json.loads(metadata["captions"])[start:end]
        names = json.loads(metadata["classes"])
        self.class_names: tuple[str, ...] | None = None if names is None else tuple(names)
        self.fps = float(metadata["fps"])
        self._frames: Any = None

    def _open(self) -> Any:
        try:
            return safe_open(self.path, framework="pt")
        except (OSError, SafetensorError) as error:
            raise DataError(f"{self.path} is no file of decoded clips: {error}") from None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_frames": None}  # a worker maps the file itself

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def frames(self) -> Any:
        """What gives the frames "t s s 3" of clips by their numbers in the whole file."""
        if self._frames is None:
            self._frames = self._open().get_slice("frames")
        return self._frames

    def all_frames(self) -> UInt8[Tensor, "n t s s 3"]:
        """Return the frames of all clips."""
        return self.frames[self.start : self.start + len(self)]

    def read(self, index: int, rng: np.random.Generator) -> Sample:
        """Return clip `index` with one of its captions."""
        captions = self._captions[index]
        caption = captions[int(rng.integers(len(captions)))] if captions else None
        frames = self.frames[self.start + index].numpy()
        return Sample(frames=frames, caption=caption, label=self.label(index), key=self.key(index))

    def read_views(self, index: int, protocol: Preprocessing) -> ClipViews:
        """Return all views of clip `index`."""
        views = protocol.load(FramesInMemory(self.frames[self.start + index], fps=self.fps))
        return ClipViews(views, self.label(index), self.key(index))

    def key(self, index: int) -> str:
        """Return the name of a clip."""
        return self._keys[index]

    def label(self, index: int) -> int | None:
        """Return the class of a clip."""
        return self._labels[index]

    def captions(self, index: int) -> list[str]:
        """Return all sentences about a clip."""
        return self._captions[index]

    def check_labels(self, num_classes: int) -> None:
        """Check that every clip has a label from 0 to `num_classes - 1`.

        Raises:
            DataError: names the first that has not.
        """
        for key, label in zip(self._keys, self._labels, strict=True):
            if label is None or label >= num_classes:
                raise DataError(
                    f"{self.path}: {key} has the label {label}, the model {num_classes} classes"
                )
