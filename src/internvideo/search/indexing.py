"""Filling a library: which videos need work, who does it, and when it is committed."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from internvideo.search.embedding import EmbeddedVideo
from internvideo.search.files import Plan
from internvideo.search.records import Part, VideoFile
from internvideo.search.store import Store

__all__ = ["Embed", "IndexReport", "index_videos"]

_COMMIT_SECONDS = 10.0
_COMMIT_PARTS = 2048
_COMPACT_COMMITS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexReport:
    """What indexing did.

    Attributes:
        new: videos that are in the library now and were not.
        changed: videos that were there with another content.
        unchanged: videos that needed nothing.
        elsewhere: videos that another process has indexed meanwhile.
        parts: rows written.
        hours: length of the videos that were read, in hours.
        seconds: how long it took.
        vanished: paths in the library where no video is now; deleted if that was asked for.
        unreadable: videos that are not in the library because they cannot be read.
        failures: (video, reason) of these, and of those that could not be read to their end.
    """

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    elsewhere: int = 0
    parts: int = 0
    hours: float = 0.0
    seconds: float = 0.0
    vanished: Sequence[str] = ()
    unreadable: int = 0
    failures: Sequence[tuple[str, str]] = ()

    @property
    def total(self) -> int:
        """Videos that were named."""
        return self.new + self.changed + self.unchanged + self.elsewhere + self.unreadable

    def __str__(self) -> str:
        words = {"new": self.new, "changed": self.changed, "unchanged": self.unchanged}
        words |= {"indexed by another process": self.elsewhere, "failed": len(self.failures)}
        counts = ", ".join(f"{count:,} {word}" for word, count in words.items() if count)
        speed = f" ({3600 * self.hours / self.seconds:.3g} × real time)" if self.hours else ""
        return (
            f"{counts or 'no videos'}; {self.parts:,} parts of {self.hours:.2f} hours in "
            f"{self.seconds:.1f} s{speed}"
        )


Embed: TypeAlias = Callable[[Iterable[VideoFile]], Iterator[EmbeddedVideo]]
"""Takes files one by one, yields each with its vectors, in any order."""


def index_videos(
    store: Store,
    plan: Plan,
    embed: Embed,
    *,
    progress: Callable[[int, int], None] | None = None,
    commit_seconds: float = _COMMIT_SECONDS,
) -> IndexReport:
    """Embed the new and changed videos of a plan and commit them from time to time.

    Processes that index the same videos at the same time begin at different places, and each
    passes over what another has committed.

    Args:
        store: takes the parts.
        plan: what there is to do.
        embed: does it.
        progress: called with (videos done, videos in all).
        commit_seconds: what a kill can cost at most: videos that are done wait so long.
    """
    begin = time.monotonic()
    work = _Work(store, plan, commit_seconds)
    total = len(plan.new) + len(plan.changed)
    try:
        for done, video in enumerate(embed(work.files()), start=1):
            work.take(video)
            if progress is not None:
                progress(done + work.elsewhere, total)
    finally:
        work.commit()
    store.compact(only_if_due=True)
    return work.report(time.monotonic() - begin)


class _Work:
    """The videos of a plan on their way into a store."""

    def __init__(self, store: Store, plan: Plan, commit_seconds: float) -> None:
        self._store, self._plan, self._commit_seconds = store, plan, commit_seconds
        self._known: dict[str, VideoFile] = {}
        self._pending: list[Part] = []
        self._committed = time.monotonic()
        self._commits = 0
        self._changed = {file.path for file in plan.changed}
        self._counts: Counter[str] = Counter()
        self._seconds = 0.0
        self._failures = [*plan.failures]
        self.elsewhere = 0

    def files(self) -> Iterator[VideoFile]:
        """Yield what is left to do, from a random place on; decoders take it from their threads."""
        files = [*self._plan.new, *self._plan.changed]
        first = random.randrange(len(files)) if files else 0
        for file in files[first:] + files[:first]:
            known = self._known.get(file.path)
            if known is None or (known.size, known.modified) != (file.size, file.modified):
                yield file
            else:
                self.elsewhere += 1

    def take(self, video: EmbeddedVideo) -> None:
        """Note a video, and commit what has waited for long enough."""
        if video.error:
            self._failures.append((video.file.path, video.error))
        if not video.parts:
            self._counts["unreadable"] += 1
        else:
            self._pending += video.parts
            self._counts["changed" if video.file.path in self._changed else "new"] += 1
            self._counts["parts"] += len(video.parts)
            self._seconds += video.parts[-1].end
        waited = time.monotonic() - self._committed
        if waited >= self._commit_seconds or len(self._pending) >= _COMMIT_PARTS:
            self.commit()

    def commit(self) -> None:
        """Hand all finished videos to the store, and see what others have done."""
        if not self._pending:
            return
        self._store.add(self._pending)
        self._pending = []
        self._commits += 1
        if self._commits % _COMPACT_COMMITS == 0:
            self._store.compact(only_if_due=True)
        self._known = {each.file.path: each.file for each in self._store.status().videos}
        self._committed = time.monotonic()

    def report(self, seconds: float) -> IndexReport:
        """Return what was done."""
        return IndexReport(
            new=self._counts["new"],
            changed=self._counts["changed"],
            unchanged=self._plan.unchanged,
            elsewhere=self.elsewhere,
            parts=self._counts["parts"],
            hours=self._seconds / 3600,
            seconds=seconds,
            vanished=self._plan.vanished,
            unreadable=self._counts["unreadable"] + len(self._plan.failures),
            failures=self._failures,
        )
