"""A folder of numbered images of which the annotation tells the count and the naming."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from internvideo.errors import VideoError
from internvideo.video.rawframes import load_picture

__all__ = ["NumberedFrames"]


class NumberedFrames:
    """Opens frame files by their names, without listing the folder.

    Frame `i` is the file `template.format(first_frame + i)`. A folder may hold more frames than the
    annotation counts (lists cut long films into clips this way); only the counted ones exist here.

    Args:
        folder: the folder.
        template: name of a frame file, such as `img_{:05d}.jpg`.
        first_frame: number in the name of frame 0.
        num_frames: number of frames.
        fps: frames per second that the images were taken at; folders do not say.

    Raises:
        VideoError: there is no such folder, or no frames are counted.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        template: str,
        first_frame: int,
        num_frames: int,
        fps: float = 25.0,
    ) -> None:
        self.folder = Path(folder)
        self.template = template
        self.first_frame = first_frame
        self.num_frames = num_frames
        self.fps = fps
        if num_frames < 1:
            raise VideoError(f"{folder}: the annotation counts {num_frames} frames")
        if not self.folder.is_dir():
            raise VideoError(f"{folder}: no such folder of frames; check the path")

    def frames(self, indices: Sequence[int]) -> UInt8[Tensor, "t h w c"]:
        """Return frames as RGB bytes; one that is asked for twice is read once.

        Raises:
            VideoError: a frame file is missing, broken, or of another size.
        """
        wanted, places = np.unique(np.asarray(indices, np.int64), return_inverse=True)
        if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < self.num_frames:
            raise VideoError(
                f"{self.folder}: frames {wanted[0]} to {wanted[-1]} of a clip of {self.num_frames}"
            )
        pictures = [self._read(int(index)) for index in wanted]
        shapes = {picture.shape for picture in pictures}
        if len(shapes) > 1:
            raise VideoError(f"{self.folder}: frames of different sizes: {sorted(shapes)}")
        return torch.from_numpy(np.stack(pictures)[places])

    def _read(self, index: int) -> np.ndarray:
        path = self.folder / self.template.format(self.first_frame + index)
        if not path.is_file():
            raise VideoError(self._lacks(path.name, len(self._held())))
        return load_picture(path)

    def check(self) -> None:
        """Look whether all frames are there, without reading one.

        Raises:
            VideoError: some are not; the message names the first.
        """
        held = self._held()
        for number in range(self.first_frame, self.first_frame + self.num_frames):
            if (name := self.template.format(number)) not in held:
                raise VideoError(self._lacks(name, len(held)))

    def _held(self) -> set[str]:
        return set(os.listdir(self.folder))  # noqa: PTH208 - names are all that is needed

    def _lacks(self, name: str, held: int) -> str:
        return (
            f"{self.folder / name}: no such frame; the annotation counts {self.num_frames} frames "
            f"from {self.template.format(self.first_frame)} on, the folder holds {held} files; "
            "extract the frames again, or correct the list"
        )

    def __enter__(self) -> NumberedFrames:
        return self

    def __exit__(self, *exception: object) -> None:
        pass
