"""The annotation formats of public data sets: one file each, which reads, writes and recognises it.

`FORMATS` is the one list that readers, recipes and the command line share. A module has, as far as
its record says so,

- `read(path, root, *, labels, split, columns) -> Annotations`, of the options those that the record
  names; it touches no video, and names the line of whatever it cannot use;
- `looks_like(file: detect.Glimpse) -> bool`;
- `write(data: files.Collection) -> list[Path]`: the annotation files for videos that are already in
  a folder, as the layout of the format puts them there.

No module is imported before it is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType

from internvideo.errors import ConfigError, did_you_mean

__all__ = ["ASKING", "FORMATS", "READABLE", "WRITABLE", "Format", "Layout", "find_format"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Where a data set in some format has its videos; plain values, as processes need it.

    Attributes:
        splits: names of the splits, in the order of the clips.
        shares: their usual shares.
        video: path of a video below the folder; `{index}` is its number, `{split}` its split,
            `{snake}` and `{camel}` are its class as `move_left` and `MoveLeft`; `{movie}` is the
            number of a film of sixty videos, and `{span}` the time of the video in it, as LSMDC
            writes it; `{seconds}` is the length of the video in whole seconds, `{frame}` the number
            of its last frame, from 0.
        frames: likewise the path of a frame as an image, `{frame}` being its number from 1; None
            has no images.
        captions: sentences a video; where it has several moments, each has one.
        moments: annotated moments a video, one after the other.
        moment_seconds: how long each lasts; None is as long as a video of one.
        untrimmed: whether videos are minutes long and show actions now and then; `moment_seconds`
            is then the length of the longest.
        key_frames: whether there are boxes, with what is done in them, once a second; the classes
            are then all actions of the world.
        shown: share of the frames of a clip that are in its file; the others are to be foreseen.
        templates: whether classes are called by templates such as "[Something] moves left".
        youtube_ids: whether videos have ids as YouTube gives them, in place of numbers.
    """

    splits: tuple[str, ...] = ("train", "val", "test")
    shares: tuple[float, ...] = (0.8, 0.1, 0.1)
    video: str = "videos/clip_{index:06d}.mp4"
    frames: str | None = None
    captions: int = 5
    moments: int = 1
    moment_seconds: int | None = None
    untrimmed: bool = False
    key_frames: bool = False
    shown: float = 1.0
    templates: bool = False
    youtube_ids: bool = False

    def place(
        self,
        pattern: str,
        index: int,
        label: str,
        *,
        split: str = "",
        seconds: float = 0.0,
        frame: int = 0,
    ) -> str:
        """Return the path that a pattern gives for a video of the class `label`, so long."""
        from internvideo.formats.timestamps import format_timestamp

        words, start = label.split(), 60.0 * (index % 60)
        times = (format_timestamp(time).replace(":", ".") for time in (start, start + seconds))
        return pattern.format(
            index=index,
            split=split,
            snake="_".join(words),
            camel="".join(word.capitalize() for word in words),
            seconds=round(seconds),
            movie=1001 + index // 60,
            span="-".join(times),
            frame=frame,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """One annotation format.

    Attributes:
        name: what `kind` of a recipe and `--format` call it.
        description: which files these are.
        annotates: what the files say of a video: "labels", "captions", "segments", "boxes",
            "hands", "contacts", "questions" or "choices".
        options: what `read` takes beside the file and the folder of the videos; None: not read.
        layout: how a written data set is laid out; None: not written.
        module: its file in this package; by default its name.
        whole_videos: clips are evaluated by views of the whole video that they are a part of.
        strides: strides of the published pretraining, by a text in the path of the video.
    """

    name: str
    description: str
    annotates: tuple[str, ...] = ("labels",)
    options: tuple[str, ...] | None = None
    layout: Layout | None = None
    module: str = ""
    whole_videos: bool = False
    strides: Mapping[str, int] = field(default_factory=dict)

    def load(self) -> ModuleType:
        """Return its module."""
        return import_module(f"{__name__}.{self.module or self.name.replace('-', '_')}")


_CLASSES = ("labels",)
_SPLITS = ("labels", "split")
_SSV2 = ("train", "validation", "test")

# In this order a file is asked which of them it looks like.
FORMATS: tuple[Format, ...] = (
    Format(
        name="hmdb51",
        description="HMDB51: a folder of `<class>_test_split<1|2|3>.txt`",
        options=_SPLITS,
        layout=Layout(
            splits=("train", "test"),
            shares=(0.7, 0.3),
            video="videos/{snake}/world_{snake}_{index:06d}.avi",
        ),
    ),
    Format(
        name="class-folders",
        description="a folder of videos for each class",
        options=_SPLITS,
    ),
    Format(
        name="msvd",
        description="MSVD: sentences as text, csv or pickle",
        annotates=("captions",),
        options=("split",),
        layout=Layout(video="videos/vid{index}.avi", captions=40, youtube_ids=True),
    ),
    Format(
        name="msrvtt",
        description="MSR-VTT: its json, and the lists of the 1k-A protocol",
        annotates=("captions",),
        options=("split",),
        layout=Layout(
            splits=("train", "validate", "test"), video="videos/video{index}.mp4", captions=20
        ),
    ),
    Format(
        name="lsmdc",
        description="LSMDC: rows of clip, times and sentence, separated by tabs",
        annotates=("captions",),
        options=(),
        layout=Layout(
            video="videos/{movie}_World/{movie}_World_{span}.avi",
            captions=1,
        ),
    ),
    Format(
        name="didemo",
        description="DiDeMo: sentences about moments, joined for each video",
        annotates=("captions", "segments"),
        options=(),
        layout=Layout(
            video="videos/{index:08d}@N00_{index}_world.mov.mp4", moments=2, moment_seconds=5
        ),
    ),
    Format(
        name="activitynet-captions",
        description="ActivityNet Captions: sentences about events, joined for each video",
        annotates=("captions", "segments"),
        options=(),
        layout=Layout(
            splits=("train", "val"),
            shares=(0.8, 0.2),
            video="videos/v_world{index:06d}.mp4",
            moments=2,
        ),
    ),
    Format(
        name="vatex",
        description="VATEX: its json of English sentences, and lists of ids",
        annotates=("captions",),
        options=("split",),
        layout=Layout(
            splits=("train", "test"),
            shares=(0.8, 0.2),
            video="videos/world{index:06d}_000000_000010.mp4",
            captions=10,
        ),
    ),
    Format(
        name="videochat",
        description="VideoChat: conversations about videos",
        annotates=("questions", "captions"),
        options=(),
        layout=Layout(video="videos/000001_000050/{index:07d}.mp4", captions=3),
    ),
    Format(
        name="msrvtt-qa",
        description="MSRVTT-QA: a line a question, or the original list",
        annotates=("questions",),
        options=(),
        layout=Layout(video="videos/video{index}.mp4", captions=1),
    ),
    Format(
        name="msvd-qa",
        description="MSVD-QA: one json list of questions",
        annotates=("questions",),
        options=(),
        layout=Layout(video="videos/vid{index}.avi", captions=1, youtube_ids=True),
    ),
    Format(
        name="tgif-qa",
        description="TGIF-QA: frameqa, count, action and transition, as csv or json lines",
        annotates=("questions", "choices"),
        options=(),
        layout=Layout(
            splits=("train", "test"), shares=(0.8, 0.2), video="gifs/tumblr_{index}.gif", captions=1
        ),
    ),
    Format(
        name="next-qa",
        description="NExT-QA: a csv of questions with five options",
        annotates=("choices",),
        options=(),
    ),
    Format(
        name="questions",
        description="your own questions: video, question, answer",
        annotates=("questions",),
        options=(),
        layout=Layout(captions=1),
    ),
    Format(
        name="captions",
        description="captioned clips in a csv, tsv, json, parquet or SQLite table",
        annotates=("captions", "segments"),
        options=("columns",),
    ),
    Format(
        name="ego4d-nlq",
        description="Ego4D Natural Language Queries: sentences that ask for a part of a clip",
        annotates=("segments", "captions"),
        options=("split",),
        layout=Layout(
            splits=("train", "val"),
            shares=(0.7, 0.3),
            video="clips/{index:07d}.mp4",
            untrimmed=True,
        ),
    ),
    Format(
        name="ego4d-scod",
        description="Ego4D State Change Object Detection: boxes in key frames, as COCO has them",
        annotates=("boxes",),
        options=(),
        layout=Layout(
            splits=("train", "val"),
            shares=(0.8, 0.2),
            video="clips/{index:07d}.mp4",
            key_frames=True,
        ),
    ),
    Format(
        name="ego4d-fhp",
        description="Ego4D Future Hand Prediction: where the hands are after a clip",
        annotates=("hands",),
        options=(),
        layout=Layout(
            splits=("train", "val"),
            shares=(0.8, 0.2),
            video="cropped_clips/{index}_{frame}.mp4",
            shown=0.5,
        ),
    ),
    Format(
        name="ego4d-sta",
        description="Ego4D Short-Term Anticipation: objects that will be touched, how and when",
        annotates=("contacts",),
        options=(),
        layout=Layout(
            splits=("train", "val"),
            shares=(0.8, 0.2),
            video="world{index:06d}.mp4",
            untrimmed=True,
            moment_seconds=20,
            key_frames=True,
        ),
    ),
    Format(
        name="ego4d-mq",
        description="Ego4D Moment Queries: named moments of clips",
        annotates=("segments",),
        options=_SPLITS,
        layout=Layout(
            splits=("train", "val"),
            shares=(0.7, 0.3),
            video="clips/{index:07d}.mp4",
            untrimmed=True,
        ),
    ),
    Format(
        name="thumos14",
        description="THUMOS14: actions in long videos, as lists, csv or json",
        annotates=("segments",),
        options=_SPLITS,
        layout=Layout(
            splits=("validation", "test"),
            shares=(0.7, 0.3),
            video="videos/video_{split}_{index:07d}.mp4",
            untrimmed=True,
        ),
    ),
    Format(
        name="ava",
        description="AVA: boxes around people and what they do, once a second",
        annotates=("boxes",),
        options=_CLASSES,
        layout=Layout(
            splits=("train", "val"),
            shares=(0.8, 0.2),
            video="videos/world{index:06d}.mp4",
            untrimmed=True,
            moment_seconds=20,
            key_frames=True,
        ),
    ),
    Format(
        name="ava-kinetics",
        description="AVA-Kinetics: the same in short parts of videos, boxes in fractions",
        annotates=("boxes",),
        options=_CLASSES,
        layout=Layout(
            splits=("train", "val"),
            shares=(0.8, 0.2),
            video="videos/world{index:06d}_000000_{seconds:06d}.mp4",
            moments=3,
            key_frames=True,
        ),
    ),
    Format(
        name="charades-sta",
        description="Charades-STA: sentences about parts of videos",
        annotates=("segments", "captions"),
        options=(),
    ),
    Format(
        name="tacos",
        description="TACoS: sentences about parts of long videos",
        annotates=("segments", "captions"),
        options=(),
    ),
    Format(
        name="hacs",
        description="HACS Clips: a csv of parts of longer videos",
        annotates=("segments",),
        options=_SPLITS,
    ),
    Format(
        name="ucf101",
        description="UCF101: trainlist01.txt, testlist01.txt, classInd.txt",
        options=_CLASSES,
        layout=Layout(
            splits=("train", "test"),
            shares=(0.7, 0.3),
            video="videos/{camel}/v_{camel}_g01_c{index:06d}.avi",
        ),
    ),
    Format(
        name="moments",
        description="Moments in Time: trainingSet.csv, validationSet.csv",
        options=_CLASSES,
        layout=Layout(
            splits=("training", "validation"),
            shares=(0.8, 0.2),
            video="{split}/{snake}/clip_{index:06d}.mp4",
        ),
    ),
    Format(
        name="labelled",
        description="your own list `file,label`",
        options=_CLASSES,
    ),
    Format(
        name="kinetics",
        description="Kinetics: lists `path label`, and the official csv",
        options=_SPLITS,
        layout=Layout(),
    ),
    Format(
        name="activitynet",
        description="ActivityNet, HACS Segments, FineAction: parts of longer videos",
        annotates=("segments",),
        options=_SPLITS,
        layout=Layout(
            splits=("training", "validation"),
            shares=(0.7, 0.3),
            video="videos/v_{index:07d}.mp4",
            untrimmed=True,
        ),
        whole_videos=True,
    ),
    Format(
        name="hybrid",
        description="UnlabeledHybrid, the list of VideoMAE's pretraining",
        options=(),
        strides={"SomethingV2": 2},
    ),
    Format(
        name="something-something",
        description="Something-Something v1 and v2 in any of their forms",
        options=_CLASSES,
    ),
    Format(
        name="ssv2",
        description="the json files of Something-Something v2",
        module="something_something",
        layout=Layout(splits=_SSV2, video="videos/{index}.mp4", templates=True),
    ),
    Format(
        name="ssv2-rawframes",
        description="the same, and lists of folders of frames",
        module="something_something",
        layout=Layout(
            splits=_SSV2,
            video="videos/{index}.mp4",
            frames="rawframes/{index}/img_{frame:05d}.jpg",
            templates=True,
        ),
    ),
    Format(
        name="multiple-choice",
        description="which of some sentences is about the video: MSR-VTT, LSMDC, your own",
        annotates=("choices",),
        layout=Layout(splits=("test",), shares=(1.0,)),
    ),
    Format(
        name="webvid",
        description="the captions of WebVid",
        annotates=("captions",),
        layout=Layout(video="videos/000001_000050/{index:07d}.mp4", captions=1),
    ),
    Format(
        name="internvid",
        description="the captions of InternVid, about parts of longer videos",
        annotates=("captions", "segments"),
        layout=Layout(video="clips/clip_{index:06d}.mp4", captions=1, youtube_ids=True),
    ),
)

READABLE: Mapping[str, Format] = {f.name: f for f in FORMATS if f.options is not None}
"""Formats that become lists of clips, by name."""

ASKING: tuple[str, ...] = tuple(
    name
    for name, form in READABLE.items()
    if form.annotates[0] == "questions" and "captions" not in form.annotates
)
"""Names of the formats of questions with one short answer each."""

WRITABLE: Mapping[str, Format] = {f.name: f for f in FORMATS if f.layout is not None}
"""Formats that the procedural world can be written in, by name."""


def find_format(name: str, known: Mapping[str, Format] = READABLE) -> Format:
    """Return a format by its name.

    Raises:
        ConfigError: there is none.
    """
    if name not in known:
        raise ConfigError(
            f"unknown annotation format {name!r}; one of: {', '.join(known)}."
            f"{did_you_mean(str(name), known)}"
        )
    return known[name]
