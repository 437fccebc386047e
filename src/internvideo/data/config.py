"""What a recipe says of its clips: where they come from, and which frames of a video make one.

Each class is one kind of `data:` and opens its own source; no reader is imported before.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import Field, NonNegativeInt, PositiveInt

from internvideo.config import Fraction, Positive, config_class, config_from_dict
from internvideo.data.clip_sampling import ClipSampling, SamplingConfig
from internvideo.data.features import FeatureFiles
from internvideo.data.samples import EvaluationSource
from internvideo.errors import ConfigError
from internvideo.formats import ASKING, READABLE
from internvideo.formats.columns import CaptionColumns
from internvideo.video import Preprocessing

__all__ = [
    "BoxData",
    "CaptionColumns",
    "CaptionData",
    "ClipFileData",
    "Data",
    "FeatureData",
    "ListData",
    "MSRVTTData",
    "MixData",
    "MixPart",
    "QuestionData",
    "ShardData",
    "UntrimmedData",
    "WorldData",
    "open_data",
]

if TYPE_CHECKING:
    _ListKind: TypeAlias = str
    _QuestionKind: TypeAlias = str
else:
    # MSR-VTT names the folder of its videos otherwise, and captions have columns to choose.
    _OTHERS = ("msrvtt", "captions", *ASKING)
    _ListKind = Literal[tuple(kind for kind in READABLE if kind not in _OTHERS)]
    _QuestionKind = Literal[ASKING]

_Annotations = Annotated[Path, Field(description="the annotation file, or a folder")]
_ROOT = Field(default=None, description="videos are relative to this folder or address")
_FirstLabel = Annotated[
    int, Field(ge=0, le=1, description="what numbers of classes count from in the file")
]
_SKIP_BAD = Field(default=False, description="leave out lines that cannot be used")
_EVERY_CAPTION = Field(
    default=False, description="a clip for each caption, in place of a caption drawn per visit"
)


@config_class
class WorldData:
    """Procedural clips, rendered when they are needed; the same for the same seed."""

    kind: Literal["world"]
    num_clips: PositiveInt = Field(description="of an epoch")
    start: NonNegativeInt = Field(default=0, description="number of the first clip")
    seed: int = Field(default=0, description="another seed is another world")
    num_events: PositiveInt = Field(default=1, description="actions in a clip, one after the other")
    actions: tuple[str, ...] | None = Field(
        default=None, description="the classes, in this order; None: all of the world"
    )
    held_out: Literal["none", "actions", "shapes"] = Field(
        default="none", description="leave out what the world holds out for open-set tests"
    )
    captions: dict[str, float] = Field(
        default_factory=dict, description="shares of caption kinds, see world.CaptionMix"
    )
    alone: bool = Field(
        default=False, description="one object in each clip: no bystander, no action of two"
    )
    questions: bool | tuple[str, ...] = Field(
        default=False,
        description="ask about the clips, or only these kinds of questions; the classes are then "
        "the answers",
    )

    def open(self, protocol: Preprocessing, sampling: ClipSampling | None) -> EvaluationSource:
        """Return the clips; nothing is painted yet."""
        del protocol
        from internvideo.data.world import WorldSource
        from internvideo.world import CaptionMix, World

        world = World(seed=self.seed, num_events=self.num_events, actions=self.actions)
        source = WorldSource(
            (world.of_single_objects() if self.alone else world).part(self.held_out, unknown=False),
            num_clips=self.num_clips,
            start=self.start,
            captions=config_from_dict(CaptionMix, self.captions, source="data.captions"),
            sampling=sampling,
        )
        if not self.questions:
            return source
        from internvideo.data.questions import world_questions

        return world_questions(source, kinds=None if self.questions is True else self.questions)


@config_class
class ListData:
    """An annotation file of a public data set, in its own format (see `internvideo.formats`)."""

    kind: _ListKind
    annotations: _Annotations
    root: str | None = _ROOT
    labels: Path | None = Field(
        default=None, description="the class list, for formats that name classes in words"
    )
    split: str | None = Field(default=None, description="for files that hold several splits")
    first_label: _FirstLabel = 0
    every_caption: bool = _EVERY_CAPTION
    skip_bad: bool = _SKIP_BAD

    def open(self, protocol: Preprocessing, sampling: ClipSampling | None) -> EvaluationSource:
        """Read the file and return its clips."""
        names = ("root", "labels", "split", "first_label", "every_caption")
        return _open_list(self, protocol, sampling, **{name: getattr(self, name) for name in names})


@config_class
class CaptionData:
    """Captioned clips or images in a csv, tsv, json, parquet or SQLite table."""

    kind: Literal["captions"]
    annotations: _Annotations
    root: str | None = _ROOT
    columns: CaptionColumns | None = Field(
        default=None, description="by default found by the names of the columns"
    )
    skip_bad: bool = _SKIP_BAD

    def open(self, protocol: Preprocessing, sampling: ClipSampling | None) -> EvaluationSource:
        """Read the table and return its clips."""
        return _open_list(self, protocol, sampling, root=self.root, columns=self.columns)


@config_class
class ShardData:
    """Tar shards as `internvideo data shard` writes them (webdataset), local or remote."""

    kind: Literal["shards"]
    shards: str = Field(description="pattern such as clips-{000000..000123}.tar, or a folder")
    cache: Path | None = Field(default=None, description="where remote shards are kept")
    first_label: _FirstLabel = 0

    def open(self, protocol: Preprocessing, sampling: ClipSampling | None) -> EvaluationSource:
        """Read the index and return the clips."""
        from internvideo.data.shards import open_shards

        return open_shards(
            self.shards,
            protocol=protocol,
            sampling=sampling,
            cache=self.cache,
            first_label=self.first_label,
        )


@config_class
class ClipFileData:
    """Clips that were decoded before, all in one file, see `data.clip_file`."""

    kind: Literal["clip-file"]
    annotations: Path = Field(description="the .safetensors file")
    start: NonNegativeInt = 0
    num_clips: PositiveInt | None = Field(default=None, description="None: all from `start` on")

    def open(self, protocol: Preprocessing, sampling: ClipSampling | None) -> EvaluationSource:
        """Map the file."""
        del protocol
        from internvideo.data.clip_file import ClipFile

        if sampling is not None:
            raise ConfigError("sampling: the frames of the clips in a clip-file are chosen already")
        return ClipFile(self.annotations, start=self.start, num_clips=self.num_clips)


@config_class
class FeatureData:
    """Annotated untrimmed videos, read as features that were extracted before; an item a video."""

    kind: Literal["features"]
    annotations: _Annotations
    features: FeatureFiles
    format: str | None = Field(default=None, description="by default told by the content")
    labels: Path | None = Field(
        default=None, description="the class list, for formats that name classes in words"
    )
    split: str | None = Field(default=None, description="for files that hold several splits")
    skip_bad: bool = _SKIP_BAD

    def open(self, protocol: Preprocessing, sampling: ClipSampling | None) -> EvaluationSource:
        """Read the annotations; features are read one video at a time."""
        del protocol, sampling
        from internvideo.data.feature_videos import FeatureVideoSource, read_videos

        videos = read_videos(
            self.annotations, kind=self.format, labels=self.labels, split=self.split
        )
        if not self.skip_bad:
            videos.refuse_bad_lines()
        return FeatureVideoSource(videos, self.features.open())


@config_class
class UntrimmedData:
    """Annotated untrimmed videos, read as frames; an item a video."""

    kind: Literal["untrimmed"]
    annotations: _Annotations
    root: str | None = _ROOT
    format: str | None = Field(default=None, description="by default told by the content")
    labels: Path | None = Field(
        default=None, description="the class list, for formats that name classes in words"
    )
    split: str | None = Field(default=None, description="for files that hold several splits")
    skip_bad: bool = _SKIP_BAD

    def open(self, protocol: Preprocessing, sampling: ClipSampling | None) -> EvaluationSource:
        """Read the annotations; videos are opened one by one."""
        del protocol, sampling
        from internvideo.data.feature_videos import read_videos
        from internvideo.data.untrimmed import UntrimmedSource

        videos = read_videos(
            self.annotations,
            kind=self.format,
            root=self.root,
            labels=self.labels,
            split=self.split,
        )
        if not self.skip_bad:
            videos.refuse_bad_lines()
        return UntrimmedSource(videos)


@config_class
class BoxData:
    """Key frames of annotated videos with boxes, such as those of AVA; an item a key frame."""

    kind: Literal["boxes"]
    annotations: _Annotations
    root: str | None = _ROOT
    format: str | None = Field(default=None, description="by default told by the content")
    labels: Path | None = Field(default=None, description="the label map, such as a .pbtxt")
    persons: Path | None = Field(
        default=None, description="boxes of a detector of persons, in place of the true ones"
    )
    least_score: Fraction = Field(default=0.8, description="of the boxes of a detector")
    excluded: Path | None = Field(
        default=None, description="csv of movie,timestamp: pictures that do not count"
    )
    skip_bad: bool = _SKIP_BAD

    def open(self, protocol: Preprocessing, sampling: ClipSampling | None) -> EvaluationSource:
        """Read the annotations and the boxes; videos are read one key frame at a time."""
        del sampling
        from internvideo.data.key_frames import open_key_frames

        return open_key_frames(
            self.annotations,
            protocol,
            root=self.root,
            kind=self.format,
            labels=self.labels,
            persons=self.persons,
            least_score=self.least_score,
            excluded=self.excluded,
            strict=not self.skip_bad,
        )


@config_class
class MSRVTTData:
    """An MSR-VTT json or list with its folder of videos."""

    kind: Literal["msrvtt"]
    annotations: _Annotations
    videos: Path
    split: str | None = Field(
        default=None, description="of a json: train (the default), validate, test, 1ka-train …"
    )
    every_caption: bool = _EVERY_CAPTION
    skip_bad: bool = _SKIP_BAD

    def open(self, protocol: Preprocessing, sampling: ClipSampling | None) -> EvaluationSource:
        """Read the file and return its clips."""
        split = self.split or ("train" if self.annotations.suffix == ".json" else None)
        options = {"split": split, "every_caption": self.every_caption}
        return _open_list(self, protocol, sampling, root=self.videos, **options)


@config_class
class QuestionData:
    """A file of questions about videos, each with one short answer."""

    kind: _QuestionKind
    annotations: _Annotations
    root: str | None = _ROOT
    answers: PositiveInt | Literal["all"] | Path | None = Field(
        default=None,
        description="what a classifier answers with: so many, the most frequent of these "
        "questions, all, or those of a file; None is for measuring: the model knows its own",
    )
    per_video: bool = Field(
        default=False,
        description="a clip is a video with all questions about it, not one of them, as published",
    )
    shuffle: bool = Field(
        default=True, description="false takes the lines in their order, as published"
    )
    skip_bad: bool = _SKIP_BAD

    def open(self, protocol: Preprocessing, sampling: ClipSampling | None) -> EvaluationSource:
        """Read the file and return its clips."""
        from internvideo.data.questions import Answers, QuestionSource, read_questions

        asked = read_questions(
            self.kind,
            self.annotations,
            protocol=protocol,
            sampling=sampling,
            root=self.root,
            skip_bad=self.skip_bad,
        )
        answers = None
        if self.answers is not None:
            wanted = None if self.answers == "all" else self.answers
            answers = Answers.choose(wanted, asked, file=self.annotations)
        return QuestionSource(asked, answers, per_video=self.per_video, shuffled=self.shuffle)


def _open_list(
    data: ListData | CaptionData | MSRVTTData,
    protocol: Preprocessing,
    sampling: ClipSampling | None,
    **options: Any,
) -> EvaluationSource:
    from internvideo.data.build import open_list

    given = {"protocol": protocol, "sampling": sampling, "skip_bad": data.skip_bad, **options}
    return open_list(data.kind, data.annotations, **given)


_OneData = Annotated[
    WorldData | ListData | CaptionData | QuestionData | ShardData | MSRVTTData | BoxData,
    Field(discriminator="kind"),
]


@config_class
class MixPart:
    """One of the sources of a mix."""

    data: _OneData
    weight: Positive = Field(
        default=1.0, description="passes over it in an epoch; 0.5 takes half of it"
    )


@config_class
class MixData:
    """Several sources; a batch has only videos or only still images."""

    kind: Literal["mix"]
    sources: Annotated[list[MixPart], Field(min_length=1)]

    def open(self, protocol: Preprocessing, sampling: ClipSampling | None) -> EvaluationSource:
        """Open all sources and mix them."""
        from internvideo.data.mix import MixSource

        opened = [part.data.open(protocol, sampling) for part in self.sources]
        return MixSource(opened, [part.weight for part in self.sources])


Data: TypeAlias = Annotated[
    WorldData
    | ListData
    | CaptionData
    | QuestionData
    | ShardData
    | MSRVTTData
    | BoxData
    | ClipFileData
    | FeatureData
    | UntrimmedData
    | MixData,
    Field(discriminator="kind"),
]


def open_data(
    data: Data, protocol: Preprocessing, sampling: SamplingConfig | None = None
) -> EvaluationSource:
    """Return the clips of a recipe's `data`, in batches of one medium.

    Args:
        data: where they come from.
        protocol: the input protocol of the model.
        sampling: which frames make a training clip; None takes the middle clip of the protocol.

    Raises:
        DataError: the annotations cannot be used; the line is named.
    """
    source = data.open(protocol, sampling and sampling.for_clips(protocol.num_frames))
    still = getattr(source, "still", None)
    if isinstance(data, MixData) or still is None or still.all() or not still.any():
        return source
    from internvideo.data.mix import MixSource

    return MixSource([source])  # no batch of videos and images
