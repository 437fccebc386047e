"""What a task is: the record that its room fills in, and that everything else asks.

A room says in `__init__.py`

    TASK = Task(
        name="recognition",
        objectives=(Objective(config=SupervisedConfig, models=("videomae/classifier",), …),),
        evaluate=evaluate,            # model, annotated videos → Report
        predict=predict,              # model, a user's videos → answers
    )

and `registry.TASKS` lists the records. Recipes take their `task:` section from the objectives'
configs, the command makes `evaluate NAME` and `predict NAME` from the signatures of the two
functions, and a training run is measured by what its objective names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from internvideo.data.samples import ClipSource, EvaluationSource
from internvideo.evaluation.data import AnnotatedData, open_videos
from internvideo.evaluation.engine import EvalLoop
from internvideo.evaluation.pictures import check_picture
from internvideo.evaluation.report import Report
from internvideo.tasks.parts import Parts
from internvideo.train.task import TrainableTask
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.hub import LoadedModel

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = [
    "NO_CLASSES",
    "PLOT",
    "AnswerFile",
    "Calibrate",
    "Clips",
    "Measure",
    "Objective",
    "Option",
    "Shortcut",
    "Task",
]

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Option:
    """What the command says of a parameter, as its `Annotated` metadata.

    Attributes:
        help: one sentence.
        flags: spellings other than that of the name, such as "-k".
        minimum: of a number.
        from_files: a value that names a file, or is `@FILE`, stands for the lines of the file.
        is_argument: given by its place, behind the videos, not by a name.
    """

    help: str
    flags: tuple[str, ...] = ()
    minimum: float | None = None
    from_files: bool = False
    is_argument: bool = False


@dataclass(frozen=True, slots=True)
class AnswerFile:
    """A kind of file that answers can be written to.

    Attributes:
        option: name of the command's option, such as "plot".
        help: one sentence on it.
        suffix: of the files of several answers, which get the names of their videos; "" where an
            answer is a folder of files.
        write: writes one answer.
        check: returns the path of one file, or refuses its ending.
    """

    option: str
    help: str
    suffix: str
    write: Callable[[Any, Path], object]
    check: Callable[[Path], Path] = lambda path: path


@dataclass(frozen=True, slots=True)
class Shortcut:
    """A further verb of `predict`, for one video: what stands behind it is the value of an option.

    Attributes:
        name: of the verb, such as "query".
        option: name of the parameter of `predict`, which takes a list.
        help: one sentence on the value.
        examples: command lines.
    """

    name: str
    option: str
    help: str
    examples: tuple[str, ...] = ()


PLOT = AnswerFile(
    "plot",
    "Draw the answer into this file; for several videos, into this folder.",
    ".png",
    lambda answer, path: answer.plot(path),
    check_picture,
)


NO_CLASSES = ("labels", "first_label", "num_clips", "seed", "num_events", "classes")
"""Options of an evaluation on files whose classes, if any, are numbers of their own."""


class Clips(Protocol):
    """Makes the training clips of an objective from those of the recipe."""

    def __call__(
        self,
        task: Any,
        source: EvaluationSource,
        directory: Path,
        *,
        num_workers: int,
        fabric: Fabric,
    ) -> ClipSource:
        """Return the clips to train on."""
        ...


class Measure(Protocol):
    """Measures a model in a training run, or at its end."""

    def __call__(
        self, model: LoadedModel, source: EvaluationSource, *, loop: EvalLoop, quick: bool
    ) -> Report:
        """Return a report; `quick` looks at one central view of each video."""
        ...


class Calibrate(Protocol):
    """Gives a trained model what only its trained weights and training clips tell, in place."""

    def __call__(self, model: LoadedModel, source: EvaluationSource, *, loop: EvalLoop) -> None:
        """Look at the training clips as in a test."""
        ...


@dataclass(frozen=True, kw_only=True)
class Objective(Generic[C]):
    """Something that can be trained.

    Attributes:
        config: the section `task:` of a recipe; a config class with the name as `kind`.
        models: ids of the architectures that it trains; the first is the usual one.
        build: from the section and the other parts of the recipe to a task for the loop; raises
            `ConfigError` where they do not fit together, `CheckpointError` where weights do not.
        describe: returns the section `model` with what the models that the section `task` names
            tell of it; it is kept with the run. None: the section says all.
        labelled: whether every clip needs one of the model's classes.
        clips: makes the training clips of those of the recipe, where the same ones are seen in
            every epoch; None takes them as they are.
        measure: measures the model on the way and at the end; None is never measured.
        calibrate: fits what depends on the trained weights, such as a threshold; None fits nothing.
    """

    config: type[C]
    models: tuple[str, ...]
    build: Callable[[C, Parts], TrainableTask[Any]]
    describe: Callable[[C, Mapping[str, Any]], dict[str, Any]] | None = None
    labelled: bool = False
    clips: Clips | None = None
    measure: Measure | None = None
    calibrate: Calibrate | None = None

    @property
    def kind(self) -> str:
        """The name of the task in recipes."""
        return self.config.__dataclass_fields__["kind"].default  # type: ignore[attr-defined]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task, as its room describes it.

    Attributes:
        name: as the command spells it, such as "multiple-choice".
        aliases: other spellings of its verbs.
        verb: what `predict` calls it; by default its name, which is understood in any case.
        objectives: what can be trained.
        architectures: of networks that only this room has.
        open: from what a user names to the annotated videos that `evaluate` takes.
        evaluate: model, annotated videos, `loop` → Report; further keyword-only parameters are
            options of the command, described by `Option`.
        score: annotated videos, a file of answers in the format of an official challenge → Report;
            no model is asked. Its further parameters are among those of `evaluate`.
        predict: model, videos → an answer each, in order, or the VideoError of one that cannot be
            read; an answer has `to_json`, and as a table `__rich__`. Further parameters as above.
        without: options that all evaluations share, and this one does not have.
        evaluate_examples: command lines.
        predict_examples: likewise.
        default_model: what `predict` asks where no model is named.
        files: kinds of files that the answers of `predict` can be written to.
        shortcut: a shorter way to ask about one video.
    """

    name: str
    aliases: tuple[str, ...] = ()
    verb: str = ""
    objectives: tuple[Objective[Any], ...] = ()
    architectures: tuple[Architecture, ...] = ()
    open: Callable[[AnnotatedData, Preprocessing], Any] = open_videos
    evaluate: Callable[..., Report] | None = None
    score: Callable[..., Report] | None = None
    predict: Callable[..., Iterator[Any]] | None = None
    without: tuple[str, ...] = ()
    evaluate_examples: tuple[str, ...] = ()
    predict_examples: tuple[str, ...] = ()
    default_model: str | None = None
    files: tuple[AnswerFile, ...] = field(default=())
    shortcut: Shortcut | None = None
