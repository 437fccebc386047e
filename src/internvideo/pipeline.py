"""The front door: `load` a model, then ask it about videos.

    video ──► Preprocessing ──► model ──► Classification   (of your sentences, or its own classes)
                                     └──► embedding        (unit length; nearest is most alike)

A `VideoModel` is a model together with what belongs to it: its input protocol, its class names or
its tokenizer, its card. Videos can be paths, URLs, bytes, `Video` objects, or uint8 frames. They
are decoded in the background while the model works, and many of them are encoded together.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from internvideo.errors import ConfigError, UnknownNameError, VideoError, did_you_mean
from internvideo.models.classifier import VideoClassifier
from internvideo.models.probe import ProbeClassifier
from internvideo.models.tokenizer import Tokenizer, WordTokenizer, trim_padding
from internvideo.models.viclip import ViCLIP
from internvideo.models.videomae import VideoMAE
from internvideo.models.vit import VideoViT
from internvideo.results import ActionWindow, Classification
from internvideo.tasks.classification.zero_shot import (
    ZeroShotClassifier,
    class_prompts,
    prompt_templates,
)
from internvideo.video import Video
from internvideo.video.preprocessing import PRESETS, Preprocessing
from internvideo.views import AnyVideo, read_views, read_windows
from internvideo.zoo.card import Card
from internvideo.zoo.load import LoadedModel, load_model

if TYPE_CHECKING:
    from torch import nn

__all__ = ["AnyVideo", "VideoModel", "choose_device", "load"]

_LOG = logging.getLogger(__name__)
_BATCH_CLIPS = 16
_TEXT_BATCH = 256
_KEPT_LABEL_SETS = 16
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(
    source: str | Path,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype | None = None,
    card: str | None = None,
    labels: str | Sequence[str] | None = None,
) -> VideoModel:
    """Load a model by name, from a file or folder, or from the Hugging Face hub.

    Args:
        source: a name that `list_models` lists ("viclip-nano"), the path of an official weight
            file, a folder written by `save_pretrained`, or a hub id ("organisation/repository").
        device: "auto" takes a GPU if there is one; else "cpu", "cuda", "cuda:1", "mps".
        dtype: of the weights: "float32" (the default), "bfloat16" or "float16".
        card: for a weight file: the name of the released model that it is, which brings its input
            protocol and its labels. Without it the card is told by the file's name, or left open.
        labels: for a classifier: the classes wanted, as the name of a label map or as a list; the
            outputs are put into this order where the order they have is known.

    Raises:
        UnknownNameError: no such model; the message suggests the nearest names.
        CheckpointError: the weights cannot be had, are unsafe or broken, or fit no model.
        ConfigError: an impossible device or dtype.

    Example:
        >>> import internvideo as iv
        >>> model = iv.load("viclip-nano")  # doctest: +SKIP
        >>> model.classify("clip.mp4", ["something grows", "something shrinks"])  # doctest: +SKIP
    """
    place = choose_device(device)
    if isinstance(dtype, str):
        if dtype not in _DTYPES:
            raise ConfigError(f"dtype {dtype!r} is not one of {', '.join(_DTYPES)}")
        dtype = _DTYPES[dtype]
    return VideoModel(load_model(source, device=place, dtype=dtype, card=card, labels=labels))


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device to run on; "auto" is the first GPU, or the CPU where there is none.

    Raises:
        ConfigError: no such device on this machine.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ConfigError(f"device {str(device)!r} cannot be used here: {reason}") from None
    return chosen


class VideoModel:
    """A model that answers questions about videos; made by `load`.

    It stays in evaluation mode and computes no gradients; embeddings and scores come back as
    float32 on the CPU.

    Args:
        loaded: the network with its record, as `zoo.load_model` returns it. It is used where it is,
            and put into evaluation mode.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self.model: nn.Module = loaded.model.eval()
        self._classifiers: dict[Any, ZeroShotClassifier] = {}
        self._told_words: set[str] = set()

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, device: str | torch.device = "auto"
    ) -> VideoModel:
        """Load a folder written by `save_pretrained`, or a repository of the hub; see `load`."""
        return cls(LoadedModel.from_pretrained(str(source), device=choose_device(device)))

    def save_pretrained(self, directory: str | Path) -> Path:
        """Write the weights, `config.json` and a `README.md` to a folder that `load` reads."""
        self.loaded.save_pretrained(directory)
        return Path(directory)

    def push_to_hub(self, repo_id: str, *, private: bool = False, token: str | None = None) -> str:
        """Upload what `save_pretrained` writes to the Hugging Face hub; return its address."""
        return self.loaded.push_to_hub(repo_id, private=private, token=token)

    def with_preprocessing(self, protocol: str | Preprocessing) -> VideoModel:
        """Return the same weights under another input protocol, given whole or by preset name.

        Raises:
            UnknownNameError: no such preset.
        """
        if isinstance(protocol, str):
            if protocol not in PRESETS:
                raise UnknownNameError(
                    f"no preprocessing preset {protocol!r}; one of: {', '.join(PRESETS)}."
                    f"{did_you_mean(protocol, PRESETS)}"
                )
            protocol = PRESETS[protocol]
        record = dataclasses.replace(self.loaded.record, preprocessing=protocol)
        return VideoModel(LoadedModel(self.model, record))

    @property
    def name(self) -> str:
        """Name of the card, or of the architecture where there is none."""
        return self.loaded.name

    @property
    def card(self) -> Card | None:
        """What is known about a released model."""
        return self.loaded.card

    @property
    def preprocessing(self) -> Preprocessing:
        """The input protocol: frames, sampling, resize, crop, statistics.

        Raises:
            ConfigError: the weights came without one; `with_preprocessing` gives them one.
        """
        protocol = self.loaded.preprocessing
        if protocol is None:
            raise ConfigError(
                f"{self.name} came without an input protocol; use "
                f"model.with_preprocessing(…) with one of: {', '.join(PRESETS)}"
            )
        return protocol

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The classes of a classifier in the order of its outputs, else None."""
        if not isinstance(self.model, VideoClassifier | ProbeClassifier):
            return None
        return self.loaded.labels or tuple(
            f"class {number}" for number in range(self.model.config.num_classes)
        )

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer of a model with a text tower, else None."""
        return self.loaded.tokenizer

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def __repr__(self) -> str:
        millions = sum(parameter.numel() for parameter in self.model.parameters()) / 1e6
        protocol = self.loaded.preprocessing
        told = f", {protocol.describe()}" if protocol else ""
        return f"VideoModel({self.name}, {millions:.1f} M parameters, {self.device}{told})"

    # --- labels -------------------------------------------------------------------------------

    def classify(
        self,
        video: AnyVideo,
        labels: Sequence[str] | None = None,
        *,
        top_k: int | None = None,
        templates: str | Sequence[str] = "none",
    ) -> Classification:
        """Say which label fits a video best.

        Args:
            video: a path, URL, encoded bytes, `Video`, or uint8 frames "t h w c".
            labels: for a model with a text tower: any sentences. A classifier brings its own;
                labels then select some of them.
            top_k: keep only so many of the best answers.
            templates: sentences around each label, averaged: "none", a published set such as
                "action16", or your own with `{}` for the label. For models with a text tower.

        Returns:
            The labels from the likeliest to the unlikeliest. Several views of a video are averaged:
            their cosines for sentences, their softmax for a classifier.

        Raises:
            VideoError: the video cannot be read.
            ConfigError: no labels for a text model, or a model that has neither text nor classes.
        """
        [answer] = self.classify_many([video], labels, top_k=top_k, templates=templates)
        if isinstance(answer, VideoError):
            raise answer
        return answer

    def classify_many(
        self,
        videos: Iterable[AnyVideo],
        labels: Sequence[str] | None = None,
        *,
        top_k: int | None = None,
        templates: str | Sequence[str] = "none",
    ) -> Iterator[Classification | VideoError]:
        """Classify many videos; a video that cannot be read gives its error in place of an answer.

        The arguments are those of `classify`. Answers come in the order of the videos.
        """
        if top_k is not None and top_k < 1:
            raise ConfigError(f"top_k must be at least 1, got {top_k}")
        if isinstance(labels, str):
            labels = [labels]
        score, name_all = self._scorer(labels, templates)
        protocol = self.preprocessing.describe()

        def answers() -> Iterator[Classification | VideoError]:
            for name, scores in self._encoded(videos, score):
                if isinstance(scores, VideoError):
                    yield scores
                    continue
                names, values, probabilities = name_all(scores.mean(dim=0))
                answer = Classification.from_scores(
                    name, names, values, probabilities, model=self.name, protocol=protocol
                )
                yield answer if top_k is None else _best(answer, top_k)

        return answers()

    def stream_actions(
        self,
        video: AnyVideo,
        labels: Sequence[str] | None = None,
        *,
        window: float | None = None,
        stride: float | None = None,
        in_frames: bool = False,
        top_k: int = 5,
        templates: str | Sequence[str] = "none",
    ) -> Iterator[ActionWindow]:
        """Say what happens when in a video of any length, one window after the other.

        Answers come while the video is decoded, once and in order; memory does not grow with its
        length. Each window is looked at through one clip and its central crop.

        Args:
            video: as in `classify`.
            labels: as in `classify`.
            window: length of a window in seconds; by default what a clip of the protocol covers,
                and two seconds where that is the whole video.
            stride: seconds from one window to the next; None sets window to window.
            in_frames: `window` and `stride` count frames.
            top_k: answers for each window.
            templates: as in `classify`.

        Raises:
            VideoError: the video cannot be read, or not further; the answers before have come.
            ConfigError: impossible numbers, or labels as in `classify`.
        """
        if top_k < 1:
            raise ConfigError(f"top_k must be at least 1, got {top_k}")
        labels = [labels] if isinstance(labels, str) else labels
        score, name_all = self._scorer(labels, templates)
        windows = read_windows(
            video, self.preprocessing, window=window, stride=stride, in_frames=in_frames
        )

        def answers() -> Iterator[ActionWindow]:
            for part in windows:
                rows = self._in_batches(score, torch.stack([each.clip for each in part]))
                for each, row in zip(part, rows, strict=True):
                    best = _best(Classification.from_scores("", *name_all(row)), top_k)
                    yield ActionWindow(
                        start=each.start,
                        end=each.end,
                        labels=best.labels,
                        probabilities=best.probabilities,
                    )

        return answers()

    def _scorer(
        self, labels: Sequence[str] | None, templates: str | Sequence[str]
    ) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], tuple[Any, Any, Any]]]:
        """Return the function from clips to scores, and the one from scores to names and shares."""
        if isinstance(self.model, ViCLIP):
            if labels is None:
                raise ConfigError(
                    f"{self.name} answers with labels that you give: pass some sentences, such as "
                    "'something grows'"
                )
            zero_shot = self._zero_shot(tuple(labels), templates)
            return zero_shot.scores, lambda scores: (
                zero_shot.labels,
                scores.tolist(),
                (zero_shot.logit_scale * scores).softmax(dim=0).tolist(),
            )
        if isinstance(self.model, VideoClassifier | ProbeClassifier):
            classifier, own = self.model, cast("tuple[str, ...]", self.labels)
            chosen = list(range(len(own))) if labels is None else _places(labels, own, self.name)
            names = [own[place] for place in chosen]

            def share(shares: Tensor) -> tuple[Any, Any, Any]:
                values = shares[chosen].tolist()
                return names, values, values

            return lambda clips: classifier(clips).float().softmax(dim=1), share
        raise ConfigError(
            f"{self.name} has neither a text tower nor classes; embed_video works, or load a "
            "ViCLIP or a classifier"
        )

    def _zero_shot(
        self, labels: tuple[str, ...], templates: str | Sequence[str]
    ) -> ZeroShotClassifier:
        """Return the classifier of these labels; the text tower runs once for each set."""
        filled = _filled_templates(templates)
        key = (labels, filled)
        if key not in self._classifiers:
            prompts = class_prompts(labels, filled)
            while len(self._classifiers) >= _KEPT_LABEL_SETS:
                self._classifiers.pop(next(iter(self._classifiers)))
            self._classifiers[key] = ZeroShotClassifier(
                cast(ViCLIP, self.model), self.preprocessing, prompts, name=self.name
            )
        return self._classifiers[key]

    # --- embeddings ---------------------------------------------------------------------------

    def embed_video(self, videos: AnyVideo | Sequence[AnyVideo]) -> Float[Tensor, "n d"]:
        """Return one vector of unit length per video.

        Text models embed into the space of their sentences; classifiers give the feature in front
        of their head, pretrained encoders the mean of their tokens.

        Args:
            videos: one video or several, each as in `classify`.

        Raises:
            VideoError: a video cannot be read; `embed_many` goes on without it.
        """
        rows = []
        for row in self.embed_many(_as_list(videos)):
            if isinstance(row, VideoError):
                raise row
            rows.append(row)
        if not rows:
            raise ConfigError("no videos to embed: give at least one")
        return torch.stack(rows)

    def embed_many(self, videos: Iterable[AnyVideo]) -> Iterator[Float[Tensor, "d"] | VideoError]:
        """Embed many videos; one that cannot be read gives its error in place of a vector."""
        for _, rows in self._encoded(videos, self._embed_clips):
            if isinstance(rows, VideoError):
                yield rows
            else:
                yield F.normalize(rows.mean(dim=0), dim=0)

    def embed_video_batch(
        self, frames: UInt8[Tensor, "b t h w c"], *, fps: float | None = None
    ) -> Float[Tensor, "b d"]:
        """Return one vector of unit length per clip of a batch of raw frames.

        Args:
            frames: RGB clips of equal shape; frames are picked and resized by the input protocol.
            fps: their frame rate, for a protocol that counts in seconds.
        """
        protocol = self.preprocessing
        views = [
            (torch.from_numpy(picked), crop)
            for picked in protocol.sample(frames.shape[1], fps)
            for crop in range(protocol.num_crops)
        ]
        parts = []
        for part in frames.split(_BATCH_CLIPS):
            rows = [
                self._in_batches(self._embed_clips, _one_view(part, protocol, picked, crop))
                for picked, crop in views
            ]
            parts.append(torch.stack(rows).mean(dim=0))
        return F.normalize(torch.cat(parts), dim=1)

    def embed_text(self, texts: str | Sequence[str]) -> Float[Tensor, "n d"]:
        """Return one vector of unit length per text, in the space of the videos.

        Raises:
            ConfigError: the model has no text tower, or no texts were given.
        """
        if not isinstance(self.model, ViCLIP):
            raise ConfigError(f"{self.name} has no text tower; load a ViCLIP to embed text")
        texts = [texts] if isinstance(texts, str) else list(texts)
        if not texts:
            raise ConfigError("no texts to embed: give at least one")
        self._tell_unknown_words(texts)
        rows = []
        with torch.no_grad():
            for start in range(0, len(texts), _TEXT_BATCH):
                ids = trim_padding(self.model.tokenizer(texts[start : start + _TEXT_BATCH]))
                rows.append(self.model.encode_text(ids.to(self.device)).float().cpu())
        return torch.cat(rows)

    def _embed_clips(self, clips: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b d"]:
        model = self.model
        if isinstance(model, ViCLIP):
            vectors = model.encode_video(clips)
        elif isinstance(model, VideoClassifier):
            vectors = model.pool(model.forward_features(clips))
        elif isinstance(model, VideoMAE | ProbeClassifier):
            vectors = model.encoder(clips).pool("mean")
        elif isinstance(model, VideoViT):
            vectors = model(clips).pool("mean")
        else:
            raise ConfigError(f"{self.name} gives no embeddings of videos")
        return F.normalize(vectors.float(), dim=1)

    def _tell_unknown_words(self, texts: Sequence[str]) -> None:
        """Warn, once for each word, of words that a word-level tokenizer does not know."""
        tokenizer = self.tokenizer
        if not isinstance(tokenizer, WordTokenizer):
            return
        unknown = [w for w in tokenizer.unknown_words(" ".join(texts)) if w not in self._told_words]
        if not unknown:
            return
        self._told_words.update(unknown)
        _LOG.warning(
            "%s knows %d words; not among them, and read as one unknown word: %s "
            "(a full-size ViCLIP knows all words)",
            self.name,
            len(tokenizer.vocabulary),
            ", ".join(unknown),
        )

    # --- running ------------------------------------------------------------------------------

    def _in_batches(
        self, function: Callable[[Tensor], Tensor], clips: Float[Tensor, "b c t y x"]
    ) -> Float[Tensor, "b k"]:
        """Apply a function of clips on the model's device, a bounded number of them at a time."""
        dtype = next(self.model.parameters()).dtype
        with torch.no_grad():
            parts = [
                function(part.to(self.device, dtype)).float().cpu()
                for part in clips.split(_BATCH_CLIPS)
            ]
        return torch.cat(parts)

    def _encoded(
        self, videos: Iterable[AnyVideo], function: Callable[[Tensor], Tensor]
    ) -> Iterator[tuple[str, Float[Tensor, "v k"] | VideoError]]:
        """Yield name and result of each video, one row per view, or why it cannot be read.

        The views of several videos go through the model together; results keep their order.
        """
        waiting: list[tuple[str, Tensor | VideoError]] = []
        for item in read_views(videos, self.preprocessing):
            waiting.append(item)
            num_views = sum(len(views) for _, views in waiting if isinstance(views, Tensor))
            if num_views >= _BATCH_CLIPS or len(waiting) >= 4 * _BATCH_CLIPS:
                yield from self._flush(waiting, function)
                waiting = []
        yield from self._flush(waiting, function)

    def _flush(
        self, waiting: list[tuple[str, Tensor | VideoError]], function: Callable[[Tensor], Tensor]
    ) -> Iterator[tuple[str, Tensor | VideoError]]:
        good = [views for _, views in waiting if isinstance(views, Tensor)]
        rows = (
            iter(self._in_batches(function, torch.cat(good)).split([len(v) for v in good]))
            if good
            else iter(())
        )
        for name, views in waiting:
            yield name, (views if isinstance(views, VideoError) else next(rows))


def _one_view(
    frames: UInt8[Tensor, "b t h w c"], protocol: Preprocessing, picked: Tensor, crop: int
) -> Float[Tensor, "b c p y x"]:
    """Return one view of each clip of a batch: the picked frames through one crop."""
    chosen = rearrange(frames[:, picked], "b p h w c -> (b p) h w c")
    resized = protocol.resize(chosen, crop_index=crop)
    return protocol.normalize(rearrange(resized, "(b p) y x c -> b p y x c", p=len(picked)))


def _as_list(videos: AnyVideo | Sequence[AnyVideo]) -> list[AnyVideo]:
    """Return one video or several as a list; five-dimensional frames are several clips."""
    if isinstance(videos, Tensor | np.ndarray):
        return list(videos) if videos.ndim == 5 else [videos]
    if isinstance(videos, str | bytes | os.PathLike | Video):
        return [cast(AnyVideo, videos)]
    return list(cast("Sequence[AnyVideo]", videos))


def _filled_templates(templates: str | Sequence[str]) -> tuple[str, ...]:
    if not isinstance(templates, str):
        return tuple(templates)
    if templates == "none":
        return ("{}",)
    return (templates,) if "{}" in templates else prompt_templates(templates)


def _places(labels: Sequence[str], own: Sequence[str], name: str) -> list[int]:
    """Return the outputs of a classifier that these labels name."""
    places = {label: number for number, label in enumerate(own)}
    for label in labels:
        if label not in places:
            raise UnknownNameError(
                f"{name} has no class {label!r}.{did_you_mean(label, own)} A classifier answers "
                "with its own classes; a ViCLIP takes any sentence"
            )
    if not labels:
        raise ConfigError("no labels: give at least one, or none at all for every class")
    return [places[label] for label in dict.fromkeys(labels)]


def _best(answer: Classification, k: int) -> Classification:
    return dataclasses.replace(
        answer,
        labels=answer.labels[:k],
        scores=answer.scores[:k],
        probabilities=answer.probabilities[:k],
    )
