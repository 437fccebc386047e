"""MSR-VTT: one json with the videos, their splits and their sentences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from internvideo.data.clip_list import ClipEntry, ClipList
from internvideo.data.formats.files import choose_split, files_by_stem, read_json
from internvideo.errors import DataError

__all__ = ["read_msrvtt"]


def read_msrvtt(
    path: Path,
    *,
    root: Path | str | None = None,
    labels: Path | None = None,
    split: str | None = "train",
) -> ClipList:
    """Read the captioned videos of one split.

    Args:
        path: the json: `videos` (video_id, split) and `sentences` (video_id, caption).
        root: folder of the videos, named by their ids; by default that of the json.
        labels: must be None, MSR-VTT has sentences.
        split: "train", "validate" or "test".

    Raises:
        DataError: not an MSR-VTT json, or no captioned video in the split.
    """
    if labels is not None:
        raise DataError(f"{path}: MSR-VTT has sentences and no classes; leave out {labels}")
    data = read_json(path)
    root = root or path.parent
    try:
        captions: dict[str, list[str]] = {}
        for sentence in data["sentences"]:
            captions.setdefault(sentence["video_id"], []).append(sentence["caption"])
        videos = [(video["video_id"], video["split"]) for video in data["videos"]]
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not an MSR-VTT json ({type(error).__name__}: {error}); expected "
            "'videos' (video_id, split) and 'sentences' (video_id, caption)"
        ) from None
    wanted = choose_split(split, [held for _, held in videos], path=path) if videos else None
    names = files_by_stem(root)

    def entries() -> Iterator[ClipEntry]:
        for line, (name, held) in enumerate(videos, start=1):
            if name in captions and (wanted is None or held == wanted):
                yield ClipEntry(
                    path=names.get(name, f"{name}.mp4"), captions=tuple(captions[name]), line=line
                )

    return ClipList(entries(), file=path, root=root, description="MSR-VTT json")
