"""`Video`: any video, opened lazily, with random access to exact frames."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from internvideo.errors import ConfigError, InternVideoError, VideoError, did_you_mean
from internvideo.video.rawframes import (
    AnimatedWebPReader,
    FrameFiles,
    RawFramesReader,
    StillReader,
    is_animated_webp,
)
from internvideo.video.reader import FrameIndexError, Reader, describe_error
from internvideo.video.sources import Source, VideoSource, resolve_source

__all__ = ["BACKENDS", "Video"]

Backend = Literal["auto", "pyav", "torchcodec"]
BACKENDS: tuple[str, ...] = ("auto", "pyav", "torchcodec")


class Video:
    """A video as a lazy sequence of frames.

    Nothing is opened before the first attribute or frame is asked for, and only the frames that
    are asked for are decoded (from the key frame before them on). Frame `i` is always the i-th
    picture that decoding the whole file gives, for every codec and container. Frames are upright:
    a rotation in the file's metadata is applied. A `Video` can be pickled and used after a fork;
    the copy opens the file anew. Threads may share one, they take turns.

    Args:
        source: a path; a folder of images (one a frame, in natural order of their names); an image
            file, moving (WebP, gif) or not; an address that fsspec knows (`https://…`, `s3://…`,
            `hf://…`, `memory://…`); the bytes of a file; or a binary file object, which stays the
            caller's to close.
        backend: "pyav"; "torchcodec", which needs that package and an installed FFmpeg; or "auto"
            (PyAV, so that the same file gives the same bytes on every machine).
        threads: decoder threads. One (the default) costs the least CPU time, the right thing where
            several videos are read at once; 0 lets FFmpeg use the whole machine for this one.
        fps: frames per second of a folder of images, whose files do not say.
        pattern: which images of a folder are frames, such as `img_*.jpg`; `rawframes.FrameFiles`
            where their names are known and the folder need not be listed.
        still: the source is one image, a video of one frame.
        name: what messages and results call the video; by default its file name.

    Raises:
        VideoError: the file is missing or empty (at once), or cannot be read (when it is needed).

    Example:
        >>> import tempfile, pathlib, torch
        >>> from internvideo.video import Video, write_video
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "clip.mp4"
        >>> _ = write_video(path, torch.zeros(20, 48, 64, 3, dtype=torch.uint8), fps=10)
        >>> with Video(path) as video:
        ...     print(len(video), video.fps, video.duration, tuple(video.frames([0, 5, 19]).shape))
        20 10.0 2.0 (3, 48, 64, 3)
    """

    def __init__(
        self,
        source: VideoSource,
        *,
        backend: Backend = "auto",
        threads: int = 1,
        fps: float = 25.0,
        pattern: str | FrameFiles | None = None,
        still: bool = False,
        name: str | None = None,
    ) -> None:
        if backend not in BACKENDS:
            raise ConfigError(
                f"backend must be one of {', '.join(BACKENDS)}, not {backend!r}."
                f"{did_you_mean(str(backend), BACKENDS)}"
            )
        if threads < 0 or not fps > 0:
            raise ConfigError(f"threads must be >= 0 and fps > 0, got {threads} and {fps}")
        self._source: Source = resolve_source(source, name=name)
        self._source.check()
        self._backend = backend
        self._threads = threads
        self._folder_fps = float(fps)
        self._pattern = pattern
        self._still = still
        self._start()

    def _start(self) -> None:
        self._reader: Reader | None = None
        self._pid = os.getpid()
        self._lock = threading.RLock()

    # ---- facts

    @property
    def name(self) -> str:
        """What messages and results call the video."""
        return self._source.name

    @property
    def path(self) -> Path | None:
        """The file or folder on this machine, if it is one."""
        return self._source.path

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        with self._reading() as reader:
            return reader.num_frames

    @property
    def fps(self) -> float:
        """Frames per second, on average over the video."""
        with self._reading() as reader:
            return reader.fps

    @property
    def duration(self) -> float:
        """Seconds from the start of the first frame to the end of the last one."""
        with self._reading() as reader:
            return reader.duration

    @property
    def height(self) -> int:
        """Height of the frames in pixels, after rotation."""
        with self._reading() as reader:
            return reader.size[0]

    @property
    def width(self) -> int:
        """Width of the frames in pixels, after rotation."""
        with self._reading() as reader:
            return reader.size[1]

    @property
    def rotation(self) -> int:
        """Degrees clockwise that the stored pictures are turned by: 0, 90, 180 or 270."""
        with self._reading() as reader:
            return reader.rotation

    @property
    def codec(self) -> str:
        """The codec's name in FFmpeg (`h264`, `hevc`, `vp9`, …); "images" for image files."""
        with self._reading() as reader:
            return reader.codec

    # ---- frames

    def frames(
        self, indices: Sequence[int] | np.ndarray | Int[Tensor, " t"]
    ) -> UInt8[Tensor, "t h w c"]:
        """Return frames as RGB bytes.

        Args:
            indices: frame numbers from 0 to `num_frames - 1`, in any order, repeats allowed.

        Raises:
            FrameIndexError: a number is out of range (it is a `VideoError` and an `IndexError`).
            VideoError: a frame cannot be decoded.
        """
        wanted = _as_indices(indices)
        unique, places = np.unique(wanted, return_inverse=True)
        with self._reading() as reader:
            self._check_range(unique, reader.num_frames)
            pictures = torch.from_numpy(reader.read(unique.tolist()))
        if len(unique) == len(wanted) and np.array_equal(unique, wanted):
            return pictures
        return pictures[torch.from_numpy(places)]

    def timestamps(
        self, indices: Sequence[int] | np.ndarray | Int[Tensor, " t"] | None = None
    ) -> Float[Tensor, " t"]:
        """Return when frames are shown, in seconds after the first frame (float64).

        Args:
            indices: frame numbers; all frames by default.
        """
        with self._reading() as reader:
            seconds = reader.seconds()
            if indices is not None:
                wanted = _as_indices(indices)
                self._check_range(wanted, reader.num_frames)
                seconds = seconds[wanted]
        return torch.from_numpy(np.ascontiguousarray(seconds, dtype=np.float64))

    def __len__(self) -> int:
        return self.num_frames

    @overload
    def __getitem__(self, index: int) -> UInt8[Tensor, "h w c"]: ...

    @overload
    def __getitem__(self, index: slice) -> UInt8[Tensor, "t h w c"]: ...

    def __getitem__(self, index: int | slice) -> Tensor:
        """Return one frame (negative numbers count from the end), or those of a slice."""
        if isinstance(index, slice):
            return self.frames(range(*index.indices(len(self))))
        wanted = index.__index__()
        return self.frames([wanted + len(self) if -len(self) <= wanted < 0 else wanted])[0]

    def __iter__(self) -> Iterator[UInt8[Tensor, "h w c"]]:
        """Decode frame after frame; only one is in memory at a time."""
        for index in range(len(self)):
            yield self.frames([index])[0]

    def _check_range(self, wanted: np.ndarray, num_frames: int) -> None:
        outside = wanted[(wanted < 0) | (wanted >= num_frames)]
        if len(outside):
            raise FrameIndexError(
                f"{self.name}: frame {outside[0]} does not exist; the video has {num_frames} "
                f"frames, numbered from 0 to {num_frames - 1}"
            )

    # ---- opening and closing

    @contextmanager
    def _reading(self) -> Iterator[Reader]:
        """Yield the reader, opened, to one thread at a time.

        Raises:
            VideoError: anything that goes wrong below; decoders raise what they like, and one file
                must not end the work on all others.
        """
        with self._lock_for_process():
            try:
                if self._reader is None:
                    self._reader = self._open()
                yield self._reader
            except InternVideoError:
                raise
            except Exception as error:
                reader, self._reader = self._reader, None  # who knows what state it is in
                with suppress(Exception):
                    if reader is not None:
                        reader.close()
                raise VideoError(
                    f"{self.name}: reading stopped ({describe_error(error)}); copy or convert the "
                    "file again"
                ) from error

    def _open(self) -> Reader:
        path = self._source.path
        if self._still:
            return StillReader(self._source)
        if path is not None and path.is_dir():
            return RawFramesReader(path, fps=self._folder_fps, pattern=self._pattern)
        if self._backend == "torchcodec":
            from internvideo.video.torchcodec_backend import TorchCodecReader

            return TorchCodecReader(self._source, threads=self._threads)
        from internvideo.video.pyav_backend import PyAVReader

        reader = PyAVReader(self._source, threads=self._threads)
        if not reader.is_image_file:
            return reader
        reader.close()
        moves = is_animated_webp(self._source)
        return AnimatedWebPReader(self._source) if moves else StillReader(self._source)

    def _lock_for_process(self) -> threading.RLock:
        """Return the lock; in a forked child, first let go of what the parent has open."""
        if self._pid != os.getpid():
            reader = self._reader
            self._start()
            if reader is not None:
                reader.abandon()
            self._source = self._source.after_fork()
        return self._lock

    def close(self) -> None:
        """Close the file; using the video again opens it again."""
        with self._lock_for_process():
            reader, self._reader = self._reader, None
            if reader is not None:
                reader.close()

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_reader", None) is not None and self._pid == os.getpid():
            self.close()

    def __getstate__(self) -> dict[str, Any]:
        with self._lock_for_process():
            state = dict(self.__dict__, _source=self._source.portable())
        for name in ("_reader", "_pid", "_lock"):
            del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def __repr__(self) -> str:
        return f"Video({self.name!r})"


def _as_indices(indices: Any) -> np.ndarray:
    """Return frame numbers as int64, refusing fractions and masks."""
    array = np.asarray(indices)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise VideoError(
            f"frame numbers must be a list of integers, got {array.dtype} of shape {array.shape}"
        )
    return array.astype(np.int64)
