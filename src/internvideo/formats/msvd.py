"""MSVD: short clips of YouTube videos with some forty sentences each, in any of its three files.

The lists `train_list.txt`, `val_list.txt` and `test_list.txt` of clips lie beside the sentences.
`AllVideoDescriptions.txt` has lines `clip sentence`, `raw-captions.pkl` (of the retrieval
benchmarks) a dict of lists of words, and the original `video_corpus.csv` a row for each sentence in
each language. A clip is called `{youtube id}_{start}_{end}`; where the videos are called `vid1.avi`
and so on, `youtube_mapping.txt` beside the sentences or the videos tells which is which.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internvideo.annotations import Annotations, BadLine, VideoAnnotation
from internvideo.errors import DataError
from internvideo.formats.captioned import IdList, Sentences, is_list, list_of_split, sibling
from internvideo.formats.files import Collection, files_by_stem, numbered_lines, refuse_split
from internvideo.formats.tables import Table
from internvideo.video.sources import is_url

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "read", "write"]

_MAPPING = "youtube_mapping.txt"
_LISTS = {
    name: f"{split}_list.txt"
    for split, names in {
        "train": ("train", "training"),
        "val": ("val", "validate", "validation"),
        "test": ("test", "testing"),
    }.items()
    for name in names
}
_SENTENCES = ("raw-captions.pkl", "AllVideoDescriptions.txt", "video_corpus.csv")
_CORPUS = ("VideoID", "Start", "End", "Language", "Description")
_NAMES = ("AllVideoDescriptions", "sents_")
_SHOWN = 120
_Sentence = tuple[int, str, str]


def looks_like(file: Glimpse) -> bool:
    """Tell whether this is one of MSVD's three files, or a list beside one of them."""
    if is_list(file.path):
        return any((file.path.parent / name).is_file() for name in _SENTENCES)
    return file.suffix == ".pkl" or (
        bool(file.lines)
        and (file.path.name.startswith(_NAMES) or {"VideoID", "Description"} <= set(file.header()))
    )


def read(path: Path, root: Path | str, *, split: str | None = None) -> Annotations:
    """Read the captioned clips of one split, or of all.

    The splits "train", "val" and "test" are in `{split}_list.txt` beside the file of sentences;
    such a list may be given itself.

    Raises:
        DataError: a broken or dangerous pickle, an unknown split, no sentences beside a list.
    """
    chosen, source = None, path
    if is_list(path):
        refuse_split(split, path=path)
        chosen, source = path, sibling(path, _SENTENCES, what="a file of sentences")
    elif split is not None:
        chosen = list_of_split(path, split, _LISTS)
    sentences = Sentences(source)
    for sentence in _sentences(source):
        if isinstance(sentence, BadLine):
            sentences.unread.append(sentence)
        else:
            number, clip, text = sentence
            sentences.add(clip, text, number)
    find = _finder(source, root)
    records = sentences.records(
        lambda clip: VideoAnnotation(path=find(clip), id=clip),
        None if chosen is None else IdList.read(chosen),
    )
    return Annotations(
        records=records,
        file=path,
        root=root,
        description="MSVD sentences",
        copying="none",
    )


def _sentences(path: Path) -> Iterator[_Sentence | BadLine]:
    if path.suffix.lower() == ".pkl":
        return _pickled(path)
    return _corpus(path) if path.suffix.lower() == ".csv" else _lines(path)


def _lines(path: Path) -> Iterator[_Sentence | BadLine]:
    for number, line in numbered_lines(path):
        if line.startswith("#"):
            continue
        clip, _, text = line.replace("\t", " ").partition(" ")
        if text.strip():
            yield number, clip, text.strip()
        else:
            yield BadLine(
                number, f"{path}:{number}: expected 'clip sentence', got {line[:_SHOWN]!r}"
            )


def _corpus(path: Path) -> Iterator[_Sentence | BadLine]:
    table = Table(path, "csv")
    for row in table.rows():
        if isinstance(row, BadLine):
            yield row
            continue
        number, values = row
        if missing := [name for name in _CORPUS if name not in values]:
            raise DataError(f"{path}: no column {', '.join(missing)}; expected MSVD's csv")
        if values["Language"].strip() != "English":
            continue
        text = values["Description"].strip()
        if text:
            yield number, f"{values['VideoID']}_{values['Start']}_{values['End']}", text
        else:
            yield table.bad(number, "the description is empty")


class _PlainUnpickler(pickle.Unpickler):
    """Reads dicts, lists, texts and numbers; a pickle can name nothing that would be run."""

    def find_class(self, module: str, name: str) -> Any:
        raise DataError(f"asks for {module}.{name}, which sentences do not need; it is not opened")


def _pickled(path: Path) -> Iterator[_Sentence | BadLine]:
    try:
        with path.open("rb") as file:
            content = _PlainUnpickler(file, encoding="utf-8").load()
    except FileNotFoundError:
        raise DataError(f"no annotation file {path}; check the path") from None
    except Exception as error:  # a broken pickle may raise anything
        raise DataError(f"{path}: not MSVD's captions ({error})") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a dict from clip to sentences in the pickle")
    for number, (clip, sentences) in enumerate(content.items(), start=1):
        for words in sentences if isinstance(sentences, list) else [sentences]:
            texts = [words] if isinstance(words, str) else words
            if isinstance(texts, list) and texts and all(isinstance(word, str) for word in texts):
                yield number, str(clip), " ".join(texts)
            else:
                yield BadLine(number, f"{path}: clip {str(clip)[:_SHOWN]!r} has no list of words")


def _finder(path: Path, root: Path | str) -> Callable[[str], str]:
    """Return a function from a clip to the path of its video below the root."""
    names = files_by_stem(root)
    places = [path.parent] if is_url(str(root)) else [path.parent, Path(root)]
    mapping = next((place / _MAPPING for place in places if (place / _MAPPING).is_file()), None)
    renamed: dict[str, str] = {}
    for number, line in numbered_lines(mapping) if mapping is not None else ():
        words = line.split()
        if len(words) != 2:
            raise DataError(f"{mapping}:{number}: expected 'clip file', got {line[:_SHOWN]!r}")
        renamed[words[0]] = words[1]

    def find(clip: str) -> str:
        other = renamed.get(clip, clip)
        return names.get(clip) or names.get(other) or f"{other}.avi"

    return find


def write(data: Collection) -> list[Path]:
    """Write the sentences as text and as pickle, the mapping to the videos, and a list a split."""
    named = [(f"{v.id}_0_{max(round(v.duration or 0), 1)}", v) for v in data.videos]
    words = {name: [caption.split() for caption in video.captions] for name, video in named}
    pickled = data.directory / "raw-captions.pkl"
    pickled.write_bytes(pickle.dumps(words, protocol=2))
    sentences = (f"{name} {caption}\n" for name, video in named for caption in video.captions)
    mapping = (f"{name} {Path(video.path).stem}\n" for name, video in named)
    lists = [
        data.write_text(f"{split}_list.txt", (f"{name}\n" for name, v in named if v.split == split))
        for split in data.layout.splits
    ]
    return [
        data.write_text("AllVideoDescriptions.txt", sentences),
        data.write_text(_MAPPING, mapping),
        pickled,
        *lists,
    ]
