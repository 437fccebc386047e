"""Vectors of many videos in one file, of which a stop loses nothing.

    videos ──► whole, or in windows ──► vectors ──► OUT.part, a line a video ──► OUT

Each of several processes has a part file of its own (`OUT.part.1`). The same command goes on with
what the part files hold; at the end the first process makes one file of them, in the order of the
videos, and deletes them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from internvideo.errors import ConfigError, VideoError, did_you_mean, require
from internvideo.evaluation.embedding import VideoEmbedder
from internvideo.evaluation.engine import Seen, Unreadable, answers
from internvideo.evaluation.videos import Cut
from internvideo.files import (
    JsonLinesWriter,
    json_text,
    read_json_lines,
    replace_json_lines,
    replacing,
)
from internvideo.video.opening import open_video
from internvideo.video.read_ahead import interleaved
from internvideo.video.windows import sliding_windows, spans

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["EmbeddedVideo", "EmbeddingFile", "check_ending", "embed_each"]

_WAITING = 8  # windows of a video that are decoded ahead


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddedVideo:
    """The vectors of a video.

    Attributes:
        video: as the user named it.
        rows: of unit length; one, or one a window.
        spans: start and end of each window in seconds; None where the video is whole.
        error: why there are none; empty where there are.
    """

    video: str
    rows: Float[np.ndarray, "n d"]
    spans: tuple[tuple[float, float], ...] | None = None
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class _Found:
    """All that a file holds."""

    path: Path
    videos: Sequence[EmbeddedVideo]
    texts: Sequence[str]
    text_rows: Float[np.ndarray, "n d"]
    manifest: Mapping[str, Any]

    @property
    def names(self) -> list[str]:
        """The video of each row."""
        return [each.video for each in self.videos for _ in each.rows]

    @property
    def rows(self) -> Float[np.ndarray, "n d"]:
        """The rows of all videos."""
        rows = [each.rows for each in self.videos]
        return np.concatenate(rows) if rows else np.zeros((0, 0), np.float32)

    @property
    def spans(self) -> Float[np.ndarray, "n 2"] | None:
        """Start and end of each row in seconds; None where the videos are whole."""
        if not self.videos or self.videos[0].spans is None:
            return None
        return np.array([span for each in self.videos for span in each.spans or ()], np.float32)


def check_ending(path: Path) -> Path:
    """Return the path of a file of vectors, if it names a format.

    Raises:
        ConfigError: it does not.
        MissingExtraError: the format needs a package that is not installed.
    """
    if path.suffix not in _WRITERS:
        *others, last = _WRITERS
        raise ConfigError(
            f"cannot write {path}: the name must end in {', '.join(map(repr, others))} or {last!r}."
            f"{did_you_mean(path.suffix, _WRITERS, count=1)}"
        )
    if path.suffix == ".parquet":
        require("pyarrow.parquet", extra="parquet")
    return path


class EmbeddingFile:
    """The vectors of a command while it runs, and the file at its end.

    Args:
        path: the file; its ending is the format, see `check_ending`.
        manifest: what made the vectors; it must be the same to go on.
        rank: number of this process.

    Raises:
        ConfigError: the vectors there were made in another way.
    """

    def __init__(self, path: Path, manifest: Mapping[str, Any], *, rank: int = 0) -> None:
        self.path, self.manifest = path, dict(manifest)
        self._part = path.with_name(f"{path.name}.part{f'.{rank}' if rank else ''}")
        self._writer: JsonLinesWriter | None = None
        for part in self._parts():
            self._refuse_others(part)

    @property
    def finished(self) -> set[str]:
        """Names of the videos whose vectors are there."""
        return {line["video"] for part in self._parts() for line in _lines(part)}

    def add(self, found: EmbeddedVideo) -> None:
        """Keep the vectors of a video; they are handed to the system when this returns."""
        if self._writer is None:
            is_new = not self._part.exists() or not self._part.stat().st_size
            self._writer = JsonLinesWriter(self._part)
            if is_new:
                self._writer.append({"manifest": self.manifest})
        rows = found.rows.astype("<f4")
        line = {"video": found.video, "shape": rows.shape, "spans": found.spans}
        self._writer.append(line | {"rows": base64.b64encode(rows.tobytes()).decode("ascii")})

    def close(self) -> None:
        """Close the part file of this process; called by each before `complete`."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def complete(
        self, videos: Sequence[str], texts: Sequence[str], text_rows: Float[np.ndarray, "n d"]
    ) -> tuple[int, int, int]:
        """Write the file and delete the part files; called by one process.

        Returns:
            Number of videos, of their rows, and of the numbers in a row.
        """
        kept = {line["video"]: line for part in self._parts() for line in _lines(part)}
        found = _Found(
            path=self.path, videos=[_video_of(kept[name]) for name in videos if name in kept],
            texts=texts, text_rows=text_rows, manifest=self.manifest,
        )  # fmt: skip
        if found.videos or texts:
            with replacing(self.path, keep_ending=True) as draft:
                _WRITERS[self.path.suffix](draft, found)
        for part in self._parts():
            part.unlink()
        width = max((each.rows.shape[1] for each in found.videos), default=text_rows.shape[1])
        return len(found.videos), sum(len(each.rows) for each in found.videos), width

    def _parts(self) -> list[Path]:
        first = self.path.with_name(f"{self.path.name}.part")
        others = sorted(first.parent.glob(f"{first.name}.[0-9]*"))
        return [first, *others] if first.exists() else others

    def _refuse_others(self, part: Path) -> None:
        header: dict[str, Any] = next((line for _, line in read_json_lines(part)), dict[str, Any]())
        made: dict[str, Any] = header.get("manifest", self.manifest)
        other = sorted(
            n for n in made.keys() | self.manifest if made.get(n) != self.manifest.get(n)
        )
        if other:
            raise ConfigError(
                f"{part} holds vectors that were made in another way (different "
                f"{', '.join(other)}); choose another --out, or delete it"
            )


def embed_each(
    embedder: VideoEmbedder,
    videos: Sequence[str],
    *,
    cut: Cut | None = None,
    batch_size: int = 16,
    num_workers: int = 2,
    fabric: Fabric | None = None,
) -> Iterator[EmbeddedVideo]:
    """Yield the vectors of each video, or why it cannot be read, as they come.

    Args:
        embedder: asks the model.
        videos: paths and addresses.
        cut: into windows, each looked at through one clip and the central crop; None embeds whole
            videos by the protocol of the model.
        batch_size: views or windows that go through the model together, of one video or of several.
        num_workers: videos decoded at once, in threads.
        fabric: sets the precision.
    """
    rows: dict[int, list[np.ndarray]] = {}
    times: dict[int, list[tuple[float, float]]] = {}
    totals: dict[int, int] = {}

    def see(item: tuple[int, str]) -> Iterator[Seen | Unreadable]:
        number, name = item
        try:
            with open_video(name) as (_, opened):
                if cut is None:
                    totals[number] = 1
                    yield Seen(name, embedder.protocol.load(opened), number)
                    return
                plan = spans(opened, embedder.protocol, window=cut.window, stride=cut.stride)
                totals[number] = plan.count
                for each in sliding_windows(opened, embedder.protocol, plan):
                    yield Seen(name, each.clip[None], number, each.start, each.end)
        except VideoError as error:
            yield Unreadable(name, error, number)

    threads = min(num_workers, len(videos))
    seen = interleaved(see, enumerate(videos), threads=threads, depth=_WAITING)
    for each, row in answers(embedder, seen, batch_size=batch_size, fabric=fabric):
        number, name = each.index, videos[each.index]
        if isinstance(row, VideoError):
            rows.pop(number, None)
            yield EmbeddedVideo(video=name, rows=np.zeros((0, 0), np.float32), error=str(row))
            continue
        assert isinstance(each, Seen)
        rows.setdefault(number, []).append(row.float().cpu().numpy())
        times.setdefault(number, []).append((round(each.start, 3), round(each.end, 3)))
        if len(rows[number]) == totals[number]:
            found, when = np.stack(rows.pop(number)), tuple(times.pop(number))
            yield EmbeddedVideo(video=name, rows=found, spans=None if cut is None else when)


def _lines(part: Path) -> Iterator[dict[str, Any]]:
    return (line for _, line in read_json_lines(part) if "video" in line)


def _video_of(line: Mapping[str, Any]) -> EmbeddedVideo:
    flat = np.frombuffer(base64.b64decode(line["rows"]), np.dtype("<f4"))
    rows: np.ndarray = np.reshape(flat, tuple(line["shape"]))
    when = line["spans"]
    return EmbeddedVideo(
        video=line["video"], rows=rows, spans=when and tuple((start, end) for start, end in when)
    )


# --- formats ----------------------------------------------------------------------------------


def _named_rows(found: _Found) -> Iterator[tuple[dict[str, Any], Float[np.ndarray, " d"]]]:
    """Yield what each row belongs to, and the row."""
    for each in found.videos:
        for number, row in enumerate(each.rows):
            when = {} if each.spans is None else dict(
                zip(("start", "end"), each.spans[number], strict=True)
            )  # fmt: skip
            yield {"video": each.video, **when}, row
    for text, row in zip(found.texts, found.text_rows, strict=True):
        yield {"text": text}, row


def _write_jsonl(path: Path, found: _Found) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"{json_text({'manifest': found.manifest})}\n")
        for about, row in _named_rows(found):
            file.write(f"{json_text({**about, 'embedding': list(map(float, row))})}\n")


def _write_npz(path: Path, found: _Found) -> None:
    when: dict[str, Any] = {} if found.spans is None else {"spans": found.spans}
    np.savez(
        path,
        videos=np.array(found.names, dtype=str), video_embeddings=found.rows, **when,
        texts=np.array(found.texts, dtype=str), text_embeddings=found.text_rows,
        manifest=np.array(json.dumps(found.manifest)),
    )  # fmt: skip


def _write_npy(path: Path, found: _Found) -> None:
    """Write the rows of videos, and behind them those of texts; what they are stands beside."""
    parts = [rows for rows in (found.rows, found.text_rows) if rows.size]
    np.save(path, np.concatenate(parts))
    beside = found.path.with_suffix(".rows.jsonl")
    replace_json_lines(beside, [{"manifest": found.manifest}, *(a for a, _ in _named_rows(found))])


def _write_safetensors(path: Path, found: _Found) -> None:
    from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]

    tensors = {"video_embeddings": found.rows, "text_embeddings": found.text_rows}
    if found.spans is not None:
        tensors["spans"] = found.spans
    texts = {"videos": found.names, "texts": list(found.texts), "manifest": dict(found.manifest)}
    save_file(tensors, path, metadata={name: json.dumps(each) for name, each in texts.items()})


def _write_parquet(path: Path, found: _Found) -> None:
    arrow, parquet = (require(f"pyarrow{each}", extra="parquet") for each in ("", ".parquet"))
    rows = [*_named_rows(found)]
    text, number = arrow.string(), arrow.float32()
    kinds = {"video": text, "start": number, "end": number, "text": text}
    columns = {n: arrow.array([about.get(n) for about, _ in rows], k) for n, k in kinds.items()}
    columns["embedding"] = arrow.array([row for _, row in rows], arrow.list_(number))
    table = arrow.table(columns)
    about = {"manifest": json.dumps(found.manifest)}
    parquet.write_table(table.replace_schema_metadata(about), path)


_WRITERS: dict[str, Callable[[Path, _Found], None]] = {
    ".npz": _write_npz,
    ".npy": _write_npy,
    ".safetensors": _write_safetensors,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}
