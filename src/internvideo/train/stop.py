"""Why a run must stop: a signal, or a number that is not finite, in any of its processes.

One small all-reduce a step combines three flags of each process. On the CPU they are read at once;
on an accelerator one step later, when they have long arrived, so that the host never waits for the
device. All processes read the same flags at the same step, and so stop at the same step.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from internvideo.errors import InternVideoError
from internvideo.train.checkpoint import save_state
from internvideo.train.data import Batch
from internvideo.train.step import StepReport

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["PreemptedError", "StopSignal"]

_LOG = logging.getLogger(__name__)
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# torchrun passes signals on; from a cluster that signals all processes, ours get each one twice.
_ECHO_S = 5.0
_TWICE_S = 0.1  # no second signal is sent that soon
_GRACE_S = 1.0  # in which a second signal ends the run from within, unless PyTorch is at work


class PreemptedError(RuntimeError):
    """A signal ended the run; its state is saved.

    Attributes:
        step: steps taken.
        signal_number: the signal, such as 15 for SIGTERM.
    """

    def __init__(self, step: int, signal_number: int) -> None:
        self.step = step
        self.signal_number = signal_number
        name = signal.Signals(signal_number).name
        super().__init__(f"preempted at step {step} by {name}; the same command resumes it")


@dataclass(frozen=True, slots=True)
class _Pending:
    step: int
    flags: Tensor
    arrived: torch.cuda.Event | None
    batches: Sequence[Batch]
    losses: Sequence[Tensor]


class StopSignal(AbstractContextManager["StopSignal"]):
    """Catches SIGTERM, the first SIGINT, and losses or gradients that are not finite.

    A handler written in Python waits for the call into PyTorch that is in progress, a thread does
    not: it answers the first signal with a line, and a second one that stays without effect by
    ending the process.

    Args:
        fabric: the processes of the run.
        directory: the run directory, where the batch of a loss that is not finite is saved.
    """

    def __init__(self, fabric: Fabric, directory: Path) -> None:
        self.fabric = fabric
        self.directory = directory
        self._step = 0
        self._received = self._agreed = 0  # signals: of this process, and known to all of them
        self._received_at = 0.0
        self._launched = "TORCHELASTIC_RUN_ID" in os.environ
        self._old: dict[int, Any] = {}
        self._pending: _Pending | None = None
        self._late = fabric.device.type != "cpu"
        self._ended = threading.Event()
        self._pipe: tuple[int, int] | None = None  # the system writes each signal's number into it
        self._old_pipe = -1

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            self._old = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        if self._old and sys.platform != "win32":
            self._pipe = os.pipe()
            os.set_blocking(self._pipe[1], False)
            self._old_pipe = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
            threading.Thread(target=self._watch, args=self._pipe[:1], daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._restore()
        self._ended.set()
        if self._pipe is not None:
            signal.set_wakeup_fd(self._old_pipe)
            os.write(self._pipe[1], bytes(1))  # ends the thread
            os.close(self._pipe[1])
        if kind is None and self._received and not self._agreed:
            # It came in the last evaluation, after which all was saved.
            raise PreemptedError(self._step, self._received)

    def observe(self, step: int, report: StepReport, batches: Sequence[Batch]) -> int:
        """Post the flags of a step, and return the signal that some process has received, or 0.

        On an accelerator the answer is about the step before.

        Raises:
            InternVideoError: a loss or a gradient is not finite in some process.
        """
        self._step = step
        before, self._pending = self._pending, self._post(step, report, batches)
        return self._read(before) if self._late else self.settle()

    def settle(self) -> int:
        """Wait for the flags of the newest step; return the signal, or 0.

        Raises:
            InternVideoError: a loss or a gradient is not finite in some process.
        """
        newest, self._pending = self._pending, None
        return self._read(newest)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self._received:
            self._received, self._received_at = number, now
            if not self._launched:
                self._restore()  # a second signal ends the process at once
        elif now - self._received_at > _ECHO_S:
            self._restore()
            os.kill(os.getpid(), number)

    def _watch(self, pipe: int) -> None:
        first, echo = 0.0, _ECHO_S if self._launched else _TWICE_S
        while number := os.read(pipe, 1)[0]:
            now = time.monotonic()
            if number not in _SIGNALS:
                continue
            if not first:
                first = now
                if self.fabric.is_global_zero:
                    name = signal.Signals(number).name
                    _LOG.info(
                        "%s: the run ends after this step; a second one ends it at once", name
                    )
            elif now - first > echo and not self._ended.wait(_GRACE_S):
                for worker in multiprocessing.active_children():
                    worker.kill()
                if sys.stderr.isatty():
                    os.write(2, b"\x1b[?25h\n")  # the cursor, hidden while a line moves
                os._exit(128 + number)
        os.close(pipe)

    def _restore(self) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._old = {}

    def _post(self, step: int, report: StepReport, batches: Sequence[Batch]) -> _Pending:
        device = self.fabric.device
        bad_loss = ~torch.stack([loss.isfinite() for loss in report.loss_of_each]).all()
        norm = report.grad_norm
        bad_norm = torch.zeros_like(bad_loss) if norm is None else ~norm.isfinite()
        received = torch.full((), float(self._received), device=device)
        flags = torch.stack([received, bad_loss.float(), bad_norm.float()])
        if self.fabric.world_size > 1:
            torch.distributed.all_reduce(flags, op=torch.distributed.ReduceOp.MAX)
        arrived = None
        if device.type == "cuda":
            flags = flags.to("cpu", non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record()
        return _Pending(step, flags, arrived, batches, report.loss_of_each)

    def _read(self, pending: _Pending | None) -> int:
        if pending is None:
            return self._agreed
        if pending.arrived is not None:
            pending.arrived.synchronize()
        received, bad_loss, bad_norm = map(int, pending.flags)
        if bad_loss or bad_norm:
            self._fail(pending, in_loss=bool(bad_loss))
        self._agreed = max(self._agreed, received)
        return self._agreed

    def _fail(self, pending: _Pending, *, in_loss: bool) -> None:
        """Save the batch, unless only the number of another process was bad, and raise."""
        losses = [float(loss) for loss in pending.losses]
        rank = self.fabric.global_rank if self.fabric.world_size > 1 else None
        name = f"nonfinite-step{pending.step}{'' if rank is None else f'-rank{rank}'}.pt"
        mine = not in_loss or not all(torch.isfinite(loss) for loss in pending.losses)
        if mine:
            state = {
                "step": pending.step,
                "losses": losses,
                "keys": [list(batch.keys) for batch in pending.batches],
                "batches": [
                    {key: value.cpu() for key, value in batch.tensors.items()}
                    for batch in pending.batches
                ],
            }
            save_state(self.directory / name, state)
        what = "loss" if in_loss else "gradient"
        where = f"its batch is in {self.directory / name}" if mine else "in another process"
        raise InternVideoError(
            f"{what} not finite at step {pending.step}; stopped, {where}. The checkpoint is "
            "left as it was; try a lower optim.lr, optim.clip_grad_norm=1 or another "
            "runtime.precision"
        )
