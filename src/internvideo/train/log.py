"""The record of a run: JSON lines (the source of truth), and what is drawn or sent from them.

`log.jsonl` has one record for each logged step; `log.csv`, TensorBoard, Weights & Biases, the
progress bar and `curves.png` show the same numbers. Another place for them is one more `Logger`.
"""

# pyright: reportUnknownMemberType=false
# (TensorBoard and matplotlib are typed in part)

from __future__ import annotations

import csv
import logging
import uuid
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from internvideo.errors import ConfigError, require
from internvideo.files import JsonLinesWriter, read_json_lines, replace_json_lines
from internvideo.train.progress import TrainingProgress, describe

__all__ = ["Logger", "RunLog", "describe", "draw_curves", "read_log"]

_LOG = logging.getLogger(__name__)


class Logger(Protocol):
    """A place where the numbers of a run go."""

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take the numbers of a step."""
        ...

    def close(self, *, failed: bool) -> None:
        """End it; `failed` where the run ended with an error."""
        ...


class RunLog(AbstractContextManager["RunLog"]):
    """Sends the numbers of a run to every `Logger`; silent on all ranks but the first.

    Args:
        directory: the run directory.
        total_steps: length of the run, for the progress bar.
        start_step: where this process begins; later records of an earlier attempt are dropped.
        steps_per_epoch: to show the epoch; None leaves it out.
        active: whether this process is the one that writes.
        wandb_project: also log there; needs the package `wandb`.
        mlflow_experiment: also log there; needs the package `mlflow`.
        parameters: of the run, by name, for these two.

    Raises:
        MissingExtraError: `wandb_project` is given and the package is not installed.
        ConfigError: Weights & Biases cannot be reached, or nobody is logged in.
    """

    def __init__(
        self,
        directory: Path,
        *,
        total_steps: int,
        start_step: int,
        steps_per_epoch: int | None = None,
        active: bool = True,
        wandb_project: str | None = None,
        mlflow_experiment: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = directory / "log.jsonl"
        self.active = active
        self.total_steps = total_steps
        self.start_step = start_step
        self.steps_per_epoch = steps_per_epoch
        self.wandb_project = wandb_project
        self.mlflow_experiment = mlflow_experiment
        self.parameters = dict(parameters or {})
        self._loggers: list[Logger] = []
        self._progress: TrainingProgress | None = None

    def __enter__(self) -> RunLog:
        if not self.active:
            return self
        directory, first_step = self.path.parent, self.start_step + 1
        kept = [record for record in read_log(self.path) if record["step"] < first_step]
        remote: list[Logger] = []
        if self.wandb_project is not None:
            remote.append(_WeightsAndBiases(directory, self.wandb_project, self.parameters))
        if self.mlflow_experiment is not None:
            remote.append(_MLflow(directory, self.mlflow_experiment, self.parameters))
        with suppress(ImportError):
            remote.append(_TensorBoard(directory / "tensorboard", first_step=first_step))
        replace_json_lines(self.path, kept)
        local = [_JsonLines(self.path), _Table(self.path.with_suffix(".csv"), kept)]
        self._progress = TrainingProgress(
            self.start_step, self.total_steps, steps_per_epoch=self.steps_per_epoch
        )
        self._loggers = [*local, *remote, self._progress]
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for logger in reversed(self._loggers):
            logger.close(failed=kind is not None)
        if self.active:
            draw_curves(read_log(self.path), self.path.with_name("curves.png"))

    def advance(self, step: int) -> None:
        """Move the progress bar."""
        if self._progress is not None:
            self._progress.advance(step)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Log the numbers of a step."""
        for logger in self._loggers:
            logger.log(step, numbers)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the records of a `log.jsonl`; a last line cut off by a kill is ignored."""
    return [record for _, record in read_json_lines(path)]


# --- loggers ----------------------------------------------------------------------------------


class _JsonLines:
    def __init__(self, path: Path) -> None:
        self._file = JsonLinesWriter(path)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._file.append({"step": step, **numbers})

    def close(self, *, failed: bool) -> None:
        self._file.close()


class _Table:
    """A CSV file whose columns grow: a record with a new name rewrites what was there."""

    def __init__(self, path: Path, records: Iterable[Mapping[str, float]]) -> None:
        self._columns: list[str] = []
        self._rows: list[Mapping[str, float]] = []
        self._file = path.open("w", encoding="utf-8", newline="")
        for record in records:
            self._write(record)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._write({"step": step, **numbers})

    def _write(self, record: Mapping[str, float]) -> None:
        new = [name for name in record if name not in self._columns]
        self._columns += new
        self._rows.append(record)
        writer = csv.DictWriter(self._file, self._columns)
        if new:
            self._file.seek(0)
            self._file.truncate()
            writer.writeheader()
            writer.writerows(self._rows)
        else:
            writer.writerow(record)
        self._file.flush()

    def close(self, *, failed: bool) -> None:
        self._file.close()


class _TensorBoard:
    """Events for TensorBoard; those of an earlier attempt from `first_step` on are hidden.

    Raises:
        ImportError: the package `tensorboard` is not installed.
    """

    def __init__(self, directory: Path, *, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(directory), purge_step=first_step)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self, *, failed: bool) -> None:
        self._writer.close()


class _WeightsAndBiases:
    """A run in a project, the same one whenever training in the directory is resumed."""

    def __init__(self, directory: Path, project: str, parameters: dict[str, Any]) -> None:
        wandb = require("wandb", extra="wandb")
        identity = directory / "wandb-id.txt"
        if not identity.exists():
            identity.write_text(uuid.uuid4().hex, encoding="utf-8")
        try:
            self._run = wandb.init(
                project=project,
                name=directory.name,
                dir=str(directory),
                id=identity.read_text(encoding="utf-8"),
                resume="allow",
                config=parameters,
            )
        except wandb.Error as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise ConfigError(
                f"runtime.wandb_project={project}: {reason}; or set WANDB_MODE=offline"
            ) from None

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self, *, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


class _MLflow:
    """A run in an experiment, the same one whenever training in the directory is resumed.

    Where it goes to is MLflow's MLFLOW_TRACKING_URI.
    """

    def __init__(self, directory: Path, experiment: str, parameters: dict[str, Any]) -> None:
        mlflow = require("mlflow", extra="mlflow")
        identity = directory / "mlflow-id.txt"
        try:
            mlflow.set_experiment(experiment)
            if identity.exists():
                run = mlflow.start_run(run_id=identity.read_text(encoding="utf-8"))
            else:
                run = mlflow.start_run(run_name=directory.name)
                mlflow.log_params(parameters)  # which never change there, so those of the start
                identity.write_text(run.info.run_id, encoding="utf-8")
        except mlflow.exceptions.MlflowException as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise ConfigError(f"runtime.mlflow_experiment={experiment}: {reason}") from None
        self._mlflow, self._lost = mlflow, False

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        with self._going_on():
            self._mlflow.log_metrics(dict(numbers), step=step)

    def close(self, *, failed: bool) -> None:
        with self._going_on():
            self._mlflow.end_run(status="FAILED" if failed else "FINISHED")

    @contextmanager
    def _going_on(self) -> Generator[None]:
        """Say once that something is lost: a server that is gone is no reason to stop training."""
        try:
            yield
        except self._mlflow.exceptions.MlflowException as error:
            if not self._lost:
                reason = " ".join(str(error).split()).rstrip(".")
                _LOG.warning("MLflow lacks what log.jsonl has from here on: %s", reason)
            self._lost = True


# --- curves -----------------------------------------------------------------------------------

_COLUMNS = 3
_WIDTH, _HEIGHT = 4.2, 2.8  # of a curve and what is around it, in inches
_TITLES = {
    "lr": "learning rate",
    "grad_norm": "gradient norm",
    "clips_per_s": "clips per second",
    "data_wait": "share of time waiting for data",
    "memory_gib": "peak memory, GiB",
    "skipped": "videos skipped",
}
_FROM_ZERO = ("clips_per_s", "data_wait", "memory_gib", "skipped")
_HIDDEN = ("step", "data_wait_ms")


def draw_curves(records: Sequence[dict[str, Any]], path: Path) -> Path | None:
    """Draw every number of a log over the steps; None where matplotlib or a record is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    series = _series(records)
    if not series:
        return None
    names = [name for name in series if name not in _TITLES]
    names += [name for name in _TITLES if name in series]
    rows = -(-len(names) // _COLUMNS)
    figure = Figure(figsize=(_WIDTH * _COLUMNS, _HEIGHT * rows))
    figure.subplots_adjust(  # in inches; a layout that is searched for takes three times as long
        left=0.65 / figure.get_figwidth(),
        right=1 - 0.15 / figure.get_figwidth(),
        bottom=0.45 / figure.get_figheight(),
        top=1 - 0.3 / figure.get_figheight(),
        wspace=0.6 / (_WIDTH - 0.6),
        hspace=0.75 / (_HEIGHT - 0.75),
    )
    ends = (records[0]["step"] - 0.5, records[-1]["step"] + 0.5)
    for number, name in enumerate(names, start=1):
        axes = figure.add_subplot(rows, _COLUMNS, number)
        steps, values = zip(*series[name], strict=True)
        measured, title = name.startswith("val_"), _TITLES.get(name, name)
        if measured:
            title = f"{name.removeprefix('val_').replace('_', ' ')} in evaluation"
        few = measured or len(steps) == 1
        axes.plot(steps, values, marker="o" if few else None, markersize=4)
        if name in _FROM_ZERO:
            axes.set_ylim(0, 1.08 * max(values) or 1)
        axes.set_xlim(*ends)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    return path


def _series(records: Sequence[dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """Return the points (step, value) of every number; failures are left out where none was."""
    series: dict[str, list[tuple[int, float]]] = {}
    for record in records:
        for name, value in record.items():
            if name not in _HIDDEN:
                series.setdefault(name, []).append((record["step"], value))
    for name in ("skipped", "val_num_failed"):
        if not any(value for _, value in series.get(name, ())):
            series.pop(name, None)
    return series
