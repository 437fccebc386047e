"""Writing features: a file for each video, that grows row by row and survives a stop.

features/manifest.json   what made them; a folder holds those of one model and one setting
features/videos.jsonl    {"video": "a", "path": …, "fps": 25.0, "duration": 12.5, "rows": 19}
features/a.npy           (T, C); or a.safetensors, or a.zarr
features/.a.draft        the rows of a video that is not finished
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from jaxtyping import Float

from internvideo.data.features import MANIFEST, TENSOR, VIDEOS
from internvideo.errors import ConfigError
from internvideo.files import JsonLinesWriter, replacing, write_whole

__all__ = ["FeatureFolder", "FeatureFormat", "VideoRows"]

FeatureFormat = Literal["npy", "safetensors", "zarr"]


@dataclass
class FeatureFolder:
    """The folder that features are written to.

    Args:
        root: the folder; made where there is none.
        format: of the files.
    """

    root: Path
    format: FeatureFormat = "npy"
    _open: dict[str, VideoRows] = field(default_factory=dict, init=False, repr=False)

    def begin(self, manifest: Mapping[str, Any], videos: Sequence[str]) -> None:
        """Write the manifest, or check that the one that is there says the same.

        Raises:
            ConfigError: the folder holds features that were made in another way, two videos have
                one name, or a library is missing.
        """
        known: dict[str, str] = {}
        for video in videos:
            other = known.setdefault(_stem(video), video)
            if other != video:
                raise ConfigError(
                    f"{other} and {video} would both be written to {_stem(video)}.{self.format}; "
                    "extract them into two folders"
                )
        if self.format == "zarr":
            _zarr()
        path = self.root / MANIFEST
        values = json.loads(json.dumps(manifest))
        if path.is_file():
            earlier = json.loads(path.read_text(encoding="utf-8"))
            differing = [key for key in values if values[key] != earlier.get(key)]
            if differing:
                raise ConfigError(
                    f"{self.root} holds features with another {', '.join(differing)} "
                    f"({differing[0]}: {earlier.get(differing[0])}, now {values[differing[0]]}); "
                    "choose another folder"
                )
            return
        self.root.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(values, indent=1) + "\n")

    def finished(self, video: str) -> Path | None:
        """Return the file of a video that is done."""
        path = self.root / f"{_stem(video)}.{self.format}"
        return path if path.exists() else None

    def open(self, video: str, *, total: int, about: Mapping[str, Any]) -> int:
        """Begin a video, or go on with it; return the number of its first row that is missing.

        Args:
            video: its name.
            total: how many rows it will have.
            about: what `videos.jsonl` says of it.
        """
        rows = VideoRows(self, video, total, {"video": _stem(video), **about})
        self._open[video] = rows
        return len(rows)

    def rows(self, video: str) -> VideoRows | None:
        """Return the rows of a video that was opened."""
        return self._open.get(video)

    def close(self, video: str) -> None:
        """Forget a video."""
        self._open.pop(video, None)


class VideoRows:
    """The rows of a video, in a draft that is a `.npy` file short of some of its rows.

    Attributes:
        video: its name.
        total: how many rows it will have.
    """

    def __init__(
        self, folder: FeatureFolder, video: str, total: int, about: Mapping[str, Any]
    ) -> None:
        self.video, self.total = video, total
        self._folder, self._about = folder, dict(about)
        self._draft = folder.root / f".{_stem(video)}.draft"
        self._file: BinaryIO | None = None
        self._count = self._resume()

    def __len__(self) -> int:
        return self._count

    def append(self, row: Float[np.ndarray, "*n c"]) -> None:
        """Add a row; it is handed to the system before this returns."""
        if self._file is None:
            self._file = self._draft.open("wb")
            shape = (self.total, *row.shape)
            header = {"descr": row.dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_2_0(self._file, header)
        self._file.write(np.ascontiguousarray(row).data)
        self._file.flush()
        self._count += 1

    def complete(self) -> Path:
        """Turn the draft into the file of the video; return its path."""
        assert self._file is not None
        self._file.close()
        folder = self._folder
        path = folder.root / f"{_stem(self.video)}.{folder.format}"
        with _TABLE, JsonLinesWriter(folder.root / VIDEOS) as table:
            table.append({**self._about, "rows": self.total})
        if folder.format == "npy":
            self._draft.replace(path)
        else:
            _WRITERS[folder.format](path, np.load(self._draft, mmap_mode="r"))
            self._draft.unlink()
        folder.close(self.video)
        return path

    def discard(self) -> None:
        """Delete the draft of a video that cannot be read to its end."""
        if self._file is not None:
            self._file.close()
        self._draft.unlink(missing_ok=True)
        self._folder.close(self.video)

    def _resume(self) -> int:
        """Open the draft that a stop left; return how many of its rows are used.

        Its last row is made again, as it may be cut off.
        """
        if not self._draft.is_file():
            return 0
        file = self._draft.open("r+b")
        try:
            version = np.lib.format.read_magic(file)
            assert version == (2, 0)
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
        except (ValueError, AssertionError):
            shape, dtype = (-1,), np.dtype("f4")
        start, size = file.tell(), self._draft.stat().st_size
        row = dtype.itemsize * int(np.prod(shape[1:]))
        count = min((size - start) // row, self.total - 1) if row else 0
        if shape[0] != self.total or count <= 0:
            file.close()
            return 0
        file.truncate(start + count * row)
        file.seek(0, os.SEEK_END)
        self._file = file
        return count


_TABLE = threading.Lock()


def _write_safetensors(path: Path, rows: np.ndarray) -> None:
    from safetensors.numpy import save_file

    with replacing(path) as draft:
        save_file({TENSOR: rows}, draft)


def _write_zarr(path: Path, rows: np.ndarray) -> None:
    draft = path.with_name(f".{path.name}")
    chunks = (min(len(rows), _CHUNK_ROWS), *rows.shape[1:])
    store = _zarr().create_array(
        draft, shape=rows.shape, dtype=rows.dtype, chunks=chunks, overwrite=True
    )
    for start in range(0, len(rows), _CHUNK_ROWS):
        store[start : start + _CHUNK_ROWS] = rows[start : start + _CHUNK_ROWS]
    draft.replace(path)


_CHUNK_ROWS = 256
_WRITERS = {"safetensors": _write_safetensors, "zarr": _write_zarr}


def _zarr() -> Any:
    try:
        import zarr
    except ImportError:
        raise ConfigError(
            "zarr is not installed; pip install 'internvideo[zarr]', or write npy"
        ) from None
    return zarr


def _stem(video: str) -> str:
    """Return the name of a file for a video: the last part of its path, without the ending."""
    return Path(video.rstrip("/").rpartition("/")[2]).stem
