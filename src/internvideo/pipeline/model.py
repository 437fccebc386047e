"""A loaded model and the questions it can be asked; each is answered in the room of its task."""

# pyright: reportUnknownMemberType=false
# (the mixin of huggingface_hub is typed in part)

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from internvideo.data.feature_writing import FeatureFolder, FeatureFormat
from internvideo.errors import ConfigError, UnknownNameError, VideoError, did_you_mean
from internvideo.evaluation.classification import Classification
from internvideo.evaluation.data import AnnotatedData
from internvideo.evaluation.embedding import embed_frames, embed_videos
from internvideo.evaluation.engine import Answerer, EvalLoop, joined_processes
from internvideo.evaluation.extraction import (
    Extracted,
    Extraction,
    FeatureExtractor,
    extract,
    find_preset,
)
from internvideo.evaluation.report import Report
from internvideo.evaluation.text import embed_sentences, warn_of_unknown_words
from internvideo.evaluation.timeline import ActionWindow
from internvideo.evaluation.videos import Cut, label_videos, label_windows
from internvideo.models.tokenizer import Tokenizer
from internvideo.pipeline.auto import refuse_unknown_words
from internvideo.tasks.captioning.captions import CaptionSpan, VideoCaptions
from internvideo.tasks.captioning.predict import (
    CaptionStyle,
    CaptionWriter,
    caption_spans,
    caption_timeline,
    caption_videos,
)
from internvideo.tasks.recognition.predict import ClassNamer
from internvideo.tasks.registry import all_architectures, find_task
from internvideo.tasks.zero_shot.predict import sentence_classifier
from internvideo.video.opening import AnyVideo, as_list
from internvideo.video.preprocessing import PRESETS, Preprocessing
from internvideo.zoo.card import Card
from internvideo.zoo.hub import LoadedModel

if TYPE_CHECKING:
    from torch import nn

__all__ = ["VideoModel", "choose_device"]

_KEPT_LABEL_SETS = 16
_GREEDY = CaptionStyle()


class VideoModel:
    """A model that answers questions about videos; made by `load`.

    It stays in evaluation mode and computes no gradients; embeddings and scores come back as
    float32 on the CPU.

    Args:
        loaded: the network with its record, from `zoo.load_model`; put into evaluation mode.
        refuse_unknown_words: sentences with words that the model does not know are an error, not a
            warning; so where a user did not choose the model.
    """

    def __init__(self, loaded: LoadedModel, *, refuse_unknown_words: bool = False) -> None:
        self.loaded = loaded
        self._refuses = refuse_unknown_words
        self.model: nn.Module = loaded.model.eval()
        self._namers: dict[Any, Answerer[Classification]] = {}
        self._warned_words: set[str] = set()

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, device: str | torch.device = "auto"
    ) -> VideoModel:
        """Load a folder written by `save_pretrained`, or a repository of the hub; see `load`."""
        place = choose_device(device)
        return cls(
            LoadedModel.from_pretrained(
                str(source), device=place, architectures=all_architectures()
            )
        )

    def save_pretrained(self, directory: str | Path) -> Path:
        """Write the weights, `config.json` and a `README.md` to a folder that `load` reads."""
        self.loaded.save_pretrained(directory)
        return Path(directory)

    def push_to_hub(self, repo_id: str, *, private: bool = False, token: str | None = None) -> str:
        """Upload what `save_pretrained` writes to the Hugging Face hub; return its address."""
        return self.loaded.push_to_hub(repo_id, private=private, token=token)

    def with_preprocessing(self, protocol: str | Preprocessing) -> VideoModel:
        """Return the same weights under another input protocol, or a preset by name.

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
        loaded = self.loaded.with_record(preprocessing=protocol)
        return VideoModel(loaded, refuse_unknown_words=self._refuses)

    @property
    def name(self) -> str:
        """Name of the card, or else of the architecture."""
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
        return self.loaded.protocol

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The classes of a classifier in the order of its outputs, else None."""
        return self.loaded.class_names

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
        described = f", {protocol.describe()}" if protocol else ""
        return f"VideoModel({self.name}, {millions:.1f} M parameters, {self.device}{described})"

    # --- any task -----------------------------------------------------------------------------

    def predict(
        self, task: str, videos: AnyVideo | Iterable[AnyVideo], **options: Any
    ) -> Iterator[Any]:
        """Yield the answer of a task to each video, or the VideoError of one that cannot be read.

        Args:
            task: such as "recognition" or "captioning".
            videos: one video or several, each as in `classify`.
            options: of the task, see `predict` in its room `internvideo.tasks`.

        Raises:
            UnknownNameError: there is no such task.
            ConfigError: the task answers no questions about single videos, or the model cannot.
        """
        found = find_task(task)
        if found.predict is None:
            raise ConfigError(
                f"the task {found.name!r} answers no questions about videos of your own"
            )
        self._check_words(options.get("labels"))
        several = videos if isinstance(videos, Iterator) else as_list(videos)  # type: ignore[arg-type]
        return found.predict(self.loaded, several, **options)

    def evaluate(
        self,
        annotations: str | Path | AnnotatedData,
        task: str = "recognition",
        *,
        batch_size: int = 16,
        num_workers: int = 2,
        directory: str | Path | None = None,
        progress: Callable[[int, int], None] | None = None,
        name: str | None = None,
        **options: Any,
    ) -> Report:
        """Measure the model on annotated videos; under `torchrun` the processes share them.

        Args:
            annotations: an annotation file or folder in any format, or "world"; as an
                `AnnotatedData` with root, labels, split and so on.
            task: such as "recognition" or "zero-shot".
            batch_size: this and the next three as in `EvalLoop`.
            num_workers: videos decoded at once.
            directory: for `predictions.jsonl` and `report.json`.
            progress: called with (videos done, videos in all).
            name: of the model, for the report; by default, its own.
            options: of the task, see `evaluate` in its room `internvideo.tasks`.

        Raises:
            UnknownNameError: there is no such task.
            DataError: the annotations cannot be used.
            ConfigError: the task has no evaluation, the model cannot do it, or the directory
                belongs to another one.
        """
        found = find_task(task)
        if found.evaluate is None:
            raise ConfigError(f"the task {found.name!r} measures no model")
        data = annotations
        if not isinstance(data, AnnotatedData):
            data = AnnotatedData(path=str(data))
        loop = EvalLoop(
            batch_size=batch_size,
            num_workers=num_workers,
            fabric=joined_processes(self.model),
            directory=None if directory is None else Path(directory),
            progress=progress,
        )
        videos = found.open(data, self.preprocessing)
        report = found.evaluate(self.loaded, videos, loop=loop, **options)
        report = dataclasses.replace(report, data=data.name, model=name or report.model)
        loop.write(report)
        return report

    # --- labels -------------------------------------------------------------------------------

    def classify(
        self,
        video: AnyVideo,
        labels: Sequence[str] | None = None,
        *,
        top_k: int | None = None,
        templates: str | Path | Sequence[str] = "none",
    ) -> Classification:
        """Find the labels that fit a video best.

        Args:
            video: a path, URL, encoded bytes, `Video`, or uint8 frames "t h w c".
            labels: any sentences for a model with a text tower; for a classifier, some of its
                classes.
            top_k: keep only so many of the best answers.
            templates: for a model with a text tower, sentences around each label: "none", a
                published set such as "action16", a file, or your own with `{}` for the label.

        Returns:
            The labels from the likeliest to the unlikeliest. Several views of a video are averaged:
            their cosines for sentences, their softmax for a classifier.

        Raises:
            VideoError: the video cannot be read.
            ConfigError: no labels for a text model, or a model that has neither text nor classes;
                or `load("auto")` found no model that knows the words of the labels.
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
        """Classify many videos, in order; one that cannot be read yields its error."""
        if top_k is not None and top_k < 1:
            raise ConfigError(f"top_k must be at least 1, got {top_k}")
        return label_videos(self.labelling(labels, templates), videos, top_k=top_k)

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
        """Yield the labels of one window after the other of a video of any length.

        Answers come while the video is decoded, once and in order; memory does not grow with its
        length. Each window is looked at through one clip and its central crop. `window`, `stride`
        and `in_frames` are those of `Cut`, the other arguments those of `classify`.

        Raises:
            VideoError: the video cannot be read to its end; earlier answers have been yielded.
            ConfigError: impossible numbers, or labels as in `classify`.
        """
        if top_k < 1:
            raise ConfigError(f"top_k must be at least 1, got {top_k}")
        cut = Cut(window=window, stride=stride, in_frames=in_frames)
        return label_windows(self.labelling(labels, templates), video, cut, top_k=top_k)

    def labelling(
        self,
        labels: str | Sequence[str] | None = None,
        templates: str | Path | Sequence[str] = "none",
    ) -> Answerer[Classification]:
        """Return the answerer behind `classify`; a text tower reads each set of labels once."""
        texts = None if labels is None else tuple(_texts(labels, what="label"))
        key = (texts, templates if isinstance(templates, str | Path) else tuple(templates))
        if key in self._namers:
            return self._namers[key]
        self._check_words(texts)
        if self.tokenizer is not None:
            namer: Answerer[Classification] = sentence_classifier(
                self.loaded, texts, templates, warned=self._warned_words
            )
        elif self.labels is not None:
            namer = ClassNamer(self.loaded, self.preprocessing, texts)
        else:
            raise ConfigError(
                f"{self.name} has neither a text tower nor classes; embed_video works, or load a "
                "ViCLIP or a classifier"
            )
        while len(self._namers) >= _KEPT_LABEL_SETS:
            self._namers.pop(next(iter(self._namers)))
        self._namers[key] = namer
        return namer

    def _check_words(self, texts: Sequence[str] | None) -> None:
        if self._refuses and texts is not None:
            refuse_unknown_words(self.loaded, texts)

    # --- embeddings ---------------------------------------------------------------------------

    def embed_video(self, videos: AnyVideo | Sequence[AnyVideo]) -> Float[Tensor, "n d"]:
        """Return one vector of unit length per video.

        A model with a text tower embeds into the space of its sentences; a classifier returns the
        input of its head, a pretrained encoder the mean of its tokens.

        Args:
            videos: one video or several, each as in `classify`.

        Raises:
            VideoError: a video cannot be read; `embed_many` goes on without it.
        """
        rows: list[Tensor] = []
        for row in self.embed_many(as_list(videos)):
            if isinstance(row, VideoError):
                raise row
            rows.append(row)
        if not rows:
            raise ConfigError("no videos to embed: give at least one")
        return torch.stack(rows)

    def embed_many(self, videos: Iterable[AnyVideo]) -> Iterator[Float[Tensor, "d"] | VideoError]:
        """Embed many videos, in order; one that cannot be read yields its error."""
        return embed_videos(self.loaded, videos)

    def embed_video_batch(
        self, frames: UInt8[Tensor, "b t h w c"], *, fps: float | None = None
    ) -> Float[Tensor, "b d"]:
        """Return one vector of unit length per clip of a batch of raw frames.

        Args:
            frames: RGB clips of equal shape; frames are picked and resized by the input protocol.
            fps: their frame rate, for a protocol that counts in seconds.
        """
        return embed_frames(self.loaded, frames, fps=fps)

    def extract(
        self,
        videos: Sequence[str | Path],
        folder: str | Path,
        extraction: Extraction | str = "activitynet",
        *,
        format: FeatureFormat = "npy",
        num_workers: int = 2,
    ) -> Iterator[Extracted]:
        """Write the features of untrimmed videos, one file each, and yield what became of each.

        Args:
            videos: files and addresses.
            folder: for the files and what made them; where it holds some already, it is continued.
            extraction: windows and rows, or the name of a data set whose windows are published.
            format: of the files.
            num_workers: videos decoded at once.

        Raises:
            ConfigError: the folder holds other features, or the model has none to give.
        """
        wanted = find_preset(extraction) if isinstance(extraction, str) else extraction
        extractor = FeatureExtractor(self.loaded, wanted)
        return extract(
            extractor, videos, FeatureFolder(Path(folder), format), num_workers=num_workers
        )

    def embed_text(self, texts: str | Sequence[str]) -> Float[Tensor, "n d"]:
        """Return one vector of unit length per text, in the space of the videos.

        Raises:
            ConfigError: the model has no text tower, or no texts were given.
        """
        towers = self.loaded.two_towers
        texts = _texts(texts, what="text")
        if not texts:
            raise ConfigError("no texts to embed: give at least one")
        self._check_words(texts)
        warn_of_unknown_words(towers.tokenizer, texts, name=self.name, warned=self._warned_words)
        return embed_sentences(towers, texts).cpu()

    # --- captions -----------------------------------------------------------------------------

    def caption(self, video: AnyVideo, style: CaptionStyle = _GREEDY) -> str:
        """Describe a video in a sentence, by a model with a caption decoder.

        Args:
            video: as in `classify`; one clip of it is looked at, through its central crop.
            style: how the words are chosen, such as `CaptionStyle(strategy="beam", num_beams=5)`.

        Raises:
            VideoError: the video cannot be read.
            ConfigError: the model has no caption decoder.
        """
        [answer] = self.caption_many([video], style)
        if isinstance(answer, VideoError):
            raise answer
        return answer.text

    def caption_many(
        self, videos: Iterable[AnyVideo], style: CaptionStyle = _GREEDY
    ) -> Iterator[VideoCaptions | VideoError]:
        """Caption many videos, in order; one that cannot be read yields its error."""
        return caption_videos(CaptionWriter(self.loaded, style), videos)

    def caption_windows(
        self, video: AnyVideo, every: float, style: CaptionStyle = _GREEDY
    ) -> Iterator[CaptionSpan]:
        """Yield the caption of each window of `every` seconds, as `stream_actions` does labels."""
        return caption_spans(CaptionWriter(self.loaded, style), video, every)

    def caption_timeline(
        self, video: str | Path, every: float, style: CaptionStyle = _GREEDY
    ) -> VideoCaptions:
        """Return the captions of `caption_windows` together; they can be written as subtitles.

        Where a video cannot be read to its end, `incomplete` says why.

        Raises:
            VideoError: the video cannot be read at all.
            ConfigError: the model has no caption decoder, or `every` is not positive.
        """
        return caption_timeline(CaptionWriter(self.loaded, style), video, every)


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
        if "device type" in reason:  # PyTorch lists twenty kinds
            reason = "expected auto, cpu, cuda, cuda:1 and so on, or mps"
        raise ConfigError(f"device {str(device)!r} cannot be used here: {reason}") from None
    return chosen


def _texts(texts: Any, *, what: str) -> list[str]:
    """Return one text or several as a list of strings."""
    texts = [texts] if isinstance(texts, str) else list(texts)
    for text in texts:
        if not isinstance(text, str):
            raise ConfigError(f"a {what} is a string, not {type(text).__name__} ({text!r})")
    return texts
