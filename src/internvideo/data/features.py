"""Features of untrimmed videos: one vector for each window of frames, and the files that hold them.

    features/manifest.json   {"stride": 16, "window": 16, "fps": 30, …}: what holds of all videos
    features/videos.jsonl    {"video": "a", "fps": 25.0, "duration": 12.5}: what holds of one
    features/a.npy           (T, C); or a.safetensors, a.pt, or a.zarr

Both tables may be missing: features of other projects have none, and whoever uses them says so.
Window and stride are counted in frames at `fps`; a file in seconds has `fps` 1.

Letters: T windows, C channels.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from internvideo.config import Positive, config_class
from internvideo.errors import ConfigError, DataError, did_you_mean
from internvideo.files import read_json_lines
from internvideo.models.feature_origin import FeatureOrigin

__all__ = [
    "MANIFEST",
    "TENSOR",
    "VIDEOS",
    "FeatureFiles",
    "FeatureSequence",
    "FeatureStore",
    "read_rows",
]

MANIFEST, VIDEOS = "manifest.json", "videos.jsonl"

TENSOR = "features"

_ENDINGS = (".npy", ".safetensors", ".pt", ".zarr")
_SLACK_ROWS, _SLACK_SHARE = 2, 0.02  # durations are rounded, and the last frames often missing
_SHOWN = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureSequence:
    """The features of a video.

    Attributes:
        features: a row a window, in any floating type; may be memory-mapped.
        fps: frames per second that window and stride are counted at.
        stride: frames from one window to the next.
        window: frames that a row has seen.
        duration: of the video in seconds, where known.
        source: file that they come from, for messages.
        start: seconds from the start of the video to that of the first window; below 0 where the
            video is a clip that begins inside a window.
    """

    features: Float[Tensor, "t c"]
    fps: float
    stride: float
    window: float
    duration: float | None = None
    source: str = ""
    start: float = 0.0

    def __len__(self) -> int:
        return len(self.features)

    @property
    def seconds_per_row(self) -> float:
        """Seconds from the start of one window to that of the next."""
        return self.stride / self.fps

    @property
    def seen_seconds(self) -> float:
        """Seconds from the start of the first window to the end of the last."""
        return ((len(self) - 1) * self.stride + self.window) / self.fps

    def rows_at(self, seconds: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        """Return where times are among the rows: the centre of window i is i. Any number may be."""
        return ((seconds - self.start) * self.fps - 0.5 * self.window) / self.stride

    def seconds_at(self, rows: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        """Return the times of places among the rows; the inverse of `rows_at`."""
        return self.start + (rows * self.stride + 0.5 * self.window) / self.fps

    def thinned(self, every: int) -> FeatureSequence:
        """Return the first of so many rows each."""
        return replace(self, features=self.features[::every], stride=self.stride * every)

    def resized(self, num_rows: int, *, window: float = 1.0) -> FeatureSequence:
        """Return so many rows, interpolated, which divide the seen time evenly.

        Args:
            num_rows: how many.
            window: strides that one of them is taken to have seen.
        """
        features = self.features
        if len(self) != num_rows:
            rows = features.float().t()[None]
            features = F.interpolate(rows, num_rows, mode="linear", align_corners=False)[0].t()
        stride = self.seen_seconds * self.fps / num_rows
        return replace(self, features=features, stride=stride, window=window * stride)

    def rows(self, first: int, last: int) -> FeatureSequence:
        """Return the rows from `first` up to, without, `last`; nothing is copied."""
        features = self.features[first:last]
        return replace(self, features=features, duration=len(features) * self.seconds_per_row)

    def check_duration(self, duration: float, name: str) -> None:
        """Check that there are as many rows as a video of this length has windows.

        The windows may cover the video exactly, leave out the last frames, or reach beyond its end
        by one window; two rows and 2 % of the length are allowed beside.

        Args:
            duration: of the video in seconds, by its annotation.
            name: of the video.

        Raises:
            DataError: there are far more rows, or far fewer; both lengths are named.
        """
        wanted = duration / self.seconds_per_row
        slack = self.window / self.stride + _SLACK_ROWS + _SLACK_SHARE * wanted
        if abs(len(self) - wanted) > slack:
            raise DataError(
                f"{self.source or name} has {len(self)} rows, which are "
                f"{len(self) * self.seconds_per_row:.1f} s at stride {self.stride:g} and "
                f"{self.fps:g} frames/s, but the annotation of {name} says {duration:.1f} s, about "
                f"{wanted:.0f} rows; correct fps or stride, or take the features of this video"
            )


@config_class
class FeatureFiles:
    """Folders of features, one file a video; the channels of several folders are joined.

    What is given here goes before what the tables in the folder say.
    """

    folders: Path | tuple[Path, ...]
    fps: Positive | None = Field(default=None, description="frames per second of the videos")
    stride: Positive | Literal["spread"] | None = Field(
        default=None,
        description='frames from row to row; "spread": rows are spread evenly over the video',
    )
    window: Positive | None = Field(default=None, description="frames of a row; None: the stride")
    name: str = Field(default="{id}", description="of a file without its ending, e.g. v_{id}")

    def __post_init__(self) -> None:
        if "{id}" not in self.name:
            raise ValueError(f"name {self.name!r} has no {{id}}, where the id of the video goes")

    def open(self) -> FeatureStore:
        """Return the features; no file is read before it is asked for."""
        return FeatureStore(self)


class FeatureStore:
    """Reads the features of videos by their ids.

    Raises:
        DataError: a folder is not there.
    """

    def __init__(self, files: FeatureFiles) -> None:
        self.files = files
        folders = files.folders if isinstance(files.folders, tuple) else (files.folders,)
        self._folders = [_Folder(folder) for folder in folders]

    @property
    def made_by(self) -> Mapping[str, Any]:
        """What the manifest says of the model and its windows; nothing of several folders."""
        return self._folders[0].manifest if len(self._folders) == 1 else {}

    def origin(self, given: FeatureOrigin | None = None) -> FeatureOrigin | None:
        """Return what made the features: as given, or else as the manifest says it.

        Raises:
            ConfigError: the two differ.
        """
        made_by = self.made_by
        known = {
            each.name: made_by[each.name]
            for each in fields(FeatureOrigin)
            if made_by.get(each.name) is not None
        }
        if given is None:
            complete = {"model", "window", "stride"} <= known.keys()
            return FeatureOrigin(**known) if complete else None
        for name in known.keys() - {"model"}:
            own = getattr(given, name)
            if own not in (known[name], ""):
                raise ConfigError(
                    f"model.origin.{name} is {own}, but the features in {self.files.folders} were "
                    f"made with {known[name]}; correct it"
                )
        return given

    def __contains__(self, video: str) -> bool:
        return all(folder.find(self._stem(video)) for folder in self._folders)

    def read(
        self, video: str, *, fps: float | None = None, duration: float | None = None
    ) -> FeatureSequence:
        """Return the features of a video, memory-mapped where the file allows it.

        Args:
            video: its id.
            fps: what the annotation says, for files that say nothing.
            duration: of the video in seconds, by its annotation; it is checked against the file.

        Raises:
            DataError: there is no file, it does not hold rows of numbers, its length is not that
                of the video, or the folders do not agree.
            ConfigError: neither the files nor the options say fps or stride.
        """
        parts = [self._read(folder, video, fps, duration) for folder in self._folders]
        first = parts[0]
        for other in parts[1:]:
            if (len(other), other.stride, other.fps) != (len(first), first.stride, first.fps):
                raise DataError(
                    f"{first.source} has {len(first)} rows at stride {first.stride:g}, but "
                    f"{other.source} has {len(other)} at {other.stride:g}; to be joined, features "
                    "must be of the same windows"
                )
        if len(parts) == 1:
            return first
        return replace(first, features=torch.cat([part.features.float() for part in parts], dim=1))

    def _read(
        self, folder: _Folder, video: str, fps: float | None, duration: float | None
    ) -> FeatureSequence:
        path = folder.path(self._stem(video), video)
        told = folder.about(self._stem(video))
        features = read_rows(path)
        duration = duration or told.get("duration")
        fps = self.files.fps or told.get("fps") or fps
        if self.files.stride == "spread":
            if duration is None:
                raise ConfigError(
                    f'{path}: stride "spread" needs the duration of {video}, which neither its '
                    "annotation nor the folder says"
                )
            fps = fps or 1.0
            stride = window = duration * fps / len(features)
        else:
            stride = self.files.stride or told.get("stride")
            window = self.files.window or told.get("window") or stride
        if not fps or not stride or not window:
            missing = "fps" if not fps else "stride"
            raise ConfigError(
                f"{path}: nothing says the {missing} of these features; give it with them "
                f"(features.{missing}), or write it into {folder.root / MANIFEST}"
            )
        found = FeatureSequence(
            features=features, fps=fps, stride=stride, window=window, duration=duration,
            source=str(path),
        )  # fmt: skip
        if duration is not None:
            found.check_duration(duration, video)
        return found

    def _stem(self, video: str) -> str:
        return self.files.name.format(id=video)


class _Folder:
    """A folder of features, with what its tables say."""

    def __init__(self, root: Path) -> None:
        self.root = root
        if not root.is_dir():
            raise DataError(f"no folder of features {root}; check the path")

    def find(self, stem: str) -> Path | None:
        """Return the file of a video, if there is one."""
        for ending in _ENDINGS:
            path = self.root / f"{stem}{ending}"
            if path.exists():
                return path
        return None

    def path(self, stem: str, video: str) -> Path:
        """Return the file of a video, or say what there is instead."""
        if (path := self.find(stem)) is not None:
            return path
        held = sorted(each.stem for each in self.root.iterdir() if each.suffix in _ENDINGS)
        there = f"it holds {', '.join(held[:_SHOWN])}, …" if held else "it holds none at all"
        raise DataError(
            f"{self.root} has no features of {video} (looked for {stem}{', '.join(_ENDINGS)}); "
            f"{there}{did_you_mean(stem, held)}"
        )

    def about(self, stem: str) -> Mapping[str, Any]:
        """Return what the tables say of a video: fps, stride, window, duration."""
        return {**self.manifest, **self._videos.get(stem, {})}

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What holds of all videos of the folder."""
        path = self.root / MANIFEST
        if not path.is_file():
            return {}
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path} is not json ({error}); delete it, or write it anew") from None
        if not isinstance(values, dict):
            raise DataError(f'{path}: expected an object such as {{"fps": 30, "stride": 16}}')
        return values

    @cached_property
    def _videos(self) -> dict[str, dict[str, Any]]:
        lines = (line for _, line in read_json_lines(self.root / VIDEOS))
        return {str(line["video"]): line for line in lines if "video" in line}


def read_rows(path: Path) -> Float[Tensor, "t c"]:
    """Return the features of one file, memory-mapped where it allows that.

    A `.npy` holds one array, a `.pt` one tensor, and a `.safetensors` one, or one of that name:
    `features`. Nothing in a file is executed.

    Raises:
        DataError: it cannot be read, or does not hold rows of numbers.
    """
    try:
        found = _READERS[path.suffix](path)
    except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise DataError(f"{path} cannot be read as features: {reason}") from None
    except KeyError:
        raise DataError(f"{path}: features are read from {', '.join(_ENDINGS)}") from None
    if not isinstance(found, Tensor) or found.ndim != 2 or not found.is_floating_point():
        what = type(found).__name__
        if isinstance(found, Tensor):
            what = f"an array {tuple(found.shape)} of {str(found.dtype).removeprefix('torch.')}"
        raise DataError(
            f"{path} holds {what}; expected rows (T, C) of floating-point numbers, one a window"
        )
    if not len(found):
        raise DataError(f"{path} has no rows; the video was too short, or its extraction stopped")
    return found


def _npy(path: Path) -> Tensor:
    # Copy on write: torch has no read-only tensors.
    return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))


def _safetensors(path: Path) -> Any:
    from safetensors.torch import load_file

    tensors = load_file(path)
    if TENSOR in tensors or len(tensors) != 1:
        return tensors.get(TENSOR, tensors)
    return next(iter(tensors.values()))


def _pt(path: Path) -> Any:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # files of before 2020 cannot be mapped
        found = torch.load(path, map_location="cpu", weights_only=True)
    return found.get(TENSOR, found) if isinstance(found, dict) else found


def _zarr(path: Path) -> Tensor:
    try:
        import zarr
    except ImportError:
        raise ConfigError(f"{path}: pip install 'internvideo[zarr]' to read it") from None
    return torch.from_numpy(np.asarray(zarr.open_array(path, mode="r")[:]))


_READERS = {".npy": _npy, ".safetensors": _safetensors, ".pt": _pt, ".zarr": _zarr}
