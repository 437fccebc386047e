"""`internvideo embed`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from internvideo.cli.labels import read_labels
from internvideo.cli.options import Card, Device, Model
from internvideo.cli.terminal import counted, failure_list, output_file, progress_bar, warning_line
from internvideo.errors import ConfigError, VideoError, did_you_mean
from internvideo.files import replacing

if TYPE_CHECKING:
    import numpy as np

    from internvideo.pipeline import VideoModel

__all__ = ["embed"]


@dataclass(frozen=True, kw_only=True)
class _Embeddings:
    """Vectors of unit length, "n d" float32, and what each row belongs to."""

    videos: list[str]
    video_rows: np.ndarray
    texts: list[str]
    text_rows: np.ndarray
    manifest: dict[str, Any]


def embed(
    videos: Annotated[
        list[str] | None, typer.Argument(metavar="VIDEO...", help="Files, folders, or URLs.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File to write: .npz, .safetensors or .jsonl.")
    ] = Path("embeddings.npz"),
    text: Annotated[
        list[str] | None,
        typer.Option("--text", "-t", help="Also embed this text; a file gives one text a line."),
    ] = None,
    model: Model = "viclip-nano",
    card: Card = None,
    device: Device = "auto",
) -> None:
    """Turn videos, and texts, into vectors of unit length.

    The dot product of two of them is their cosine similarity. The file also names the videos, the
    texts, the model and its input protocol, so that the numbers can be made again.

    Examples:
      internvideo embed clips/ --out clips.npz
      internvideo embed a.mp4 b.mp4 --text "something grows" --out pairs.safetensors
      internvideo embed clips/ -m videomae-b16-k400 --out features.jsonl
    """
    writers: dict[str, Callable[[Path, _Embeddings], None]] = {
        ".npz": _write_npz,
        ".safetensors": _write_safetensors,
        ".jsonl": _write_jsonl,
    }
    if out.suffix not in writers:
        raise ConfigError(
            f"cannot write {out}: the name must end in .npz, .safetensors or .jsonl."
            f"{did_you_mean(out.suffix, writers, count=1)}"
        )
    texts = read_labels(text) or []
    if not videos and not texts:
        raise ConfigError("nothing to embed: give at least one VIDEO or --text")
    output_file(out)
    from internvideo.pipeline import load
    from internvideo.video.opening import expand_videos

    paths, failures = expand_videos(videos or [])
    total = len(paths) + len(failures)
    video_model = load(model, device=device, card=card)
    good: dict[str, np.ndarray] = {}
    with progress_bar("embedding", unit="videos") as advance:
        results = video_model.embed_many(paths)
        for number, (path, result) in enumerate(zip(paths, results, strict=True), start=1):
            if isinstance(result, VideoError):
                failures.append((path, str(result)))
            else:
                good[path] = result.numpy()
            advance(number, len(paths))
    if good or texts:
        found = _Embeddings(
            videos=list(good),
            video_rows=_matrix(good.values()),
            texts=texts,
            text_rows=_matrix(video_model.embed_text(texts).numpy() if texts else ()),
            manifest=_manifest(video_model),
        )
        with replacing(out, keep_ending=True) as draft:
            writers[out.suffix](draft, found)
        what = f"{counted(len(good), 'video')} and {counted(len(texts), 'text')}"
        width = max(found.video_rows.shape[1], found.text_rows.shape[1])
        print(f"{what}, {width} numbers each: {out}")
    elif total > 1:
        warning_line(f"no video could be used; {out} was not written")
    raise typer.Exit(failure_list(failures, total=total))


def _manifest(video_model: VideoModel) -> dict[str, Any]:
    import internvideo
    from internvideo.zoo.hub import weights_sha256

    return {
        "model": video_model.name,
        "preprocessing": video_model.preprocessing.to_dict(),
        "weights_sha256": weights_sha256(video_model.model),
        "internvideo": internvideo.__version__,
    }


def _matrix(rows: Iterable[np.ndarray]) -> np.ndarray:
    import numpy as np

    stacked = [*rows]
    return np.stack(stacked).astype(np.float32) if stacked else np.zeros((0, 0), np.float32)


def _write_npz(path: Path, found: _Embeddings) -> None:
    import numpy as np

    np.savez(
        path,
        videos=np.array(found.videos, dtype=str),
        video_embeddings=found.video_rows,
        texts=np.array(found.texts, dtype=str),
        text_embeddings=found.text_rows,
        manifest=np.array(json.dumps(found.manifest)),
    )


def _write_safetensors(path: Path, found: _Embeddings) -> None:
    from safetensors.numpy import save_file

    save_file(
        {"video_embeddings": found.video_rows, "text_embeddings": found.text_rows},
        path,
        metadata={
            "videos": json.dumps(found.videos),
            "texts": json.dumps(found.texts),
            "manifest": json.dumps(found.manifest),
        },
    )


def _write_jsonl(path: Path, found: _Embeddings) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps({"manifest": found.manifest}) + "\n")
        for kind, names, rows in (
            ("video", found.videos, found.video_rows),
            ("text", found.texts, found.text_rows),
        ):
            for name, row in zip(names, rows, strict=True):
                line = {kind: name, "embedding": [float(value) for value in row]}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
