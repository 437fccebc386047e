"""Videos of your own in a folder for each class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from internvideo.annotations import Annotations, VideoAnnotation
from internvideo.errors import DataError, VideoError, did_you_mean
from internvideo.formats.class_names import ClassNames
from internvideo.formats.files import annotation_files
from internvideo.video import find_videos

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "read"]


def looks_like(file: Glimpse) -> bool:
    """Tell whether this is a folder of folders, and not one of videos with annotations beside."""
    if not file.path.is_dir():
        return False
    num_folders = len(_folders(file.path))
    return num_folders > 1 or (num_folders == 1 and not annotation_files(file.path))


def read(
    path: Path, root: Path | str, *, labels: Path | None = None, split: str | None = None
) -> Annotations:
    """Read a folder that has one folder of videos for each class.

    What is in a class's folder and below it counts, also folders of images. The classes are by
    default the names of the folders in alphabetical order; a split is a folder below `path` that
    holds the classes, such as "test". The videos are where they are: `root` is `path`.
    """
    if str(root) != str(path):
        raise DataError(
            f"{path} is a folder of classes and holds the videos; leave out the root {root}"
        )
    folder = path if split is None else path / split
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; expected one folder for each class in it")
    folders = _folders(folder)
    names = [f.name for f in folders]
    classes = ClassNames(names, folder) if labels is None else ClassNames.read(labels)
    if unknown := [name for name in names if name not in classes]:
        raise DataError(
            f"{folder}: the folder {unknown[0]!r} is not one of the {len(classes)} classes of "
            f"{labels}.{did_you_mean(unknown[0], classes.names, count=1)}"
        )
    return Annotations(
        records=_videos(folder, folders, classes),
        file=folder,
        root=folder,
        description=f"folders of {len(folders)} classes",
        class_names=classes.names,
    )


def _folders(path: Path) -> list[Path]:
    return sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith("."))


def _videos(folder: Path, folders: list[Path], classes: ClassNames) -> Iterator[VideoAnnotation]:
    number = 0
    for each in folders:
        label = classes.names.index(each.name)
        try:
            videos = find_videos(each)
        except VideoError:
            continue  # an empty class
        for video in videos:
            number += 1
            written = Path(video).relative_to(folder).as_posix()
            yield VideoAnnotation(path=written, label=label, line=number)
    if not number:
        raise DataError(
            f"{folder} holds no videos in folders of classes; expected {folder}/CLASS/VIDEO"
        )
