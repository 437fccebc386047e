"""`Library`: videos that are found by a sentence or by an example."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float

from internvideo.errors import CheckpointError, ConfigError, DataError, UnknownNameError
from internvideo.pipeline import VideoModel, load
from internvideo.pipeline.auto import AUTO
from internvideo.search.embedding import embed_files, embed_on_cluster
from internvideo.search.files import below, make_plan
from internvideo.search.hits import Hit, folded
from internvideo.search.indexing import Embed, IndexReport, index_videos
from internvideo.search.matching import check_matches, matched
from internvideo.search.opening import create_store, open_store
from internvideo.search.queries import Moment, embed_text
from internvideo.search.records import Cut, Manifest
from internvideo.search.store import Filter, Status, Store
from internvideo.video.opening import AnyVideo
from internvideo.video.sources import is_url
from internvideo.zoo.hub import weights_sha256

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Engine", "Library", "LibraryStatus", "open_library"]

Engine: TypeAlias = Literal["local", "ray"]

_EVERYTHING = Filter()
_SHOWN = 20
# Parts that are looked at before near-identical ones are folded.
_FIRST_LOOK = 4  # times as many as hits are wanted
_FEWEST, _MOST = 64, 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryStatus:
    """What a library holds.

    Attributes:
        uri: where it is.
        manifest: how it was made.
        store: what the store says.
        missing: videos on this machine that are not where they were.
    """

    uri: str
    manifest: Manifest
    store: Status
    missing: Sequence[str]

    @property
    def hours(self) -> float:
        """Length of all videos."""
        return sum(video.duration for video in self.store.videos) / 3600

    @property
    def incomplete(self) -> list[tuple[str, str]]:
        """(video, reason) of those that could not be read to their end."""
        return [(each.file.path, each.incomplete) for each in self.store.videos if each.incomplete]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        manifest, store = self.manifest, self.store
        return {
            "library": self.uri,
            "videos": len(store.videos),
            "parts": store.num_parts,
            "hours": round(self.hours, 3),
            "bytes": store.num_bytes,
            "vectors": store.vector_index,
            "model": manifest.model,
            "weights_sha256": manifest.weights,
            "preprocessing": manifest.preprocessing.to_dict(),
            "cut": manifest.cut.describe(),
            "incomplete": [list(each) for each in self.incomplete],
            "missing": list(self.missing),
        }

    def __rich__(self) -> Table:
        """Return the facts as a table."""
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=escape(self.uri), show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in self.to_dict().items():
            if name in ("library", "preprocessing"):
                continue
            if name in ("incomplete", "missing"):
                lines = [": ".join(each) if isinstance(each, list) else each for each in value]
                shown = lines[:_SHOWN] + [f"and {len(lines) - _SHOWN} more"] * (len(lines) > _SHOWN)
                value = "\n".join(shown) or "none"
            text = f"{value:,}" if isinstance(value, int | float) else str(value)
            table.add_row(name, escape(text))
        table.add_row("preprocessing", escape(self.manifest.preprocessing.describe()))
        return table


class Library:
    """Videos that are found by a sentence or by an example; made by `open_library`.

    Args:
        uri: where it is kept: a folder (`videos.lance`) or an address in an object store
            (`s3://bucket/videos.lance`) for LanceDB; `http://host:19530/films` for Milvus.
        model: that is asked; None is the one that made the library, which is loaded when needed.
        device: of a model that is loaded here.
    """

    def __init__(
        self,
        uri: str | os.PathLike[str],
        model: VideoModel | str | None = None,
        *,
        device: str | torch.device = "auto",
    ) -> None:
        self.uri = os.fspath(uri)
        self._device = device
        self._asked_for = model
        self._ready: VideoModel | None = None
        self._store = open_store(self.uri)

    # ---- filling it

    def index(
        self,
        videos: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        model: VideoModel | str | None = None,
        cut: Cut | None = None,
        engine: Engine = "local",
        workers: int | None = None,
        prune: bool = False,
        progress: Callable[[int, int], None] | None = None,
        commit_seconds: float = 10.0,
    ) -> IndexReport:
        """Add videos; what is in the library and has not changed costs nothing.

        What is committed survives anything; a stopped call is repeated and goes on. Several
        processes may index into one library at once.

        Args:
            videos: files, folders and addresses.
            model: that embeds them; None is that of the library, and of a new one "auto".
            cut: where they are cut; None is as in the library, and in a new one windows of 4 s.
            engine: "local" decodes in threads of this process, "ray" works on a cluster.
            workers: videos decoded at once, or actors of the cluster.
            prune: delete videos that are no longer where they were, among those that are named.
            progress: called with (videos done, videos to do).
            commit_seconds: how long finished videos wait for their commit.

        Raises:
            ConfigError: the library was made with another model, preprocessing or cut; the model
                embeds no videos.
            MissingExtraError: a package of the store or of the engine is not installed.
        """
        if model is not None:
            self._asked_for, self._ready = model, None
        store = self._made(cut)
        known = {each.file.path: each for each in store.status().videos}
        plan = make_plan(_names(videos), known)
        if engine == "ray":
            embed: Embed = partial(embed_on_cluster, store.manifest, workers=workers)
        else:
            loaded = self.model.loaded
            embed = partial(embed_files, loaded, cut=store.manifest.cut, num_workers=workers)
        report = index_videos(store, plan, embed, progress=progress, commit_seconds=commit_seconds)
        if prune:
            store.delete(plan.vanished)
        return report

    def delete(self, videos: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> int:
        """Forget videos, whether they still exist or not, and return how many.

        Args:
            videos: files and addresses, and folders with all that is below them.
        """
        store = self._existing()
        known = [each.file.path for each in store.status().videos]
        chosen = list(below(_names(videos), known))
        store.delete(chosen)
        return len(chosen)

    def compact(self) -> None:
        """Merge small files, drop old versions, and index the vectors where that pays."""
        self._existing().compact()

    def status(self) -> LibraryStatus:
        """Return what the library holds."""
        store = self._existing()
        status = store.status()
        paths = [each.file.path for each in status.videos]
        missing = [path for path in paths if not is_url(path) and not Path(path).exists()]
        return LibraryStatus(uri=self.uri, manifest=store.manifest, store=status, missing=missing)

    # ---- asking it

    def search(
        self,
        text: str | None = None,
        *,
        video: AnyVideo | None = None,
        like: str | None = None,
        limit: int = 10,
        where: Filter = _EVERYTHING,
        rerank: int = 0,
    ) -> list[Hit]:
        """Return the parts of videos that fit best, the best first.

        Args:
            text: a sentence, for a model with a text tower.
            video: finds parts like a whole video.
            like: finds parts like a moment, `FILE@SECONDS`; the moment itself is left out.
            limit: hits at most.
            where: which parts are looked at.
            rerank: put so many of the best in order by the matching head of the model.

        Raises:
            ConfigError: none or several of the three are given; no words; or the model has no text
                tower or matching head, or knows none of the words.
            DataError: there is no library.
            VideoError: the example cannot be read.
        """
        if sum(each is not None for each in (text, video, like)) != 1:
            raise ConfigError("give one thing to search for: a text, a video, or a moment of one")
        if limit < 1:
            raise ConfigError(f"limit must be at least 1, got {limit}")
        if rerank and text is None:
            raise ConfigError("rerank compares hits with a text; give one")
        moment = None if like is None else Moment.parse(like)
        if text is not None:
            vector = embed_text(self.model, text)
        elif video is not None:
            vector = self.model.embed_video(video)[0].numpy()
        else:
            assert moment is not None
            vector = moment.embed(self.model.loaded, self._existing().manifest.cut)
        if not rerank:
            return self._nearest(vector, limit, where, moment)
        assert text is not None
        check_matches(self.model.loaded)
        hits = self._nearest(vector, max(rerank, limit), where, moment)
        return [*matched(self.model.loaded, hits[:rerank], text), *hits[rerank:]][:limit]

    def _nearest(
        self, vector: Float[np.ndarray, " d"], limit: int, where: Filter, left_out: Moment | None
    ) -> list[Hit]:
        """Look at more and more parts until there are enough hits that are not alike."""
        looked_at = max(_FIRST_LOOK * limit, _FEWEST)
        while True:
            found = self._existing().search(vector, looked_at, where)
            others = [each for each in found if left_out is None or not left_out.is_in(each.part)]
            hits = folded(others, limit)
            if len(hits) == limit or len(found) < looked_at or looked_at >= _MOST:
                return hits
            looked_at *= 4

    # ---- the model and the store

    @property
    def model(self) -> VideoModel:
        """The model of the library, loaded when first needed.

        Raises:
            ConfigError: it cannot be loaded, or is not the one that made the library.
        """
        if self._ready is None:
            manifest = self._existing().manifest
            source = manifest.model if self._asked_for is None else self._asked_for
            if self._asked_for is None:
                model = _reloaded(manifest, self._device)
            else:
                model = _loaded(source, self._device)
            own = _manifest(model, source, manifest.cut, manifest.dimension)
            manifest.check_same(own, source=self.uri)
            self._ready = model
        return self._ready

    def _existing(self) -> Store:
        self._store = self._store or open_store(self.uri)
        if self._store is None:
            raise DataError(
                f"there is no library at {self.uri}; fill one: internvideo index VIDEOS "
                f"--db {self.uri}"
            )
        return self._store

    def _made(self, cut: Cut | None) -> Store:
        """Return the store, which is made where there is none."""
        self._store = self._store or open_store(self.uri)
        if self._store is None:
            source = AUTO if self._asked_for is None else self._asked_for
            self._ready = _loaded(source, self._device)
            manifest = _manifest(self._ready, source, cut or Cut(), _dimension(self._ready))
            self._store = create_store(self.uri, manifest)
        manifest = self._store.manifest
        if cut is not None:
            manifest.check_same(replace(manifest, cut=cut), source=self.uri)
        _ = self.model  # another one is refused before the work
        return self._store


def open_library(
    uri: str | os.PathLike[str],
    model: VideoModel | str | None = None,
    *,
    device: str | torch.device = "auto",
) -> Library:
    """Open the library at an address; one that is not there yet is made by `Library.index`.

    Example:
        >>> import internvideo as iv
        >>> library = iv.open_library("videos.lance", model="viclip-b16")  # doctest: +SKIP
        >>> library.index("holidays/")  # doctest: +SKIP
        >>> for hit in library.search("a dog catches a ball"):  # doctest: +SKIP
        ...     print(hit.path, hit.start, hit.end, hit.score)
    """
    return Library(uri, model, device=device)


def _loaded(model: VideoModel | str, device: str | torch.device) -> VideoModel:
    return load(model, device=device) if isinstance(model, str) else model


def _reloaded(manifest: Manifest, device: str | torch.device) -> VideoModel:
    try:
        model = load(manifest.model, device=device)
    except (UnknownNameError, CheckpointError) as error:
        raise ConfigError(
            f"the library was made with {manifest.model}, which cannot be loaded ({error}); name "
            "it by where it is now, with --model"
        ) from None
    return model.with_preprocessing(manifest.preprocessing)


def _manifest(
    model: VideoModel, source: VideoModel | str | None, cut: Cut, dimension: int
) -> Manifest:
    """Return what a library made with a model would say of itself."""
    name = model.card.name if model.card is not None else model.name
    if isinstance(source, str) and model.card is None:
        name = str(Path(source).absolute()) if Path(source).exists() else source
    return Manifest(
        model=name,
        weights=weights_sha256(model.model),
        preprocessing=model.preprocessing,
        dimension=dimension,
        cut=cut,
    )


def _dimension(model: VideoModel) -> int:
    """Return the length of the vectors, by embedding a black clip."""
    protocol = model.preprocessing
    shape = (1, protocol.num_frames, protocol.crop_size, protocol.crop_size, 3)
    frames = torch.zeros(shape, dtype=torch.uint8)
    return model.embed_video_batch(frames, fps=protocol.frame_rate or 25.0).shape[1]


def _names(videos: Any) -> list[str]:
    several = [videos] if isinstance(videos, str | os.PathLike) else videos
    return [os.fspath(each) for each in several]
