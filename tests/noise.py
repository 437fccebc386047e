"""An annotated collection of noise, of which some clips cannot be read."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from internvideo.data.clips import ClipViews
from internvideo.errors import DataError, VideoError
from internvideo.video.preprocessing import Preprocessing


@dataclass
class NoiseSource:
    """Videos of noise; `seen` holds the numbers of those that were read."""

    num_videos: int = 9
    broken: tuple[int, ...] = (4,)
    num_classes: int = 4
    scale: float = 1.0
    class_names: tuple[str, ...] | None = None
    seen: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return self.num_videos

    def read_views(self, index: int, protocol: Preprocessing) -> ClipViews:
        self.seen.append(index)
        if index in self.broken:
            raise VideoError(f"{self.key(index)}: broken")
        shape = (protocol.num_views, 3, protocol.num_frames, *2 * (protocol.crop_size,))
        views = torch.randn(shape, generator=torch.Generator().manual_seed(index))
        return ClipViews(self.scale * views, self.label(index), self.key(index))

    def key(self, index: int) -> str:
        return f"v{index}.mp4"

    def label(self, index: int) -> int:
        return index % self.num_classes

    def check_labels(self, num_classes: int) -> None:
        if num_classes < self.num_classes:
            raise DataError("a label is outside")
