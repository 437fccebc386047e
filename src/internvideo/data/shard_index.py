"""What is where in a set of tar shards: the index file, or one scan of the tar headers.

`index.json` beside the shards is written by `internvideo data shard`. It has, for each shard, its
name, size and SHA-256, and columns with a value for each clip: member name, offset and size of the
video, label, and whatever else the annotations told. Shards of other makers (webdataset) have no
index; the headers of their tars tell the same.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, Any

from internvideo.annotations import Segment, VideoAnnotation
from internvideo.errors import DataError
from internvideo.files import json_text
from internvideo.formats.fields import as_whole_number
from internvideo.formats.timestamps import parse_seconds
from internvideo.video import VIDEO_SUFFIXES
from internvideo.video.rawframes import IMAGE_SUFFIXES, is_image

__all__ = ["FACTS", "INDEX_NAME", "ShardColumns", "index_from_json", "index_to_json", "scan_tar"]

INDEX_NAME = "index.json"
_FORMAT, _VERSION = "internvideo-shards", 1
_WHOLE = ("label", "duration", "line")
FACTS = ("label", "start", "end", "duration", "captions", "line")
"""What a shard knows of a clip, as in `ClipEntry`; each as far as it was annotated."""

_MAX_SIDE_BYTES = 1 << 20
_SHOWN = 120


@dataclass(kw_only=True)
class ShardColumns:
    """One shard: its file, and a value for each of its clips in every column.

    Attributes:
        name: file name of the shard.
        num_bytes: its size.
        sha256: of the file; None where it was scanned and not written by us.
        members: names of the videos in the tar.
        offsets: where their bytes begin in the tar.
        sizes: number of their bytes.
        entries: the `FACTS` of each clip, as far as they are known.
    """

    name: str
    num_bytes: int
    sha256: str | None = None
    members: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)

    def add(self, member: str, offset: int, size: int, facts: dict[str, Any]) -> None:
        """Add a clip."""
        self.members.append(member)
        self.offsets.append(offset)
        self.sizes.append(size)
        self.entries.append(facts)

    def records(self) -> Iterator[VideoAnnotation]:
        """Yield the annotation of each member, whose path is its name."""
        for member, facts in zip(self.members, self.entries, strict=True):
            whole = {name: facts[name] for name in _WHOLE if facts.get(name) is not None}
            start, captions = facts.get("start"), tuple(facts.get("captions") or ())
            parts = () if start is None else (Segment(start=start, end=facts.get("end")),)
            yield VideoAnnotation(path=member, captions=captions, segments=parts, **whole)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values; facts that no clip has are left out."""
        names = sorted({name for facts in self.entries for name in facts})
        return {
            "name": self.name,
            "bytes": self.num_bytes,
            "sha256": self.sha256,
            "members": self.members,
            "offsets": self.offsets,
            "sizes": self.sizes,
            **{name: [facts.get(name) for facts in self.entries] for name in names},
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ShardColumns:
        """Return what `to_dict` gave."""
        names = [name for name in FACTS if name in values]
        return cls(
            name=values["name"],
            num_bytes=values["bytes"],
            sha256=values["sha256"],
            members=values["members"],
            offsets=values["offsets"],
            sizes=values["sizes"],
            entries=[
                {name: values[name][place] for name in names if values[name][place] is not None}
                for place in range(len(values["members"]))
            ],
        )


def index_to_json(
    shards: Sequence[ShardColumns],
    *,
    annotations: str,
    class_names: tuple[str, ...] | None,
    left_out: list[dict[str, Any]],
) -> str:
    """Return the text of `index.json`."""
    return json_text(
        {
            "format": _FORMAT,
            "version": _VERSION,
            "annotations": annotations,
            "class_names": class_names,
            "left_out": left_out,
            "shards": [shard.to_dict() for shard in shards],
        }
    )


def index_from_json(text: str, *, file: str) -> tuple[list[ShardColumns], tuple[str, ...] | None]:
    """Return the shards and class names of an `index.json`.

    Raises:
        DataError: it is something else, or of a newer version.
    """
    try:
        content = json.loads(text)
        if content["format"] != _FORMAT:
            raise DataError(f"{file} has the format {content['format']!r}, not {_FORMAT!r}")
        if content["version"] > _VERSION:
            raise DataError(
                f"{file} has version {content['version']}, this library reads {_VERSION}; update it"
            )
        names = content["class_names"]
        shards = [ShardColumns.from_dict(shard) for shard in content["shards"]]
    except (json.JSONDecodeError, KeyError, TypeError, IndexError) as error:
        raise DataError(
            f"{file} is not an index of shards ({type(error).__name__}: {error}); remove it to "
            "have the shards scanned, or write them again with `internvideo data shard`"
        ) from None
    return shards, None if names is None else tuple(names)


# ---------------------------------------------------------------- tars of other makers


def scan_tar(file: IO[bytes], *, name: str, num_bytes: int) -> ShardColumns:
    """Read the headers of a tar and the small files beside its videos; the videos are skipped.

    As in webdataset, members whose names agree up to the first dot of the file name belong to one
    sample: a video (or, where there is none, a still image), and of `.cls` (the label), `.json`
    (`label`, `caption` or `captions`, `start`, `end`, `duration`) and `.txt` (a caption) any.

    Raises:
        DataError: not a plain tar, without videos, or a label that is no number.
    """
    shard = ShardColumns(name=name, num_bytes=num_bytes)
    samples: dict[str, dict[str, Any]] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                # macOS puts a file `._NAME` of its own beside each.
                if member.isfile() and not path.name.startswith("._"):
                    stem, _, extensions = path.name.partition(".")
                    key = str(path.with_name(stem)) if stem else member.name
                    extension = extensions.rpartition(".")[2].lower()
                    _add_member(samples.setdefault(key, {}), tar, member, extension)
    except tarfile.ReadError as error:
        raise DataError(
            f"{name} cannot be read as a tar ({error}); shards must be complete and uncompressed"
        ) from None
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    for sample in samples.values():
        image = sample.pop("image", None)
        if (place := sample.pop("video", image)) is not None:
            member, offset, size = place
            shard.add(member, offset, size, sample)
    if not shard.members:
        raise DataError(
            f"{name} holds no videos or images; known endings: "
            f"{' '.join(sorted(VIDEO_SUFFIXES | IMAGE_SUFFIXES))}"
        )
    return shard


def _add_member(
    sample: dict[str, Any], tar: tarfile.TarFile, member: tarfile.TarInfo, extension: str
) -> None:
    """Note where the `video` or `image` of a sample is, or the facts that a file beside it has."""
    place = (member.name, member.offset_data, member.size)
    if f".{extension}" in VIDEO_SUFFIXES:
        if "video" in sample:
            raise DataError(
                f"{sample['video'][0]!r} and {member.name!r} are two videos of one sample, as "
                "their names agree up to the first dot; rename one"
            )
        sample["video"] = place
    elif is_image(member.name):
        sample["image"] = place
    elif extension in ("cls", "json", "txt") and member.size <= _MAX_SIDE_BYTES:
        content = tar.extractfile(member)
        assert content is not None
        try:
            sample |= _facts(extension, content.read().decode("utf-8-sig", "replace").strip())
        except DataError as error:
            raise DataError(f"member {member.name!r} cannot be used: {error}") from None


def _facts(extension: str, text: str) -> dict[str, Any]:
    if extension == "cls":
        if (label := as_whole_number(text)) is None:
            raise DataError(f"the class is {text[:_SHOWN]!r}; expected its number, from 0 on")
        return {"label": label}
    if extension == "txt":
        return {"captions": [text]} if text else {}
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"not json ({error.msg})") from None
    return _json_facts(content) if isinstance(content, dict) else {}


def _json_facts(content: dict[str, Any]) -> dict[str, Any]:
    """Take what is known; whose names mean something else to their makers are left out."""
    facts: dict[str, Any] = {}
    for name in ("start", "end"):
        if content.get(name) is not None:
            facts[name] = parse_seconds(content[name])
    with suppress(DataError):  # only a help in finding the part
        facts["duration"] = parse_seconds(content.get("duration"))
    for name in ("label", "line"):  # a label in words has its number in `.cls`
        value = content.get(name)
        number = None if isinstance(value, bool) else as_whole_number(str(value))
        if number is not None:
            facts[name] = number
    said = content.get("captions") or content.get("caption") or []
    captions = [said] if isinstance(said, str) else said
    if isinstance(captions, list) and captions and all(isinstance(c, str) for c in captions):
        facts["captions"] = captions
    return facts
