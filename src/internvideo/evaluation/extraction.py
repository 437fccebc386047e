"""Features of untrimmed videos: a row for each window of frames, whatever kind of model there is.

    videos ──► windows of each, decoded once ──► batches across videos ──► rows ──► a file a video

The windows are those of published extractions: a whole number of frames every so many frames, no
window reaches beyond the end, and the frames behind the last one are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor

from internvideo.config import Positive, config_class, config_to_dict
from internvideo.data.feature_writing import FeatureFolder, VideoRows
from internvideo.data.features import FeatureSequence
from internvideo.errors import ConfigError, VideoError, did_you_mean
from internvideo.evaluation.engine import Answerer, Batch, Seen, Unreadable, answers
from internvideo.models.contract import VideoEncoder, has
from internvideo.models.feature_origin import FeatureOrigin
from internvideo.video.opening import AnyVideo, name_of, open_video
from internvideo.video.preprocessing import PRESETS as PROTOCOLS
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.read_ahead import interleaved
from internvideo.video.windows import Resampled, Spans, sliding_windows
from internvideo.zoo.hub import LoadedModel, weights_sha256
from internvideo.zoo.load import load_model

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = [
    "PRESETS",
    "Extracted",
    "Extraction",
    "FeatureExtractor",
    "extract",
    "find_preset",
    "load_feature_encoder",
    "video_features",
    "windows_of",
]

_BATCH_WINDOWS = 8
_WAITING = 8  # windows of a video that are decoded ahead


@config_class
class Extraction:
    """Which windows of a video become rows, and what a row is.

    Attributes:
        window: frames of a window.
        stride: frames from the start of a window to that of the next.
        fps: frames per second that both count in; None counts the frames of the file.
        layer: number of the block whose tokens are taken, negative ones from the end; None takes
            the model's own feature of a clip, the input of its head.
        pool: "mean" makes one vector of the tokens of a window; "none" keeps the tokens.
        pixels: "model" prepares pixels as the model was trained; "published" as the one public
            extractor for localisation does: squashed to a square, 0 to 1, no statistics.
        dtype: of the numbers in the file.
    """

    window: PositiveInt = 16
    stride: PositiveInt = 16
    fps: Positive | None = None
    layer: int | None = None
    pool: Literal["mean", "none"] = "mean"
    pixels: Literal["model", "published"] = "model"
    dtype: Literal["float32", "float16"] = "float32"

    @classmethod
    def of(cls, origin: FeatureOrigin) -> Extraction:
        """Return the windows that a model was trained on."""
        return cls(
            window=origin.window, stride=origin.stride, fps=origin.fps, layer=origin.layer,
            pixels=origin.pixels,
        )  # fmt: skip

    def describe(self, encoder: str) -> str:
        """Return in words which windows an encoder looks through."""
        rate = "frames" if self.fps is None else f"frames at {self.fps:g}/s"
        return f"windows of {self.window} {rate}, every {self.stride}, by {encoder}"

    def protocol(self, model: Preprocessing) -> Preprocessing:
        """Return how a window is looked at by a model: frames spread evenly, the central crop."""
        looked = replace(
            model, sampling="middle", frame_stride=1, frame_rate=None, max_seconds=None,
            num_clips=1, num_crops=1,
        )  # fmt: skip
        if self.pixels == "model":
            return looked
        bare = PROTOCOLS["tal-features"]
        return replace(
            looked, resize_rule=bare.resize_rule, resize_size=model.crop_size,
            resize_dtype=bare.resize_dtype, interpolation=bare.interpolation,
            antialias=bare.antialias, mean=bare.mean, std=bare.std,
        )  # fmt: skip


PRESETS: dict[str, Extraction] = {
    "thumos14": Extraction(window=16, stride=4, pixels="published"),
    "activitynet": Extraction(window=16, stride=16, pixels="published"),
    "hacs": Extraction(window=16, stride=16, pixels="published"),
    "fineaction": Extraction(window=16, stride=16, pixels="published"),
    "ego4d": Extraction(window=16, stride=16, fps=30.0),
}
"""The windows of the published features, by data set."""


def find_preset(name: str) -> Extraction:
    """Return the windows of a data set.

    Raises:
        ConfigError: none are published.
    """
    if name not in PRESETS:
        raise ConfigError(
            f"no preset {name!r}.{did_you_mean(name, PRESETS)} Known: {', '.join(PRESETS)}"
        )
    return PRESETS[name]


class FeatureExtractor(Answerer[Tensor]):
    """Answers a window with its row: "c", or "n c" where the tokens are kept.

    Raises:
        ConfigError: the model has no video encoder, or no such layer.
    """

    def __init__(self, model: LoadedModel, extraction: Extraction) -> None:
        super().__init__(model.model.eval(), extraction.protocol(model.protocol))
        if not has(model.model, "features"):
            raise ConfigError(f"{model.name} has no video encoder; choose a model that has one")
        self.encoder: VideoEncoder = model.model
        self.extraction = extraction
        self.name = model.name

    def answer(self, batch: Batch) -> list[Tensor]:
        """Return a row for each window, on the CPU."""
        dtype = getattr(torch, self.extraction.dtype)
        return [rows[0].to(dtype) for _, rows in batch.each(self._rows)]

    def manifest(self) -> dict[str, Any]:
        """Return, as plain data, what made the rows."""
        import internvideo

        return {
            "model": self.name,
            "weights_sha256": weights_sha256(self.network),
            **config_to_dict(self.extraction),
            "preprocessing": self.protocol.to_dict(),
            "internvideo": internvideo.__version__,
        }

    def _rows(self, clips: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b *n d"]:
        layer, pool = self.extraction.layer, self.extraction.pool
        if layer is not None:
            try:
                [tokens] = self.encoder.intermediates(clips, [layer])
            except IndexError as error:
                raise ConfigError(f"layer {layer}: {error}") from None
            return tokens if pool == "none" else tokens.mean(dim=1)
        if pool == "none":
            return self.encoder.forward_features(clips).tokens
        if has(self.network, "text"):
            return self.network.encode_video(clips, normalize=False)
        return self.encoder.pooled(clips)


@dataclass(frozen=True, kw_only=True, slots=True)
class Extracted:
    """What became of a video.

    Attributes:
        video: as the user named it.
        path: file of its features; None where there is none.
        rows: how many windows.
        error: why it cannot be read; empty where it could.
        skipped: the file was there already.
    """

    video: str
    path: Path | None = None
    rows: int = 0
    error: str = ""
    skipped: bool = False


def extract(
    extractor: FeatureExtractor,
    videos: Sequence[str | Path],
    folder: FeatureFolder,
    *,
    batch_size: int = _BATCH_WINDOWS,
    num_workers: int = 2,
    fabric: Fabric | None = None,
    progress: Callable[[VideoRows], None] | None = None,
) -> Iterator[Extracted]:
    """Write the features of each video, and yield what became of it, in the order of their ends.

    Videos whose file is there are skipped; one that a stop cut off goes on where it was. Only the
    windows of a batch, and a few that are decoded ahead, are in memory.

    Args:
        extractor: the model and its windows.
        videos: paths and addresses.
        folder: where the files go.
        batch_size: windows that go through the model together, of one video or of several.
        num_workers: videos decoded at once, in threads.
        fabric: sets the precision; each of several processes takes its share of the videos.
        progress: called with the rows of a video after each one that is added.

    Raises:
        ConfigError: two videos have one name, or the folder holds the features of another model.
    """
    rank, world_size = (fabric.global_rank, fabric.world_size) if fabric else (0, 1)
    folder.begin(extractor.manifest(), [name_of(video) for video in videos])
    mine = list(videos)[rank::world_size]
    todo: list[str | Path] = []
    for video in mine:
        if (path := folder.finished(name_of(video))) is not None:
            yield Extracted(video=str(video), path=path, skipped=True)
        else:
            todo.append(video)
    seen = interleaved(
        lambda item: _windows(extractor, item[1], folder, item[0]),
        enumerate(todo),
        threads=min(num_workers, len(todo)),
        depth=_WAITING,
    )
    asked = answers(extractor, seen, batch_size=batch_size, fabric=fabric)
    for each, row in asked:
        video = str(todo[each.index])
        rows = folder.rows(name_of(video))
        if isinstance(row, VideoError):
            if rows is not None:
                rows.discard()
            yield Extracted(video=video, error=str(row))
            continue
        assert rows is not None  # opened before its first window
        rows.append(row.numpy())
        if progress is not None:
            progress(rows)
        if len(rows) == rows.total:
            yield Extracted(video=video, path=rows.complete(), rows=rows.total)


def load_feature_encoder(
    origin: FeatureOrigin | None, *, trained: str, device: torch.device | str = "auto"
) -> LoadedModel:
    """Load the encoder whose features a model was trained on.

    Args:
        origin: what the model says of its features.
        trained: its name, for messages.
        device: where the encoder goes.

    Raises:
        ConfigError: the model says nothing, or was trained with other weights than are there.
    """
    if origin is None:
        raise ConfigError(
            f"{trained} does not say which encoder made the features that it was trained on; "
            "load it with config={'origin': {'model': …, 'window': 16, 'stride': 16}}"
        )
    encoder = load_model(origin.model, device=device)
    if origin.weights_sha256 not in ("", weights_sha256(encoder.model)):
        raise ConfigError(
            f"{origin.model} has other weights than the encoder that {trained} was trained with; "
            "load those, or train it anew"
        )
    return encoder


def video_features(
    model: LoadedModel, video: AnyVideo, extraction: Extraction, *, batch_size: int = _BATCH_WINDOWS
) -> FeatureSequence:
    """Return the features of one video, in memory.

    Raises:
        VideoError: it cannot be read.
        ConfigError: the model cannot make them.
    """
    extractor = FeatureExtractor(model, extraction)
    with open_video(video) as (name, opened):
        source = opened if extraction.fps is None else Resampled(opened, extraction.fps)
        plan = windows_of(source.num_frames, extraction)
        windows = sliding_windows(source, extractor.protocol, plan)
        seen = (Seen(name, each.clip[None], 0, each.start, each.end) for each in windows)
        rows = [row for _, row in answers(extractor, seen, batch_size=batch_size)]
        return FeatureSequence(
            features=torch.stack(rows),  # type: ignore[arg-type]
            fps=source.fps,
            stride=extraction.stride,
            window=extraction.window,
            duration=opened.num_frames / opened.fps,
            source=name,
        )


def windows_of(num_frames: int, extraction: Extraction) -> Spans:
    """Return the windows of a video of so many frames; a shorter one is a window itself."""
    length = min(extraction.window, num_frames)
    return Spans(num_frames, length, extraction.stride, covers_end=False)


def _windows(
    extractor: FeatureExtractor, video: str | Path, folder: FeatureFolder, number: int
) -> Iterator[Seen | Unreadable]:
    """Yield the windows of a video that have no row yet; behind them, why there are no more."""
    extraction, name = extractor.extraction, name_of(video)
    try:
        with open_video(video) as (_, opened):
            source = opened if extraction.fps is None else Resampled(opened, extraction.fps)
            plan = windows_of(source.num_frames, extraction)
            about = {
                "path": str(video), "fps": source.fps, "duration": opened.num_frames / opened.fps,
            }  # fmt: skip
            first = folder.open(name, total=plan.count, about=about)
            for each in sliding_windows(source, extractor.protocol, plan, first=first):
                yield Seen(name, each.clip[None], number, each.start, each.end)
    except VideoError as error:
        yield Unreadable(name, error, number)
