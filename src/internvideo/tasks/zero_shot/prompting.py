"""From class names to sentences: published templates, files of your own, and the rules of families.

A class is described by one or several sentences; most often by templates in which `{}` stands for
its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias, cast

from internvideo.errors import ConfigError, DataError, UnknownNameError, did_you_mean
from internvideo.models.tokenizer import clean_caption

__all__ = [
    "DEFAULT_TEMPLATES",
    "Prompts",
    "class_prompts",
    "described_classes",
    "find_templates",
    "prompt_templates",
    "readable_name",
]

Prompts: TypeAlias = Mapping[str, Sequence[str]]
"""The sentences of each class."""

DEFAULT_TEMPLATES = "action16"
"""Published for Kinetics-400/600/700 and Something-Something v1/v2; other lists of actions, such as
UCF101 and HMDB51, are asked in the same words."""


@cache
def _templates() -> dict[str, tuple[str, ...]]:
    text = (Path(__file__).parent / "prompts.json").read_text(encoding="utf-8")
    return {name: tuple(templates) for name, templates in json.loads(text).items()}


def prompt_templates(name: str) -> tuple[str, ...]:
    """Return a published set of templates; `{}` stands for the class name.

    `action16` makes the zero-shot numbers of ViCLIP and InternVideo-MM; `single`, `doing` and
    `none` are InternVideo-MM's variants of one sentence. `kinetics28` and `imagenet80` turn class
    lists into captions for pretraining.

    Raises:
        UnknownNameError: there is no such set.
    """
    known = _templates()
    if name not in known:
        raise UnknownNameError(
            f"no prompt templates '{name}'; there are {', '.join(known)}."
            f"{did_you_mean(name, known)}"
        )
    return known[name]


def find_templates(templates: str | Path | Sequence[str]) -> tuple[str, ...]:
    """Return the templates that a user names: a published set, one sentence, a file, or a list.

    A file holds one template a line, or a json list of them, in UTF-8 and in any language.

    Raises:
        UnknownNameError: neither a sentence with `{}`, nor a file, nor a published set.
        DataError: the file cannot be read, or is empty.
        ConfigError: a template without `{}`, or none at all.
    """
    if isinstance(templates, str | Path):
        text = str(templates)
        if "{}" in text:
            found: tuple[str, ...] = (text,)
        elif isinstance(templates, Path) or Path(text).suffix in (".txt", ".json"):
            found = _read_templates(Path(text))
        else:
            found = prompt_templates(text)
    else:
        found = tuple(templates)
    if not found:
        raise ConfigError("no templates: give at least one sentence with {} for the class name")
    _check(found, f"{templates}: " if isinstance(templates, str | Path) else "")
    return found


def _check(templates: Sequence[str], where: str = "") -> None:
    """Refuse templates without a place for the class."""
    if wrong := [template for template in templates if "{}" not in template]:
        raise ConfigError(f"{where}template {wrong[0]!r} has no {{}} for the class name")


def _read_templates(path: Path) -> tuple[str, ...]:
    text = _text_of(path, "templates")
    if path.suffix == ".json":
        if (sentences := _sentences(_json_of(path, text))) is None:
            raise DataError(f"{path}: expected a json list of sentences with {{}} for the class")
        return sentences
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def class_prompts(
    names: Iterable[str], templates: Sequence[str] = ("{}",), *, clean: bool = True
) -> dict[str, tuple[str, ...]]:
    """Return the sentences of each class: every template filled with its name.

    Args:
        names: the classes, in any language; they are used as they are.
        templates: sentences in which `{}` stands for the name, see `find_templates`.
        clean: apply `clean_caption`, as the published evaluation of ViCLIP does (its demo and
            InternVideo-MM do not).

    Raises:
        ConfigError: no classes, a repeated or empty name, two names that cleaning makes equal, or a
            template without `{}`.
    """
    _check(templates)
    prompts: dict[str, tuple[str, ...]] = {}
    owner: dict[tuple[str, ...], str] = {}
    for name in names:
        if not name.strip():
            raise ConfigError("a label is empty; give every class a name")
        if name in prompts:
            raise ConfigError(f"label {name!r} is given twice")
        filled = [template.replace("{}", name) for template in templates]
        sentences = tuple(clean_caption(text) if clean else text for text in filled)
        if not all(sentences):
            raise ConfigError(f"label {name!r} has no letters left once its punctuation is taken")
        if (other := owner.setdefault(sentences, name)) != name:
            raise ConfigError(
                f"labels {other!r} and {name!r} become the same sentence {sentences[0]!r}; "
                "write one of them in other words"
            )
        prompts[name] = sentences
    if not prompts:
        raise ConfigError("no labels: give at least one")
    return prompts


def described_classes(path: Path) -> dict[str, tuple[str, ...]] | None:
    """Return the classes of a JSON file that describes each in its own words, else None.

    Such a file is an object from the name that the data uses to a label in any language, or to a
    list of sentences: `{"basketball": "打篮球", "c007": ["a man juggles", "somebody juggles"]}`.

    Raises:
        DataError: the file cannot be read, or a class has no sentence.
    """
    if path.suffix.lower() != ".json":
        return None
    content = _json_of(path, _text_of(path, "labels"))
    described = cast("dict[str, Any]", content) if isinstance(content, dict) else {}
    if all(str(number).isdecimal() for number in described.values()):
        return None  # class numbers
    classes: dict[str, tuple[str, ...]] = {}
    for name, words in described.items():
        sentences = _sentences([words] if isinstance(words, str) else words)
        if not sentences or not all(map(str.strip, sentences)):
            raise DataError(
                f"{path}: class {name!r} is described by {words!r}; expected a label or a list of "
                "sentences"
            )
        classes[name] = sentences
    return classes


def _sentences(content: Any) -> tuple[str, ...] | None:
    """Return the texts of a JSON list, or None where it is something else."""
    if not isinstance(content, list):
        return None
    texts = cast("list[Any]", content)
    return tuple(texts) if all(isinstance(each, str) for each in texts) else None


def readable_name(name: str, kind: str) -> str:
    """Return the class name of an annotation format as words.

    >>> readable_name("ApplyEyeMakeup", "ucf101"), readable_name("brush_hair", "hmdb51")
    ('Apply Eye Makeup', 'brush hair')
    >>> readable_name("Pushing [something] off", "something-something")
    'Pushing something off'
    """
    change = _READABLE.get(kind)
    return name if change is None else change(name)


_READABLE: dict[str, Callable[[str], str]] = {
    "ucf101": lambda name: re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name),
    "hmdb51": lambda name: name.replace("_", " "),
    "moments": lambda name: name.replace("+", " ").replace("/", " or "),
    "something-something": lambda name: name.replace("[", "").replace("]", ""),
    "class-folders": lambda name: name.replace("_", " "),
}


def _text_of(path: Path, what: str) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"there is no {what} file {path}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{what} file {path} is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise DataError(f"{what} file {path} cannot be read: {error.strerror}") from None
    if not text.strip():
        raise DataError(f"{what} file {path} is empty")
    return text


def _json_of(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not json ({error.msg})") from None
