"""`internvideo extract`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from internvideo.cli.options import Card, Device, Model, Videos
from internvideo.cli.terminal import counted, failure_list, output_folder, progress_bar

if TYPE_CHECKING:
    from internvideo.evaluation.extraction import Extracted, Extraction

__all__ = ["extract"]


def extract(
    videos: Videos,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the features.")] = Path(
        "features"
    ),
    model: Model = "videomae-nano",
    preset: Annotated[
        str | None,
        typer.Option(
            help="The windows and pixels of a data set's published features: thumos14, activitynet,"
            " hacs, fineaction, ego4d. The options below go before it."
        ),
    ] = None,
    window: Annotated[int | None, typer.Option(min=1, help="Frames of a window [16].")] = None,
    stride: Annotated[
        int | None, typer.Option(min=1, help="Frames from window to window [16].")
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(min=0.01, help="Frames a second that both count in [those of the file]."),
    ] = None,
    layer: Annotated[
        int | None,
        typer.Option(help="Take the tokens behind this block; -1 is the last [the head's input]."),
    ] = None,
    pool: Annotated[
        Literal["mean", "none"] | None,
        typer.Option(help="One vector a window, or all its tokens [mean]."),
    ] = None,
    pixels: Annotated[
        Literal["model", "published"] | None,
        typer.Option(help="Prepare pixels as for the model, or as published features [model]."),
    ] = None,
    dtype: Annotated[
        Literal["float32", "float16"] | None, typer.Option(help="Of the numbers [float32].")
    ] = None,
    format: Annotated[
        Literal["npy", "safetensors", "zarr"], typer.Option(help="Of the files, one a video.")
    ] = "npy",
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Work here, or on a Ray cluster.")
    ] = "local",
    workers: Annotated[
        int, typer.Option(min=0, help="Videos decoded at once; with ray, models at work.")
    ] = 2,
    batch_size: Annotated[int, typer.Option(min=1, help="Windows in the model together.")] = 8,
    card: Card = None,
    device: Device = "auto",
) -> None:
    """Write a row of features for each window of untrimmed videos, one file a video.

    Each frame is decoded once, however much the windows overlap. The folder says what made the
    features (manifest.json) and the frame rate of each video (videos.jsonl), which is what
    training and evaluation of localisers read. The same command goes on after a stop.

    Examples:
      internvideo extract videos/ --model videomae-h16-k400 --window 16 --stride 4 --out features
      internvideo extract videos/ -m videomae-h16-k400 --preset thumos14 --out features
      internvideo extract film.mp4 --layer -2 --pool none --format zarr
      internvideo extract videos/ --engine ray --workers 8
    """
    from internvideo.data.feature_writing import FeatureFolder
    from internvideo.evaluation.extraction import Extraction, find_preset
    from internvideo.video.opening import expand_videos

    base = find_preset(preset) if preset else Extraction()
    given = {
        "window": window, "stride": stride, "fps": fps, "layer": layer, "pool": pool,
        "pixels": pixels, "dtype": dtype,
    }  # fmt: skip
    wanted = replace(base, **{k: v for k, v in given.items() if v is not None})
    paths, failures = expand_videos(videos)
    folder = FeatureFolder(output_folder(out), format)
    total = len(paths) + len(failures)
    written = skipped = rows = done = 0
    with progress_bar("extracting", unit="videos") as bar:

        def show(video: Any) -> None:
            name = Path(video.video).name
            bar.stage(f"{name} {len(video)}/{video.total}", done, len(paths))

        if engine == "ray":
            found = _over_ray(paths, folder, wanted, model, card, device, batch_size, workers)
        else:
            work = _prepare(folder, wanted, model, card, device, batch_size, workers)
            found = work(paths, show)
        for each in found:
            done += 1
            bar(done, len(paths))
            if each.error:
                failures.append((each.video, each.error))
            skipped += each.skipped
            written += not (each.skipped or each.error)
            rows += each.rows
    known = f", {counted(skipped, 'video')} there already" if skipped else ""
    print(f"{counted(written, 'video')}, {counted(rows, 'row')}{known}: {out}")
    raise typer.Exit(failure_list(failures, total=total))


def _prepare(
    folder: Any,
    extraction: Extraction,
    model: str,
    card: str | None,
    device: str,
    batch_size: int,
    workers: int,
) -> Any:
    """Load the model; return what extracts a list of videos."""
    from internvideo.evaluation.engine import joined_processes
    from internvideo.evaluation.extraction import FeatureExtractor
    from internvideo.evaluation.extraction import extract as run
    from internvideo.pipeline import load

    extractor = FeatureExtractor(load(model, device=device, card=card).loaded, extraction)
    fabric = joined_processes(extractor.network)

    def work(videos: list[str], progress: Any = None) -> Iterator[Extracted]:
        return run(
            extractor, videos, folder, batch_size=batch_size, num_workers=workers, fabric=fabric,
            progress=progress,
        )  # fmt: skip

    return work


def _over_ray(
    videos: list[str], folder: Any, extraction: Any, model: str, card: Any, device: str,
    batch_size: int, workers: int,
) -> Iterator[Extracted]:  # fmt: skip
    from internvideo.evaluation.cluster import over_cluster

    prepare = partial(_prepare, folder, extraction, model, card, device, batch_size, 1)
    return over_cluster(videos, prepare, workers=max(workers, 1))
