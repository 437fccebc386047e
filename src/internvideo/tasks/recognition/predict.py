"""Naming what is in a user's videos, with the classes of a classifier."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

from jaxtyping import Float
from torch import Tensor

from internvideo.errors import ConfigError, UnknownNameError, VideoError, did_you_mean
from internvideo.evaluation.answer import Partial
from internvideo.evaluation.arrays import as_list
from internvideo.evaluation.classification import Classification
from internvideo.evaluation.engine import Answerer, Batch
from internvideo.evaluation.timeline import ActionTimeline
from internvideo.evaluation.videos import name_videos
from internvideo.models.contract import OpenSetModel, has
from internvideo.tasks.task import Option
from internvideo.video.opening import AnyVideo
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo.hub import LoadedModel

__all__ = ["ClassNamer", "predict"]


class ClassNamer(Answerer[Classification]):
    """Names what is in a video, with some (`labels`) or all of the classes of a classifier.

    Raises:
        UnknownNameError: a label is not one of the classes.
        ConfigError: not a classifier, or an empty list of labels.
    """

    def __init__(
        self,
        model: LoadedModel,
        protocol: Preprocessing,
        labels: Sequence[str] | None = None,
        *,
        open_set: bool = False,
    ) -> None:
        super().__init__(model.model, protocol)
        self.judges = _open_set_model(model) if open_set else None
        own = model.class_names
        if own is None:
            raise ConfigError(
                f"{model.name} has no classes of its own; give a classifier, such as "
                "videomae-b16-k400"
            )
        self.name = model.name
        self.chosen = list(range(len(own))) if labels is None else _places(labels, own, model.name)
        self.labels = [own[place] for place in self.chosen]

    def answer(self, batch: Batch) -> list[Classification]:
        """Return the classes of each video; the softmax is averaged over its views."""
        if self.judges is not None:
            return self._judged(batch, self.judges)
        described = self.protocol.describe()
        found: list[Classification] = []
        for video, shares in batch.each(self._probabilities):
            chosen = as_list(shares.mean(dim=0)[self.chosen])
            found.append(
                Classification.from_scores(
                    video.name, self.labels, chosen, chosen, model=self.name, protocol=described
                )
            )
        return found

    def _judged(self, batch: Batch, model: OpenSetModel) -> list[Classification]:
        """Return the classes of each video, and whether it shows any of them."""
        found: list[Classification] = []
        for video, features in batch.each(model.pooled):
            judged = model.judge(features)
            chosen = as_list(judged.probabilities[self.chosen])
            found.append(
                Classification.from_scores(
                    video.name, self.labels, chosen, chosen, model=self.name,
                    protocol=self.protocol.describe(), uncertainty=judged.uncertainty,
                    is_unknown=judged.uncertainty > (model.threshold or 0.0),
                )
            )  # fmt: skip
        return found

    def _probabilities(self, clips: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b k"]:
        return self.network(clips).float().softmax(dim=1)


def _open_set_model(model: LoadedModel) -> OpenSetModel:
    """Return a model that can answer "unknown".

    Raises:
        ConfigError: it cannot.
    """
    network = model.model
    if not has(network, "unknown"):
        raise ConfigError(
            f"{model.name} always names one of its classes; --open-set needs a model that was "
            "trained to know when it sees none of them, by a recipe of task open-set"
        )
    if network.threshold is None:
        raise ConfigError(
            f"{model.name} has no threshold of uncertainty yet: `internvideo train` fits one at "
            "the end of a run"
        )
    return network


def predict(
    model: LoadedModel,
    videos: Iterable[AnyVideo],
    *,
    labels: Annotated[
        Sequence[str] | None,
        Option("Only these classes; repeat it, or give a file.", flags=("-l",), from_files=True),
    ] = None,
    top_k: Annotated[
        int, Option("Best answers for each video or window.", flags=("-k",), minimum=1)
    ] = 5,
    open_set: Annotated[
        bool, Option('Answer "unknown" where an open-set model sees none of its classes.')
    ] = False,
    stream: Annotated[bool, Option("Answer window by window, for videos of any length.")] = False,
    window: Annotated[
        float | None, Option("Length of a window in seconds; by default that of the model's clip.")
    ] = None,
    stride: Annotated[
        float | None,
        Option("Seconds from one window to the next; by default the length of a window."),
    ] = None,
    in_frames: Annotated[
        bool, Option("--window and --stride count frames, not seconds.", flags=("--frames",))
    ] = False,
) -> Iterator[Classification | ActionTimeline | Partial | VideoError]:
    """Name the actions in videos, with the classes of the model.

    The default model, videomae-nano, ships with the package and knows the 28 actions of the
    procedural world only; for real videos name a classifier.

    The model looks at each video in the way that it was made for: so many clips and crops, whose
    answers are averaged. With --stream, the video is cut into windows that are answered one after
    the other while it is decoded; in the table, neighbours with the same answer are one row. Memory
    does not grow with the length of the video.

    With --open-set, a model of task open-set tells with its uncertainty whether the video shows any
    of its classes at all.

    Raises:
        ConfigError: not a classifier, or an impossible value.
    """
    if open_set and stream:
        raise ConfigError("--open-set judges whole videos; leave out --stream")
    namer = ClassNamer(model, model.protocol, labels, open_set=open_set)
    return name_videos(
        namer, videos, model=model.name, top_k=top_k,
        stream=stream, window=window, stride=stride, in_frames=in_frames,
    )  # fmt: skip


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
