"""`internvideo embed`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from internvideo.cli.labels import read_labels
from internvideo.cli.options import Card, Device, Model
from internvideo.cli.terminal import (
    counted,
    failure_list,
    note_line,
    output_file,
    progress_bar,
    warning_line,
)
from internvideo.errors import ConfigError

if TYPE_CHECKING:
    from internvideo.evaluation.videos import Cut
    from internvideo.pipeline import VideoModel

__all__ = ["embed"]


def embed(
    videos: Annotated[
        list[str] | None, typer.Argument(metavar="VIDEO", help="Files, folders, or URLs.")
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="File to write: .npz, .npy, .safetensors, .jsonl or .parquet."
        ),
    ] = Path("embeddings.npz"),
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            "-t",
            metavar="TEXT",
            help="Also embed this text; a file gives one text a line.",
        ),
    ] = None,
    window: Annotated[
        float | None, typer.Option(help="A vector for each window of so many seconds.")
    ] = None,
    stride: Annotated[
        float | None, typer.Option(help="Seconds from one window to the next; else they adjoin.")
    ] = None,
    every: Annotated[
        float | None, typer.Option(help="Short for windows of so many seconds side by side.")
    ] = None,
    model: Model = "viclip-nano",
    card: Card = None,
    device: Device = "auto",
    batch_size: Annotated[
        int, typer.Option(min=1, help="Views or windows that go through the model together.")
    ] = 16,
    workers: Annotated[int, typer.Option(min=0, help="Videos decoded at once.")] = 2,
) -> None:
    """Turn videos, their windows, and texts, into vectors of unit length.

    The dot product of two of them is their cosine similarity. The file also names the videos, the
    texts, the model and its input protocol, so that the numbers can be made again. While the
    command runs, the vectors lie in a file beside it that ends in .part; after a stop the same
    command goes on. `torchrun` shares the videos between processes.

    For the features that localisers read, see `internvideo extract`.

    Examples:
      internvideo embed clips/ --out clips.npz
      internvideo embed a.mp4 b.mp4 --text "something grows" --out pairs.safetensors
      internvideo embed films/ --window 4 --stride 2 --workers 4 --out films.parquet
      internvideo embed clips/ -m videomae-b16-k400 --out features.jsonl
    """
    from internvideo.evaluation.embedding_file import check_ending

    texts = read_labels(text) or []
    if not videos and not texts:
        raise ConfigError("nothing to embed: give at least one VIDEO or --text")
    output_file(check_ending(out))
    cut = _cut(window, stride, every)
    from internvideo.evaluation.embedding import VideoEmbedder
    from internvideo.evaluation.embedding_file import EmbeddingFile, embed_each
    from internvideo.evaluation.engine import gathered, joined_processes
    from internvideo.pipeline import load
    from internvideo.video.opening import expand_videos

    paths, failures = expand_videos(videos or [])
    total = len(paths) + len(failures)
    loaded = load(model, device=device, card=card)
    fabric = joined_processes(loaded.model)
    rank, world_size = (fabric.global_rank, fabric.world_size) if fabric else (0, 1)
    file = EmbeddingFile(out, _manifest(loaded, cut), rank=rank)
    there = set[str]().union(*gathered(file.finished, fabric))
    left = [path for path in paths if path not in there]
    if len(left) < len(paths) and rank == 0:
        note_line(f"goes on with {counted(len(paths) - len(left), 'video')} there already")
    mine = left[rank::world_size]
    mishaps: list[tuple[str, str]] = []
    with progress_bar("embedding", unit="videos") as advance:
        asked = embed_each(
            VideoEmbedder(loaded.loaded), mine, cut=cut, batch_size=batch_size,
            num_workers=workers, fabric=fabric,
        )  # fmt: skip
        for number, found in enumerate(asked if mine else (), start=1):
            if found.error:
                mishaps.append((found.video, found.error))
            else:
                file.add(found)
            advance(number, len(mine))
    file.close()
    failures += [each for part in gathered(mishaps, fabric) for each in part]
    if rank > 0:
        raise typer.Exit(0 if not failures else 1)
    text_rows = loaded.embed_text(texts).numpy() if texts else _no_rows()
    good, rows, width = file.complete(paths, texts, text_rows)
    if good or texts:
        which = "" if cut is None else f" ({counted(rows, 'window')})"
        what = f"{counted(good, 'video')}{which} and {counted(len(texts), 'text')}"
        print(f"{what}, {width} numbers each: {out}")
    elif total > 1:
        warning_line(f"no video could be used; {out} was not written")
    raise typer.Exit(failure_list(failures, total=total))


def _cut(window: float | None, stride: float | None, every: float | None) -> Cut | None:
    """Return the windows that the options mean; None means whole videos."""
    from internvideo.evaluation.videos import Cut

    if every is not None and (window is not None or stride is not None):
        raise ConfigError("--every is short for --window and --stride; leave one of them out")
    window = window if every is None else every
    if window is None and stride is None:
        return None
    for value in (window, stride):
        if value is not None and not value > 0:
            raise ConfigError(
                f"windows have a positive length and stride in seconds, not {value:g}"
            )
    return Cut(window=window, stride=stride)


def _no_rows() -> Any:
    import numpy as np

    return np.zeros((0, 0), np.float32)


def _manifest(model: VideoModel, cut: Cut | None) -> dict[str, Any]:
    """Return, as plain data, what makes the vectors."""
    import internvideo
    from internvideo.zoo.hub import weights_sha256

    windows = {} if cut is None else {"window": cut.window, "stride": cut.stride}
    return {
        "model": model.name,
        "preprocessing": model.preprocessing.to_dict(),
        "weights_sha256": weights_sha256(model.model),
        **windows,
        "internvideo": internvideo.__version__,
    }
