"""The labels of a command: given on its line, or in files of one label a line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from internvideo.errors import DataError

__all__ = ["read_label_file", "read_labels"]

_ENDINGS = (".txt", ".csv", ".tsv", ".json")


def read_labels(values: Sequence[str] | None) -> list[str] | None:
    """Return the labels that `--labels` values stand for, without repetition, in their order.

    A value `@FILE`, or one that is the path of a file, stands for the lines of the file; every
    other value is a label itself, unless it is named like a file.

    Raises:
        DataError: a file that is missing, empty, or not UTF-8; an empty label.
    """
    if not values:
        return None
    labels: list[str] = []
    for value in values:
        if value.startswith("@"):
            labels += read_label_file(Path(value[1:]))
        elif _is_file(value):
            labels += read_label_file(Path(value))
        elif _is_named_like_a_file(value):
            raise DataError(
                f"there is no labels file {value}; a label of these very letters goes into a file"
            )
        elif not value.strip():
            raise DataError("a label is empty; give a text such as --labels 'something grows'")
        else:
            labels.append(value.strip())
    return list(dict.fromkeys(labels))


def read_label_file(path: Path) -> list[str]:
    """Return the lines of a label file that are not blank.

    Raises:
        DataError: the file is missing, empty, or not UTF-8.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"there is no labels file {path}") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"labels file {path} is not UTF-8 text (byte {error.object[error.start]:#04x} at "
            f"position {error.start}); save it as UTF-8, one label a line"
        ) from None
    except OSError as error:
        raise DataError(f"labels file {path} cannot be read: {error.strerror}") from None
    labels = [line.strip() for line in text.splitlines() if line.strip()]
    if not labels:
        raise DataError(f"labels file {path} is empty; write one label a line")
    if any("\0" in label for label in labels):
        raise DataError(f"labels file {path} is not a text file; write one label a line in UTF-8")
    return labels


def _is_named_like_a_file(value: str) -> bool:
    """Return whether a label is one word with the ending of a list, such as `labels.txt`."""
    return len(value.split()) == 1 and value.lower().endswith(_ENDINGS)


def _is_file(value: str) -> bool:
    """Return whether a label is the path of a file; a sentence too long for a path is not."""
    return os.path.isfile(value) if len(value) < 4096 and "\0" not in value else False  # noqa: PTH113
