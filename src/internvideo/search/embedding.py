"""From video files to parts with vectors: what every engine does with a file.

file ──► digest ──► spans ──► views (threads, several files at once) ──► batches ──► vectors
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from internvideo.errors import ConfigError, VideoError
from internvideo.evaluation.cluster import over_cluster
from internvideo.evaluation.embedding import VideoEmbedder
from internvideo.evaluation.engine import Seen, Unreadable, answers
from internvideo.pipeline import load
from internvideo.search.cutting import decode_spans, spans_of, thumbnail
from internvideo.search.files import with_digest
from internvideo.search.records import Cut, Manifest, Part, VideoFile
from internvideo.video import Video
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.read_ahead import interleaved
from internvideo.zoo.hub import LoadedModel, weights_sha256

__all__ = ["EmbeddedVideo", "embed_files", "embed_on_cluster"]

_PARTS_AHEAD = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedVideo:
    """A video that is ready for a library, or why it is not.

    Attributes:
        file: the video.
        parts: all of them, with their vectors; of a damaged file, those before the damage.
        error: why it could not be read, or not to its end.
    """

    file: VideoFile
    parts: Sequence[Part]
    error: str = ""


@dataclass(frozen=True, slots=True)
class _SeenPart(Seen):
    """A part as a model sees it, and its row without the vector."""

    part: Part | None = None


def embed_files(
    model: LoadedModel,
    files: Iterable[VideoFile],
    cut: Cut,
    *,
    num_workers: int | None = None,
) -> Iterator[EmbeddedVideo]:
    """Yield each video with its parts and their vectors, in the order in which they are done.

    Args:
        model: with `embed`, in evaluation mode.
        files: each is taken when there is time for it.
        cut: where they are cut.
        num_workers: videos decoded at once, in threads; None is up to four, 0 decodes between
            batches.

    Raises:
        ConfigError: the model embeds no videos.
    """
    embedder = VideoEmbedder(model)
    threads = min(4, os.cpu_count() or 1) if num_workers is None else num_workers
    begun: dict[str, VideoFile] = {}
    done: dict[str, list[Part]] = {}

    def read(file: VideoFile) -> Iterator[_SeenPart | Unreadable]:
        begun[file.path], done[file.path] = file, []
        return _read(file, cut, embedder.protocol)

    seen = interleaved(read, files, threads=threads, depth=_PARTS_AHEAD)
    for each, answer in answers(embedder, seen):
        parts = done[each.name]
        if isinstance(answer, VideoError):
            yield _finished(begun.pop(each.name), done.pop(each.name), str(answer))
            continue
        assert isinstance(each, _SeenPart)
        assert each.part is not None
        parts.append(replace(each.part, vector=answer.numpy()))
        if len(parts) == each.part.num_parts:
            yield _finished(begun.pop(each.name), done.pop(each.name))


def embed_on_cluster(
    manifest: Manifest, files: Iterable[VideoFile], *, workers: int | None = None
) -> Iterator[EmbeddedVideo]:
    """Yield each video with its vectors, made by the workers of a Ray cluster.

    Args:
        manifest: names the model and says where to cut.
        files: all of them are handed to Ray at once.
        workers: see `over_cluster`.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    return over_cluster(list(files), partial(_on_node, manifest.to_json()), workers=workers)


def _on_node(manifest_json: str) -> Callable[[list[VideoFile]], Iterator[EmbeddedVideo]]:
    """Load the model on a node of the cluster; return what embeds files with it.

    Raises:
        ConfigError: the node has other weights under the name of the model.
    """
    manifest = Manifest.from_json(manifest_json, source="the library")
    model = load(manifest.model).loaded.with_record(preprocessing=manifest.preprocessing)
    if weights_sha256(model.model) != manifest.weights:
        raise ConfigError(f"{manifest.model} has other weights on this node")
    return lambda files: embed_files(model, files, manifest.cut, num_workers=1)


def _finished(file: VideoFile, parts: Sequence[Part], error: str = "") -> EmbeddedVideo:
    numbered = [replace(part, num_parts=len(parts), incomplete=error) for part in parts]
    return EmbeddedVideo(file=file, parts=numbered, error=error)


def _read(file: VideoFile, cut: Cut, protocol: Preprocessing) -> Iterator[_SeenPart | Unreadable]:
    """Yield the parts of a video as a model sees them; an error comes last."""
    try:
        file = with_digest(file)
        with Video(file.path) as video:
            spans = spans_of(video, cut)
            seconds = np.append(video.timestamps().numpy(), video.duration)
            decoded = decode_spans(video, protocol, spans)
            for number, (span, (views, middle)) in enumerate(zip(spans, decoded, strict=True)):
                part = Part(
                    file=file,
                    number=number,
                    num_parts=len(spans),
                    start=float(seconds[span.first]),
                    end=float(seconds[span.end]),
                    first_frame=span.first,
                    num_frames=span.num_frames,
                    fps=video.fps,
                    duration=video.duration,
                    height=middle.shape[0],
                    width=middle.shape[1],
                    thumbnail=thumbnail(middle),
                )
                yield _SeenPart(file.path, views, number, part.start, part.end, part)
    except VideoError as error:
        yield Unreadable(file.path, error)
