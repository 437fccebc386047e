"""A loaded model, and what it can be asked.

What is asked is checked here; the answers are found in `labelling`, `embedding` and `captioning`.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from internvideo.errors import ConfigError, UnknownNameError, VideoError, did_you_mean
from internvideo.models.caption_writer import CaptionStrategy
from internvideo.models.tokenizer import Tokenizer, WordTokenizer
from internvideo.pipeline.clips import as_list
from internvideo.pipeline.devices import choose_device
from internvideo.pipeline.embedding import embed_frames, embed_videos
from internvideo.pipeline.labelling import (
    Scorer,
    class_scorer,
    is_classifier,
    is_two_tower,
    label_videos,
    label_windows,
    text_scorer,
)
from internvideo.results import ActionWindow, CaptionSpan, Classification, VideoCaptions
from internvideo.tasks.captioning.predict import (
    CaptionStyle,
    caption_spans,
    caption_timeline,
    caption_videos,
    captioner,
)
from internvideo.tasks.zero_shot.classifier import ZeroShotClassifier, embed_sentences
from internvideo.tasks.zero_shot.prompting import (
    Ensemble,
    PromptRule,
    Prompts,
    class_prompts,
    find_templates,
    prompt_rule,
)
from internvideo.video.opening import AnyVideo, read_windows
from internvideo.video.preprocessing import PRESETS, Preprocessing
from internvideo.zoo.card import Card
from internvideo.zoo.load import LoadedModel

if TYPE_CHECKING:
    from torch import nn

__all__ = ["VideoModel"]

_LOG = logging.getLogger(__name__)
_KEPT_LABEL_SETS = 16
_GREEDY = CaptionStyle()


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
        if not is_classifier(self.model):
            return None
        count: int = self.model.config.num_classes  # type: ignore[assignment]
        return self.loaded.labels or tuple(f"class {number}" for number in range(count))

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
        templates: str | Path | Sequence[str] = "none",
    ) -> Classification:
        """Say which label fits a video best.

        Args:
            video: a path, URL, encoded bytes, `Video`, or uint8 frames "t h w c".
            labels: for a model with a text tower: any sentences. A classifier brings its own;
                labels then select some of them.
            top_k: keep only so many of the best answers.
            templates: sentences around each label, averaged: "none", a published set such as
                "action16", a file, or your own with `{}` for the label. For models with a text
                tower.

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
        templates: str | Path | Sequence[str] = "none",
    ) -> Iterator[Classification | VideoError]:
        """Classify many videos; a video that cannot be read gives its error in place of an answer.

        The arguments are those of `classify`. Answers come in the order of the videos.
        """
        if top_k is not None and top_k < 1:
            raise ConfigError(f"top_k must be at least 1, got {top_k}")
        scorer = self._scorer(labels, templates)
        return label_videos(
            self.model, scorer, videos, self.preprocessing, name=self.name, top_k=top_k
        )

    def stream_actions(
        self,
        video: AnyVideo,
        labels: Sequence[str] | None = None,
        *,
        window: float | None = None,
        stride: float | None = None,
        in_frames: bool = False,
        top_k: int = 5,
        templates: str | Path | Sequence[str] = "none",
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
        scorer = self._scorer(labels, templates)
        windows = read_windows(
            video, self.preprocessing, window=window, stride=stride, in_frames=in_frames
        )
        return label_windows(self.model, scorer, windows, top_k=top_k)

    def zero_shot(
        self, prompts: Prompts, *, ensemble: Ensemble | None = None
    ) -> ZeroShotClassifier:
        """Return the classifier of these classes; the text tower runs once for each set.

        Args:
            prompts: the sentences of each class, see `tasks.classification.prompting`.
            ensemble: how they are joined; None is the rule of the model's family.

        Raises:
            ConfigError: the model has no text tower, or the sentences do not suit the ensemble.
        """
        if not is_two_tower(self.model):
            raise ConfigError(f"{self.name} has no text tower; load a ViCLIP or an InternVideo-MM")
        ensemble = ensemble or self.prompt_rule.ensemble
        key = (tuple((name, tuple(texts)) for name, texts in prompts.items()), ensemble)
        if key not in self._classifiers:
            while len(self._classifiers) >= _KEPT_LABEL_SETS:
                self._classifiers.pop(next(iter(self._classifiers)))
            self._classifiers[key] = ZeroShotClassifier(
                self.model, self.preprocessing, prompts, ensemble=ensemble, name=self.name
            )
        return self._classifiers[key]

    @property
    def prompt_rule(self) -> PromptRule:
        """How the published numbers of this kind of model join the sentences of a class."""
        return prompt_rule(self.loaded.architecture)

    def _scorer(
        self, labels: str | Sequence[str] | None, templates: str | Path | Sequence[str]
    ) -> Scorer:
        """Return how the model answers with these labels."""
        labels = None if labels is None else _texts(labels, what="label")
        if is_two_tower(self.model):
            if labels is None:
                raise ConfigError(
                    f"{self.name} answers with labels that you give: pass some sentences, such as "
                    "'something grows'"
                )
            sentences = find_templates(templates)
            prompts = class_prompts(tuple(labels), sentences, clean=self.prompt_rule.clean)
            return text_scorer(self.zero_shot(prompts))
        if is_classifier(self.model):
            own = cast("tuple[str, ...]", self.labels)
            return class_scorer(self.model, own, labels, name=self.name)
        raise ConfigError(
            f"{self.name} has neither a text tower nor classes; embed_video works, or load a "
            "ViCLIP or a classifier"
        )

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
        for row in self.embed_many(as_list(videos)):
            if isinstance(row, VideoError):
                raise row
            rows.append(row)
        if not rows:
            raise ConfigError("no videos to embed: give at least one")
        return torch.stack(rows)

    def embed_many(self, videos: Iterable[AnyVideo]) -> Iterator[Float[Tensor, "d"] | VideoError]:
        """Embed many videos; one that cannot be read gives its error in place of a vector."""
        yield from embed_videos(self.model, videos, self.preprocessing, name=self.name)

    def embed_video_batch(
        self, frames: UInt8[Tensor, "b t h w c"], *, fps: float | None = None
    ) -> Float[Tensor, "b d"]:
        """Return one vector of unit length per clip of a batch of raw frames.

        Args:
            frames: RGB clips of equal shape; frames are picked and resized by the input protocol.
            fps: their frame rate, for a protocol that counts in seconds.
        """
        return embed_frames(self.model, frames, self.preprocessing, fps=fps, name=self.name)

    def embed_text(self, texts: str | Sequence[str]) -> Float[Tensor, "n d"]:
        """Return one vector of unit length per text, in the space of the videos.

        Raises:
            ConfigError: the model has no text tower, or no texts were given.
        """
        if not is_two_tower(self.model):
            raise ConfigError(f"{self.name} has no text tower; load a ViCLIP to embed text")
        texts = _texts(texts, what="text")
        if not texts:
            raise ConfigError("no texts to embed: give at least one")
        self._tell_unknown_words(texts)
        with torch.no_grad():
            return embed_sentences(self.model, texts).cpu()

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

    # --- captions -----------------------------------------------------------------------------

    def caption(
        self,
        video: AnyVideo,
        *,
        strategy: CaptionStrategy = "greedy",
        num_beams: int = 5,
        length_penalty: float = 0.0,
        top_p: float = 0.9,
        temperature: float = 1.0,
        max_length: int | None = None,
        seed: int = 0,
    ) -> str:
        """Say in a sentence what is in a video; for models with a caption decoder.

        Args:
            video: as in `classify`; one clip of it is looked at, through its central crop.
            strategy: "greedy", "beam" or "top-p"; this and the others as in `CaptionStyle`.
            num_beams: for "beam".
            length_penalty: for "beam".
            top_p: for "top-p".
            temperature: for "top-p".
            max_length: of a caption in tokens.
            seed: for "top-p".

        Raises:
            VideoError: the video cannot be read.
            ConfigError: the model cannot write, or a value is impossible.
        """
        style = CaptionStyle(
            strategy=strategy, num_beams=num_beams, length_penalty=length_penalty, top_p=top_p,
            temperature=temperature, max_length=max_length, seed=seed,
        )  # fmt: skip
        [answer] = self.caption_many([video], style)
        if isinstance(answer, VideoError):
            raise answer
        return answer.text

    def caption_many(
        self, videos: Iterable[AnyVideo], style: CaptionStyle = _GREEDY
    ) -> Iterator[VideoCaptions | VideoError]:
        """Caption many videos; a video that cannot be read gives its error in place of an answer.

        Answers come in the order of the videos.

        Raises:
            ConfigError: the model cannot write.
        """
        return caption_videos(captioner(self.model, self.name), videos, self.preprocessing, style)

    def caption_windows(
        self, video: AnyVideo, every: float, style: CaptionStyle = _GREEDY
    ) -> Iterator[CaptionSpan]:
        """Say what happens when in a video of any length, one window after the other.

        Args:
            video: as in `classify`; it is decoded once, in order, in bounded memory.
            every: length of a window in seconds.
            style: how the words are chosen.

        Raises:
            VideoError: the video cannot be read, or not further; the answers before have come.
            ConfigError: the model cannot write, or `every` is not positive.
        """
        writer = captioner(self.model, self.name)
        return caption_spans(writer, video, self.preprocessing, style, every=every)

    def caption_timeline(
        self, video: str | Path, every: float, style: CaptionStyle = _GREEDY
    ) -> VideoCaptions:
        """Return all captions of `caption_windows` together, which can be written as subtitles.

        Where a video cannot be read to its end, the captions up to there are returned, and
        `incomplete` says why.

        Args:
            video: a path or URL.
            every: length of a window in seconds.
            style: how the words are chosen.

        Raises:
            VideoError: the video cannot be read at all.
            ConfigError: as in `caption_windows`.
        """
        writer = captioner(self.model, self.name)
        return caption_timeline(writer, video, self.preprocessing, style, every=every)


def _texts(texts: str | Sequence[str], *, what: str) -> list[str]:
    """Return one text or several as a list.

    Raises:
        ConfigError: something is no text.
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    for text in texts:
        if not isinstance(text, str):
            raise ConfigError(f"a {what} is a string, not {type(text).__name__} ({text!r})")
    return texts
